//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/speedtest"
	"github.com/univirt/univirt/resource"
)

// The bounds at which a speed test fails: medians of times relative to those of the
// binding alone.
const (
	worstLife = 1.2
	worstList = 1.25
	// worstWarm is that of a list of which nothing has changed.
	worstWarm = 0.01

	many = 1000
)

// reference does what the provider does by the binding alone.
type reference struct {
	conns []*lv.Connect
}

func newReference(t testing.TB, p *Provider) *reference {
	t.Helper()
	r := new(reference)
	for range atOnce {
		c, err := lv.NewConnect(p.opts.URI)
		require.NoError(t, err)
		t.Cleanup(func() { _, _ = c.Close() })
		r.conns = append(r.conns, c)
	}
	return r
}

// life defines, starts, ends and removes a domain.
func (r *reference) life(description string) error {
	d, err := r.conns[0].DomainDefineXMLFlags(description, lv.DOMAIN_DEFINE_VALIDATE)
	if err != nil {
		return err
	}
	defer d.Free()
	if err := d.Create(); err != nil {
		return err
	}
	if err := d.Destroy(); err != nil {
		return err
	}
	return d.UndefineFlags(lv.DOMAIN_UNDEFINE_MANAGED_SAVE | lv.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | lv.DOMAIN_UNDEFINE_NVRAM | lv.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
}

// list reads state and description of every domain, as many at once as the provider.
func (r *reference) list() (int, error) {
	counts := make([]int, len(r.conns))
	var group errgroup.Group
	for n, c := range r.conns {
		group.Go(func() error {
			listed, err := c.ListAllDomains(0)
			if err != nil {
				return err
			}
			for i := range listed {
				d := &listed[i]
				if id, err := d.GetUUID(); err == nil && int(id[len(id)-1])%len(r.conns) == n {
					_, _, stateErr := d.GetState()
					text, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
					if err = errors.Join(stateErr, err); err != nil {
						return err
					}
					if _, err := readFacts(text); err != nil {
						return err
					}
					counts[n]++
				}
				_ = d.Free()
			}
			return nil
		})
	}
	err := group.Wait()
	sum := 0
	for _, n := range counts {
		sum += n
	}
	return sum, err
}

func TestSpeedLife(t *testing.T) {
	speedtest.Measured(t)
	p := open(t, "speed")
	r := newReference(t, p)
	record, err := instances{p}.record(machine("raw"), time.Now())
	require.NoError(t, err)
	t.Logf("create, start, stop by force, delete; %d rounds; libvirt %s", speedtest.Pairs, p.version)
	speedtest.Within(t,
		speedtest.Way{Name: "univirt", Worst: worstLife, Do: func(ctx context.Context) error {
			inst, err := p.Instances().Create(ctx, machine("web"))
			if err != nil {
				return err
			}
			if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
				return err
			}
			if err := inst.Stop(ctx, compute.StopOptions{Force: true}); err != nil {
				return err
			}
			return inst.Delete(ctx, compute.DeleteOptions{})
		}},
		speedtest.Way{Name: "binding", Do: func(context.Context) error {
			text, err := p.hyper.describe(resource.NewID(), record)
			if err != nil {
				return err
			}
			return r.life(text)
		}},
	)
}

// plant makes domains as the provider does, and removes them after the test.
func plant(t *testing.T, p *Provider, n int) {
	t.Helper()
	r := newReference(t, p)
	ids := make([]string, n)
	t.Cleanup(func() {
		for _, id := range ids {
			if d, err := r.conns[0].LookupDomainByUUIDString(id); assert.NoError(t, err) {
				assert.NoError(t, d.Undefine())
				_ = d.Free()
			}
		}
	})
	for i := range ids {
		spec := machine(fmt.Sprintf("many-%d", i))
		spec.Labels = resource.Labels{"tier": "web"}
		record, err := instances{p}.record(spec, time.Now())
		require.NoError(t, err)
		ids[i] = resource.NewID()
		text, err := p.hyper.describe(ids[i], record)
		require.NoError(t, err)
		d, err := r.conns[0].DomainDefineXML(text)
		require.NoError(t, err)
		require.NoError(t, d.Free())
	}
}

func listAll(ctx context.Context, p *Provider, want int) error {
	n := 0
	for _, err := range p.Instances().List(ctx, compute.Filter{}) {
		if err != nil {
			return err
		}
		n++
	}
	if n != want {
		return fmt.Errorf("%d instances", n)
	}
	return nil
}

func TestSpeedList(t *testing.T) {
	speedtest.Measured(t)
	p := open(t, "speed")
	r := newReference(t, p)
	goroutines, files := runtime.NumGoroutine(), openFiles(t)
	plant(t, p, many)
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.NoError(c, listAll(t.Context(), p, many)) }, 20*time.Second, 10*time.Millisecond)
	// Connections of the reference that planted, and of lists, are few.
	assert.Less(t, runtime.NumGoroutine(), goroutines+20, "goroutines of idle domains")
	assert.Less(t, openFiles(t), files+50, "files of idle domains")
	t.Logf("list of %d instances; %d rounds; libvirt %s", many, speedtest.Pairs, p.version)
	speedtest.Within(t,
		speedtest.Way{Name: "first list", Worst: worstList, Do: func(ctx context.Context) error {
			p.cache.lose()
			return listAll(ctx, p, many)
		}},
		speedtest.Way{Name: "binding", Do: func(context.Context) error {
			n, err := r.list()
			if err == nil && n < many {
				err = fmt.Errorf("%d domains", n)
			}
			return err
		}},
		speedtest.Way{Name: "list", Worst: worstWarm, Do: func(ctx context.Context) error { return listAll(ctx, p, many) }},
	)
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	return len(entries)
}

// TestSpeedWatch measures how much later a watch tells of a change than libvirt's
// own callback.
func TestSpeedWatch(t *testing.T) {
	speedtest.Measured(t)
	const most = 10 * time.Millisecond
	p := open(t, "speed")
	inst, err := p.Instances().Create(t.Context(), machine("web"))
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, inst.Delete(context.WithoutCancel(t.Context()), compute.DeleteOptions{Force: true}))
	})
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))

	r := newReference(t, p)
	raw, told := make(chan time.Time, 100), make(chan time.Time, 100)
	id, err := r.conns[0].DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventLifecycle) {
		if e.Event == lv.DOMAIN_EVENT_SUSPENDED || e.Event == lv.DOMAIN_EVENT_RESUMED {
			raw <- time.Now()
		}
	})
	require.NoError(t, err)
	defer func() { require.NoError(t, r.conns[0].DomainEventDeregister(id)) }()
	synced := make(chan struct{})
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for event, err := range p.Watch(ctx, resource.WatchOptions{}) {
			switch {
			case err != nil:
				return
			case event.Type == resource.EventSynced:
				close(synced)
			case event.Type == resource.EventChanged:
				told <- time.Now()
			}
		}
	}()
	<-synced
	var later []time.Duration
	for range speedtest.Pairs {
		for _, do := range []func(context.Context, compute.Instance) error{compute.Pause, compute.Resume} {
			require.NoError(t, do(ctx, inst))
			later = append(later, (<-told).Sub(<-raw))
		}
	}
	slices.Sort(later)
	t.Logf("a watch tells %s after the callback in the median, %s at most", later[len(later)/2], later[len(later)-1])
	require.Less(t, later[len(later)/2], most)
}
