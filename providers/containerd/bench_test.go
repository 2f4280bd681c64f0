package containerd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/speedtest"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// The bounds at which a speed test fails: medians of times relative to those of
// the raw client.
const (
	worstLife = 1.25
	worstExec = 1.25
	worstList = 1.2
)

// life is create, start, wait and delete by this module.
func life(ctx context.Context, p *Provider, spec compute.Spec) error {
	inst, err := p.Instances().Create(ctx, spec)
	if err != nil {
		return err
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	if err != nil {
		return err
	}
	if !exit.Success() {
		return fmt.Errorf("%+v", exit)
	}
	return inst.Delete(ctx, compute.DeleteOptions{})
}

func TestSpeedLife(t *testing.T) {
	speedtest.Measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	all := []speedtest.Way{
		{Name: "univirt", Do: func(ctx context.Context) error { return life(ctx, p, guestSpec("web", "exit", "0")) }, Worst: worstLife},
		{Name: "raw client", Do: func(ctx context.Context) error { return r.life(ctx, "exit", "0") }},
	}
	all = append(all, tools(t, p)...)
	t.Logf("create, start, wait, delete; %d rounds; containerd %s", speedtest.Pairs, p.conn.version)
	speedtest.Within(t, all...)
}

// tools are what a user would call instead, as far as it is there.
func tools(t *testing.T, p *Provider) []speedtest.Way {
	var all []speedtest.Way
	ctr := "ctr"
	if binary := os.Getenv(binaryVariable); binary != "" {
		ctr = filepath.Join(filepath.Dir(binary), ctr)
	}
	if path, err := exec.LookPath(ctr); err != nil {
		t.Log("ctr run --rm: not measured: ", err)
	} else {
		all = append(all, speedtest.Way{Name: "ctr run --rm", Do: func(ctx context.Context) error {
			out, err := exec.CommandContext(ctx, path, "-a", p.opts.Address, "-n", p.space, "run", "--rm", "--snapshotter", p.snapshotter, "--runc-root", p.conn.runcRoot,
				guestName, resource.NewID(), testimage.Path, "exit", "0").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}})
	}
	return append(all, dockerRun(t)...)
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func TestSpeedExec(t *testing.T) {
	speedtest.Measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	inst := start(t, p, guestSpec("web", "sleep", "1h"))
	expect := func(out string, err error) error {
		if err == nil && out != "web\n" {
			err = fmt.Errorf("output %q", out)
		}
		return err
	}
	t.Logf("exec of a command, with its output; %d rounds; containerd %s", speedtest.Pairs, p.conn.version)
	speedtest.Within(t,
		speedtest.Way{Name: "univirt", Do: func(ctx context.Context) error {
			out, err := compute.Output(ctx, inst, testimage.Path, "hostname")
			return expect(string(out), err)
		}, Worst: worstExec},
		speedtest.Way{Name: "raw client", Do: func(ctx context.Context) error { return expect(r.exec(ctx, inst.ID(), "hostname")) }},
	)
}

const many = 1000

// plant makes instances that are containers of containerd and nothing else.
func plant(t testing.TB, p *Provider, n int) {
	t.Helper()
	ctx := p.dress(t.Context())
	first := create(t, p, guestSpec("first", "exit", "0"))
	c, err := p.client.ContainerService().Get(ctx, first.ID())
	require.NoError(t, err)
	r, err := readRecord(c)
	require.NoError(t, err)
	for i := range n - 1 {
		r.Name = fmt.Sprintf("many-%d", i)
		extended, err := r.encode()
		require.NoError(t, err)
		next := containers.Container{
			ID: resource.NewID(), Labels: map[string]string{labelName: r.Name, labelImage: c.Labels[labelImage], "tier": "web"},
			Image: c.Image, Runtime: c.Runtime, Spec: c.Spec, Snapshotter: c.Snapshotter,
			Extensions: map[string]typeurl.Any{extension: extended},
		}
		_, err = p.client.ContainerService().Create(ctx, next)
		require.NoError(t, err)
	}
}

func listAll(ctx context.Context, p *Provider) (int, error) {
	n := 0
	for _, err := range p.Instances().List(ctx, compute.Filter{}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// firstList is listAll as a provider value does it that has listed nothing before.
func firstList(ctx context.Context, p *Provider) (int, error) {
	p.records.mu.Lock()
	p.records.byID = nil
	p.records.mu.Unlock()
	return listAll(ctx, p)
}

func TestSpeedList(t *testing.T) {
	speedtest.Measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	plant(t, p, many)
	count := func(n int, err error) error {
		if err == nil && n != many {
			err = fmt.Errorf("%d instances", n)
		}
		return err
	}
	t.Logf("list of %d instances; %d rounds; containerd %s", many, speedtest.Pairs, p.conn.version)
	speedtest.Within(t,
		speedtest.Way{Name: "univirt", Do: func(ctx context.Context) error { return count(listAll(ctx, p)) }, Worst: worstList},
		speedtest.Way{Name: "raw client", Do: func(ctx context.Context) error { return count(r.list(ctx)) }},
		speedtest.Way{Name: "first list", Do: func(ctx context.Context) error { return count(firstList(ctx, p)) }, Worst: worstList},
	)
}

func BenchmarkLife(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	b.Run("univirt", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, life(b.Context(), p, guestSpec("web", "exit", "0")))
		}
	})
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, r.life(b.Context(), "exit", "0"))
		}
	})
}

func BenchmarkExec(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	inst := start(b, p, guestSpec("web", "sleep", "1h"))
	b.Run("univirt", func(b *testing.B) {
		for b.Loop() {
			_, err := compute.Output(b.Context(), inst, testimage.Path, "hostname")
			require.NoError(b, err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			_, err := r.exec(b.Context(), inst.ID(), "hostname")
			require.NoError(b, err)
		}
	})
}

func BenchmarkList(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	plant(b, p, many)
	b.Run("univirt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := listAll(b.Context(), p)
			require.NoError(b, err)
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := firstList(b.Context(), p)
			require.NoError(b, err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := r.list(b.Context())
			require.NoError(b, err)
		}
	})
}
