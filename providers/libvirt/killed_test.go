//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// The environment of a process of this test program that is about to be killed.
const (
	victimOperation = "UNIVIRT_TEST_VICTIM"
	victimDir       = "UNIVIRT_TEST_VICTIM_DIR"
	victimSocket    = "UNIVIRT_TEST_VICTIM_SOCKET"
	victimImage     = "UNIVIRT_TEST_VICTIM_IMAGE"
	victimKernel    = "UNIVIRT_TEST_VICTIM_KERNEL"
	victimInitrd    = "UNIVIRT_TEST_VICTIM_INITRD"
	victimSupervise = "UNIVIRT_TEST_VICTIM_SUPERVISE"
)

const victims = "victims"

// victim is such a process. It says when it is ready, waits for a word, does its
// operation and says so.
func victim() int {
	ctx := context.Background()
	p, err := New(ctx, Options{Managed: &Managed{Dir: os.Getenv(victimDir), PrivateNetwork: true}, Namespace: victims, Supervise: os.Getenv(victimSupervise) != ""})
	if err != nil {
		fmt.Println("open:", err)
		return 1
	}
	if socket := os.Getenv(victimSocket); socket != "" {
		if err := redirect(ctx, p, "qemu+unix:///system?socket="+socket); err != nil {
			fmt.Println("redirect:", err)
			return 1
		}
	}
	at := slices.IndexFunc(operations, func(o operation) bool { return o.name == os.Getenv(victimOperation) })
	common.guest.Kernel, common.guest.Initrd = os.Getenv(victimKernel), os.Getenv(victimInitrd)
	in := bufio.NewScanner(os.Stdin)
	fmt.Println("ready")
	for in.Scan() {
		err := operations[at].do(ctx, p, in.Text())
		switch {
		case err == nil:
			fmt.Println("done")
		case errors.Is(err, errdefs.ErrAlreadyExists):
			fmt.Println("exists")
		default:
			fmt.Printf("failed: %q\n", err)
		}
	}
	return 0
}

// redirect has a provider, once it is quiet, connect by another address.
func redirect(ctx context.Context, p *Provider, uri string) error {
	for event, err := range p.Watch(ctx, resource.WatchOptions{}) {
		if err != nil {
			return err
		}
		if event.Type == resource.EventSynced {
			break
		}
	}
	l := &p.link
	l.mu.Lock()
	old := l.current
	l.uri = uri
	l.mu.Unlock()
	old.lose(errLost)
	for {
		l.mu.Lock()
		now, changed := l.current, l.changed
		l.mu.Unlock()
		if now != nil && now != old {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// operation is what a process is about when it dies.
type operation struct {
	name string
	// prepare makes what it needs.
	prepare func(context.Context, *Provider) error
	do      func(ctx context.Context, p *Provider, name string) error
}

const theName = "one"

func anInstance(ctx context.Context, p *Provider, life resource.Lifetime, adapt ...func(*compute.Spec)) error {
	spec := machine(theName)
	spec.Image, spec.Lifetime = diskName, life
	for _, a := range adapt {
		a(&spec)
	}
	_, err := p.Instances().Create(ctx, spec)
	return err
}

// furnished gives an instance a seed and an endpoint.
func furnished(s *compute.Spec) {
	s.CloudInit = &compute.CloudInit{MetaData: "instance-id: one"}
	s.Networks = []compute.NetworkAttachment{{Network: "lan"}}
}

// published gives an instance a port of the host's.
func published(s *compute.Spec) {
	s.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	s.Ports = []network.Port{{Instance: 80, Publish: true}}
}

func aVolume(ctx context.Context, p *Provider, spec storage.Spec) error {
	_, err := p.Volumes().Create(ctx, spec)
	return err
}

func onInstance(do func(context.Context, compute.Instance) error) func(context.Context, *Provider, string) error {
	return func(ctx context.Context, p *Provider, name string) error {
		inst, err := p.Instances().Get(ctx, name)
		if err != nil {
			return err
		}
		return do(ctx, inst)
	}
}

func onInstanceSnapshots(do func(context.Context, compute.Snapshotter) error) func(context.Context, *Provider, string) error {
	return onInstance(func(ctx context.Context, inst compute.Instance) error {
		s, err := compute.Snapshots(inst)
		if err != nil {
			return err
		}
		return do(ctx, s)
	})
}

func onAVolume(do func(context.Context, storage.Snapshotter) error) func(context.Context, *Provider, string) error {
	return func(ctx context.Context, p *Provider, name string) error {
		v, err := p.Volumes().Get(ctx, name)
		if err != nil {
			return err
		}
		s, err := storage.Snapshots(v)
		if err != nil {
			return err
		}
		return do(ctx, s)
	}
}

func onANetwork(do func(context.Context, network.Network) error) func(context.Context, *Provider, string) error {
	return func(ctx context.Context, p *Provider, name string) error {
		n, err := p.Networks().Get(ctx, name)
		if err != nil {
			return err
		}
		return do(ctx, n)
	}
}

func plainInstance(ctx context.Context, p *Provider) error {
	return anInstance(ctx, p, resource.Lifetime{})
}

func furnishedInstance(ctx context.Context, p *Provider) error {
	return anInstance(ctx, p, resource.Lifetime{}, furnished)
}

func publishedInstance(ctx context.Context, p *Provider) error {
	return anInstance(ctx, p, resource.Lifetime{}, published)
}

func plainVolume(ctx context.Context, p *Provider) error {
	return aVolume(ctx, p, storage.Spec{Name: theName, Mode: storage.Block, Size: resource.MiB})
}

// both runs one after the other.
func both(first, then func(context.Context, *Provider) error) func(context.Context, *Provider) error {
	return func(ctx context.Context, p *Provider) error {
		if err := first(ctx, p); err != nil {
			return err
		}
		return then(ctx, p)
	}
}

// named gives an operation the usual name.
func named(do func(context.Context, *Provider, string) error) func(context.Context, *Provider) error {
	return func(ctx context.Context, p *Provider) error { return do(ctx, p, theName) }
}

var (
	value = "value"

	createInstanceSnapshot = onInstanceSnapshots(func(ctx context.Context, s compute.Snapshotter) error {
		_, err := s.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "kept"})
		return err
	})
	createVolumeSnapshot = onAVolume(func(ctx context.Context, s storage.Snapshotter) error {
		_, err := s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "kept"})
		return err
	})
	mounted = compute.Mount{Type: compute.MountDevice, Source: theName, Path: "/dev/data"}
	started = onInstance(func(ctx context.Context, inst compute.Instance) error {
		return inst.Start(ctx, compute.StartOptions{})
	})
	attached = onInstance(func(ctx context.Context, inst compute.Instance) error {
		return compute.AttachVolume(ctx, inst, mounted)
	})
)

// aNetwork has addresses of IPv6 only, as libvirt takes its time to reserve others.
func aNetwork(ctx context.Context, p *Provider, name string, subnet string) error {
	_, err := p.Networks().Create(ctx, network.Spec{Name: name, Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix(subnet)}}})
	return err
}

func plainNetwork(ctx context.Context, p *Provider) error {
	return aNetwork(ctx, p, theName, "fd42:97:2::/64")
}

func importImage(ctx context.Context, p *Provider, name string) error {
	_, err := compute.ImportFile(ctx, p.Images(), os.Getenv(victimImage), compute.QCOW2, compute.ImportOptions{Name: "localhost/" + name + ":1"})
	return err
}

var operations = []operation{
	{"create instance", nil, func(ctx context.Context, p *Provider, name string) error {
		return anInstance(ctx, p, resource.Ephemeral, furnished, func(s *compute.Spec) { s.Name = name })
	}},
	{"start instance", plainInstance, started},
	{"start published instance", publishedInstance, started},
	{"stop published instance", both(publishedInstance, named(started)), onInstance(func(ctx context.Context, inst compute.Instance) error {
		return inst.Stop(ctx, compute.StopOptions{Force: true})
	})},
	{"update instance", plainInstance, onInstance(func(ctx context.Context, inst compute.Instance) error {
		return inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"key": &value}})
	})},
	{"delete instance", furnishedInstance, onInstance(func(ctx context.Context, inst compute.Instance) error {
		return inst.Delete(ctx, compute.DeleteOptions{})
	})},
	{"clone instance", plainInstance, onInstance(func(ctx context.Context, inst compute.Instance) error {
		_, err := inst.(compute.Cloner).Clone(ctx, compute.CloneOptions{Name: "clone"})
		return err
	})},
	{"create instance snapshot", plainInstance, createInstanceSnapshot},
	{"revert instance", both(plainInstance, named(createInstanceSnapshot)), onInstanceSnapshots(func(ctx context.Context, s compute.Snapshotter) error {
		return s.RevertSnapshot(ctx, "kept", compute.RevertOptions{})
	})},
	{"delete instance snapshot", both(plainInstance, named(createInstanceSnapshot)), onInstanceSnapshots(func(ctx context.Context, s compute.Snapshotter) error {
		return s.DeleteSnapshot(ctx, "kept")
	})},
	{"attach volume", both(plainInstance, plainVolume), attached},
	{"detach volume", both(both(plainInstance, plainVolume), named(attached)), onInstance(func(ctx context.Context, inst compute.Instance) error {
		return compute.DetachVolume(ctx, inst, mounted.Path)
	})},
	{"attach network", plainInstance, onInstance(func(ctx context.Context, inst compute.Instance) error {
		return compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Network: "lan"})
	})},
	{"detach network", furnishedInstance, onInstance(func(ctx context.Context, inst compute.Instance) error {
		info, err := inst.Info(ctx)
		if err != nil || len(info.Endpoints) == 0 {
			return err
		}
		return compute.DetachNetwork(ctx, inst, info.Endpoints[0].Ref.ID)
	})},
	{"create disk", nil, func(ctx context.Context, p *Provider, name string) error {
		return aVolume(ctx, p, storage.Spec{Name: name, Mode: storage.Block, Size: resource.MiB, Format: "qcow2", Lifetime: resource.Ephemeral})
	}},
	{"create filesystem", nil, func(ctx context.Context, p *Provider, name string) error {
		return aVolume(ctx, p, storage.Spec{Name: name, Size: 4 * resource.MiB})
	}},
	{"clone volume", plainVolume, func(ctx context.Context, p *Provider, name string) error {
		return aVolume(ctx, p, storage.Spec{Name: "clone", Size: 2 * resource.MiB, Source: storage.Source{Volume: name}})
	}},
	{"import volume", plainVolume, onAVolume(func(ctx context.Context, v storage.Snapshotter) error {
		return storage.Import(ctx, v, strings.NewReader("content"), storage.TransferOptions{Format: storage.Raw})
	})},
	{"import filesystem", func(ctx context.Context, p *Provider) error {
		return aVolume(ctx, p, storage.Spec{Name: theName, Size: 4 * resource.MiB})
	}, onAVolume(func(ctx context.Context, v storage.Snapshotter) error {
		return storage.Import(ctx, v, bytes.NewReader(make([]byte, archives.End)), storage.TransferOptions{Format: storage.Tar})
	})},
	{"resize volume", plainVolume, onAVolume(func(ctx context.Context, v storage.Snapshotter) error {
		return storage.Resize(ctx, v, 2*resource.MiB, storage.ResizeOptions{})
	})},
	{"update volume", plainVolume, onAVolume(func(ctx context.Context, v storage.Snapshotter) error {
		return v.Update(ctx, storage.Change{Labels: resource.LabelPatch{"key": &value}})
	})},
	{"delete volume", plainVolume, onAVolume(func(ctx context.Context, v storage.Snapshotter) error {
		return v.Delete(ctx, storage.DeleteOptions{})
	})},
	{"create volume snapshot", plainVolume, createVolumeSnapshot},
	{"revert volume", both(plainVolume, named(createVolumeSnapshot)), onAVolume(func(ctx context.Context, s storage.Snapshotter) error {
		return s.RevertSnapshot(ctx, "kept")
	})},
	{"delete volume snapshot", both(plainVolume, named(createVolumeSnapshot)), onAVolume(func(ctx context.Context, s storage.Snapshotter) error {
		return s.DeleteSnapshot(ctx, "kept")
	})},
	{"import image", nil, importImage},
	{"delete image", named(importImage), func(ctx context.Context, p *Provider, name string) error {
		return p.Images().Delete(ctx, "localhost/"+name+":1", compute.DeleteImageOptions{})
	}},
	{"create network", nil, func(ctx context.Context, p *Provider, name string) error {
		_, err := p.Networks().Create(ctx, network.Spec{Name: name})
		return err
	}},
	{"reserve endpoint", plainNetwork, onANetwork(func(ctx context.Context, n network.Network) error {
		_, err := n.Reserve(ctx, network.EndpointSpec{Name: "host"})
		return err
	})},
	{"update network", plainNetwork, onANetwork(func(ctx context.Context, n network.Network) error {
		return n.Update(ctx, network.Change{Labels: resource.LabelPatch{"key": &value}})
	})},
	{"delete network", plainNetwork, onANetwork(func(ctx context.Context, n network.Network) error {
		return n.Delete(ctx, network.DeleteOptions{})
	})},
}

// morgue is where processes die: a hypervisor of the test's own with what operations
// need, and what there is before each.
type morgue struct {
	p      *Provider
	raw    *lv.Connect
	before []string
}

// victimsImage makes the file of an image that victims import.
var victimsImage = sync.OnceValue(func() error {
	image := filepath.Join(common.dir, "image")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", image, "1M").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w", out, err)
	}
	return os.Setenv(victimImage, image)
})

func openMorgue(t *testing.T) *morgue {
	t.Helper()
	ctx := t.Context()
	holder := ownDaemon(t)
	require.NoError(t, victimsImage())
	m := &morgue{p: openVictims(t, holder)}
	var err error
	m.raw, err = lv.NewConnect(holder.opts.URI)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = m.raw.Close() })
	_, err = compute.ImportFile(ctx, m.p.Images(), common.guest.Disk, compute.QCOW2, compute.ImportOptions{Name: diskName})
	require.NoError(t, err)
	require.NoError(t, aNetwork(ctx, m.p, "lan", "fd42:97:1::/64"))
	m.before = m.inventory(ctx, t)
	return m
}

func openVictims(t *testing.T, holder *Provider) *Provider {
	t.Helper()
	p, err := New(t.Context(), Options{Managed: holder.opts.Managed, Namespace: victims})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// inventory lists all that there is, whoever may see it. The
// number of a record's revision is left out.
func (m *morgue) inventory(ctx context.Context, t require.TestingT) (all []string) {
	domains, err := m.raw.ListAllDomains(0)
	require.NoError(t, err)
	for i := range domains {
		name, err := domains[i].GetName()
		require.NoError(t, err)
		all = append(all, "domain "+name)
		_ = domains[i].Free()
	}
	nets, err := m.raw.ListAllNetworks(0)
	require.NoError(t, err)
	for i := range nets {
		name, err := nets[i].GetName()
		require.NoError(t, err)
		all = append(all, "network "+name)
		_ = nets[i].Free()
	}
	forwarders, err := forwardersOf(victims)
	require.NoError(t, err)
	all = append(all, forwarders...)
	facts, err := m.p.pool(ctx, m.p.opts.Pool)
	require.NoError(t, err)
	for kind, folder := range map[string]string{"file": m.p.here(facts.folder), "state": m.p.opts.StateDir, "console": m.p.here(consoleFolder)} {
		entries, err := os.ReadDir(folder)
		require.NoError(t, err)
		for _, e := range entries {
			name := e.Name()
			if at, ok := parsePlace(name); ok && at.id != "" {
				at.revision = 1
				name = at.file()
			}
			all = append(all, kind+" "+name)
		}
	}
	slices.Sort(all)
	return all
}

// asBefore holds that there is again what there was, as soon as providers that hear of a
// deletion have let go of the instance's lock, which they take to note how its run ended.
func (m *morgue) asBefore(t *testing.T, what string) {
	t.Helper()
	require.EventuallyWithT(t, func(c *assert.CollectT) { assert.Equal(c, m.before, m.inventory(t.Context(), c)) },
		10*time.Second, 10*time.Millisecond, what)
}

// process is one that is about to die.
type process struct {
	cmd   *exec.Cmd
	out   *bufio.Scanner
	tell  func(string) error
	notes bytes.Buffer
}

func (m *morgue) process(t *testing.T, op, socket string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), victimOperation+"="+op, victimDir+"="+m.p.opts.Managed.Dir, victimSocket+"="+socket,
		victimKernel+"="+common.guest.Kernel, victimInitrd+"="+common.guest.Initrd)
	p.cmd.Stderr = &p.notes
	in, err := p.cmd.StdinPipe()
	require.NoError(t, err)
	out, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	p.out = bufio.NewScanner(out)
	p.tell = func(word string) error { _, err := fmt.Fprintln(in, word); return err }
	require.NoError(t, p.cmd.Start())
	require.Equal(t, "ready", p.hear(), "%s", &p.notes)
	return p
}

// hear returns what the process says; empty where it dies instead.
func (p *process) hear() string {
	if !p.out.Scan() {
		return ""
	}
	return p.out.Text()
}

func (p *process) kill() { _ = p.cmd.Process.Kill() }

// TestAProcessThatIsKilledLeavesNothing kills one after each call that changes
// something, of each operation. What it leaves must not be in the way of others, and
// is gone after a sweep and the deletion of all that can be seen.
func TestAProcessThatIsKilledLeavesNothing(t *testing.T) {
	t.Parallel()
	const morgues = 2 // as each waits for half of its time
	for part := range morgues {
		t.Run(fmt.Sprint("part ", part), func(t *testing.T) {
			t.Parallel()
			m := openMorgue(t)
			for n := part; n < len(operations); n += morgues {
				o := operations[n]
				t.Run(o.name, func(t *testing.T) {
					began, deaths := time.Now(), 0
					for !m.deadAfter(t, o, deaths+1) {
						deaths++
					}
					t.Logf("%d deaths in %s", deaths, time.Since(began))
				})
			}
		})
	}
}

// deadAfter has a process die when some calls were made, unless the operation is over
// before.
func (m *morgue) deadAfter(t *testing.T, o operation, calls int) (finished bool) {
	t.Helper()
	ctx := t.Context()
	if o.prepare != nil {
		require.NoError(t, o.prepare(ctx, m.p))
	}
	d := &deadline{}
	d.listen(t, m.p.daemon.Socket())
	process := m.process(t, o.name, d.socket)
	d.arm(calls, process.kill)
	require.NoError(t, process.tell(theName))
	said := process.hear()
	process.kill()
	_ = process.cmd.Wait()
	what := fmt.Sprintf("after call %d, of the procedures %d", calls, d.counted())
	require.Contains(t, []string{"", "done"}, said, "%s: %s", what, &process.notes)

	p, err := New(ctx, Options{Managed: m.p.opts.Managed, Namespace: victims})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	m.look(t, p, what, false)
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err, what)
	require.Empty(t, report.Failed, what)
	m.look(t, p, what, true)
	if o.prepare == nil {
		m.empty(t, p, what)
		m.asBefore(t, what)
	}
	err = o.do(ctx, p, theName)
	require.True(t, err == nil || isNotFound(err) || errors.Is(err, errdefs.ErrAlreadyExists), "again %s: %v", what, err)
	m.empty(t, p, what)
	m.asBefore(t, what)
	dead, err := p.generations().Dead()
	require.NoError(t, err)
	require.Empty(t, dead, what)
	return said == "done"
}

// look holds that all that can be seen is whole, and may be used.
func (m *morgue) look(t *testing.T, p *Provider, what string, use bool) {
	t.Helper()
	ctx := t.Context()
	for info, err := range p.Instances().List(ctx, compute.Filter{}) {
		require.NoError(t, err, what)
		_, err := p.Instances().Handle(info.Ref.ID).Info(ctx)
		require.NoError(t, err, what)
	}
	for info, err := range p.Volumes().List(ctx, storage.Filter{}) {
		require.NoError(t, err, what)
		if use {
			require.NoError(t, storage.Export(ctx, p.Volumes().Handle(info.Ref.ID), io.Discard, storage.TransferOptions{Format: formatOf(info.Mode)}), what)
		}
	}
	for info, err := range p.Networks().List(ctx, network.Filter{}) {
		require.NoError(t, err, what)
		require.NotEmpty(t, info.Bridge, what)
	}
	for _, err := range p.Images().List(ctx, compute.ImageFilter{}) {
		require.NoError(t, err, what)
	}
}

// empty deletes all that can be seen, but for what operations need.
func (m *morgue) empty(t *testing.T, p *Provider, what string) {
	t.Helper()
	ctx := t.Context()
	for info, err := range p.Instances().List(ctx, compute.Filter{}) {
		require.NoError(t, err, what)
		require.NoError(t, p.Instances().Handle(info.Ref.ID).Delete(ctx, compute.DeleteOptions{Force: true}), what)
	}
	for info, err := range p.Volumes().List(ctx, storage.Filter{}) {
		require.NoError(t, err, what)
		v := p.Volumes().Handle(info.Ref.ID)
		s, err := storage.Snapshots(v)
		require.NoError(t, err)
		for snapshot, err := range s.Snapshots(ctx) {
			require.NoError(t, err, what)
			require.NoError(t, s.DeleteSnapshot(ctx, snapshot.Ref.Name), what)
		}
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}), what)
	}
	for info, err := range p.Networks().List(ctx, network.Filter{}) {
		require.NoError(t, err, what)
		if info.Ref.Name == "lan" {
			continue
		}
		n := p.Networks().Handle(info.Ref.ID)
		for e, err := range n.Endpoints(ctx, network.EndpointFilter{}) {
			require.NoError(t, err, what)
			require.NoError(t, n.Endpoint(e.Ref.ID).Release(ctx), what)
		}
		require.NoError(t, n.Delete(ctx, network.DeleteOptions{}), what)
	}
	for info, err := range p.Images().List(ctx, compute.ImageFilter{}) {
		require.NoError(t, err, what)
		if !slices.Contains(info.Names, diskName) {
			require.NoError(t, p.Images().Delete(ctx, info.Ref.ID, compute.DeleteImageOptions{}), what)
		}
	}
}
