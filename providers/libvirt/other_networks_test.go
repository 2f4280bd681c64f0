//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"iter"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// openBeside is open for a value that knows of the networks of others.
func openBeside(t *testing.T, namespace string, others ...network.Networks) *Provider {
	t.Helper()
	p, err := New(t.Context(), Options{Managed: startShared(t).opts.Managed, Namespace: namespace, OtherNetworks: others})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// holding creates a machine that has an endpoint.
func holding(t *testing.T, p *Provider, spec compute.Spec, endpoint string) compute.Instance {
	t.Helper()
	spec.Networks = []compute.NetworkAttachment{{Endpoint: endpoint}}
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		err := inst.Delete(context.WithoutCancel(t.Context()), compute.DeleteOptions{Force: true})
		if !isNotFound(err) {
			assert.NoError(t, err)
		}
	})
	return inst
}

// refuses requires an error with a kind and a field.
func refuses(t *testing.T, err, kind error, field string) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var own *resource.Error
	require.ErrorAs(t, err, &own)
	assert.Equal(t, field, own.Field)
}

// TestAMachineHasAnEndpointOfAnotherValuesNetwork has one value's machine on the bridge
// of another's network, as it was reserved there.
func TestAMachineHasAnEndpointOfAnotherValuesNetwork(t *testing.T) {
	a := open(t, "plug-a")
	b := openBeside(t, "plug-b", a.Networks())
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	n, err := a.Networks().Create(ctx, network.Spec{
		Name: "lan", MTU: 1400, Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.84.1.0/24"), DHCP: true}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	address := netip.MustParsePrefix("10.84.1.77/24")
	endpoint, err := n.Reserve(ctx, network.EndpointSpec{Name: "reserved", Addresses: []netip.Addr{address.Addr()},
		For: resource.Ref{Provider: Scheme, Kind: resource.KindInstance, Namespace: "plug-b", Name: "web"}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, endpoint.Release(context.WithoutCancel(ctx))) })
	promised, err := endpoint.Info(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, promised.Attachment.Bridge)

	spec := machine("other")
	spec.Networks = []compute.NetworkAttachment{{Endpoint: endpoint.ID()}}
	_, err = b.Instances().Create(ctx, spec)
	refuses(t, err, errdefs.ErrFailedPrecondition, "networks[0].endpoint")

	inst := holding(t, b, machine("web", "listen", ":80"), endpoint.ID())
	require.ErrorIs(t, endpoint.Release(ctx), errdefs.ErrFailedPrecondition, "the machine does not run, but has it")
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err := compute.WaitFor(ctx, inst, compute.LevelAddress)
	require.NoError(t, err)
	require.Len(t, info.Endpoints, 1)
	have := info.Endpoints[0]
	assert.Equal(t, []netip.Prefix{address}, have.Addresses)
	require.Eventually(t, func() bool {
		// The guest's agent may tell of the address before libvirt has written the lease down.
		info, err := inst.Info(ctx)
		return err == nil && info.Endpoints[0].Source == "lease"
	}, 20*time.Second, 50*time.Millisecond)
	assert.Equal(t, promised.MAC, have.MAC)
	assert.Equal(t, promised.Ref, have.Ref)
	assert.Equal(t, promised.Network, have.Network)
	assert.True(t, have.PluggedIn)
	now, err := endpoint.Info(ctx)
	require.NoError(t, err)
	assert.True(t, now.PluggedIn, "one hypervisor knows of all that it runs")

	var out []byte
	require.Eventually(t, func() bool {
		out, err = compute.Output(ctx, inst, "ip", "addr", "show", "eth0")
		return err == nil
	}, time.Minute, 100*time.Millisecond)
	assert.Contains(t, string(out), "10.84.1.77/24")
	assert.Contains(t, string(out), "mtu 1400")
	assert.Contains(t, string(out), promised.MAC.String())
	require.Eventually(t, func() bool {
		conn, err := netns.Dial(ctx, namespaceOf(t, b), "tcp", netip.AddrPortFrom(address.Addr(), 80))
		if err != nil {
			return false
		}
		defer conn.Close()
		return echoes(conn)
	}, 30*time.Second, 100*time.Millisecond, "from the network's host")
	conn, err := compute.Dial(ctx, inst, "80")
	require.NoError(t, err)
	assert.True(t, echoes(conn))
	require.NoError(t, conn.Close())

	t.Run("a value that does not know the network goes on with it", func(t *testing.T) {
		alone := open(t, "plug-b")
		same, err := alone.Instances().Get(ctx, "web")
		require.NoError(t, err)
		require.NoError(t, same.Stop(ctx, compute.StopOptions{Force: true}))
		stopped, err := endpoint.Info(ctx)
		require.NoError(t, err)
		assert.Equal(t, promised, stopped)
		require.NoError(t, same.Start(ctx, compute.StartOptions{}))
		info, err := compute.WaitFor(ctx, same, compute.LevelAddress)
		require.NoError(t, err)
		require.Len(t, info.Endpoints, 1)
		assert.Equal(t, []netip.Prefix{address}, info.Endpoints[0].Addresses)
		assert.Equal(t, "assigned", info.Endpoints[0].Source)
		all, err := resource.Collect(alone.Instances().List(ctx, compute.Filter{}))
		require.NoError(t, err)
		require.Len(t, all, 1)
		assert.Equal(t, promised.Ref, all[0].Endpoints[0].Ref)
		report, err := alone.Sweep(ctx, univirt.SweepOptions{})
		require.NoError(t, err)
		assert.Empty(t, report.Removed)
		require.NoError(t, same.Delete(ctx, compute.DeleteOptions{Force: true}))
	})
	free, err := endpoint.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, promised, free, "it outlives the machine")
}

// openIn starts another hypervisor, which has the network namespace of the shared one.
func openIn(t *testing.T, namespace *os.File, opts Options) *Provider {
	t.Helper()
	type opened struct {
		p   *Provider
		err error
	}
	done := make(chan opened)
	go func() {
		// A process is in the namespace of the thread that starts it. This one ends with
		// the goroutine.
		runtime.LockOSThread()
		err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET)
		var p *Provider
		if err == nil {
			p, err = New(t.Context(), opts)
		}
		done <- opened{p, err}
	}()
	o := <-done
	require.NoError(t, o.err)
	t.Cleanup(func() {
		assert.NoError(t, o.p.Close())
		assert.NoError(t, Remove(context.WithoutCancel(t.Context()), opts.Managed.Dir))
	})
	return o.p
}

// TestAMachineHasAnEndpointOfAnotherHypervisorsNetwork has two hypervisors of one host,
// of which neither knows what the other runs.
func TestAMachineHasAnEndpointOfAnotherHypervisorsNetwork(t *testing.T) {
	a := open(t, "plug-two")
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	n, err := a.Networks().Create(ctx, network.Spec{
		Name: "lan", Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.84.2.0/24"), DHCP: true}},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	endpoint, err := n.Reserve(ctx, network.EndpointSpec{Name: "web"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, endpoint.Release(context.WithoutCancel(ctx))) })
	promised, err := endpoint.Info(ctx)
	require.NoError(t, err)
	b := openIn(t, namespaceOf(t, a), Options{
		Managed: &Managed{Dir: filepath.Join(filepath.Dir(common.dir), filepath.Base(common.dir)+"-3")}, OtherNetworks: []network.Networks{a.Networks()},
	})
	inst := holding(t, b, machine("web", "listen", ":80"), endpoint.ID())
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err := compute.WaitFor(ctx, inst, compute.LevelAddress)
	require.NoError(t, err)
	promised.PluggedIn = true
	assert.Equal(t, []network.EndpointInfo{promised}, info.Endpoints, "the network does not know of the machine")
	client := on(t, a, "client", "lan")
	address := netip.AddrPortFrom(promised.Addresses[0].Addr(), 80).String()
	require.Eventually(t, func() bool {
		out, err := compute.Output(ctx, client, "/bin/sh", "-c", "echo hello | nc -w 2 "+strings.Replace(address, ":", " ", 1))
		return err == nil && string(out) == "hello\n"
	}, time.Minute, 100*time.Millisecond, "a machine of the other hypervisor reaches it")
	out, err := compute.Output(ctx, inst, "ip", "addr", "show", "eth0")
	require.NoError(t, err)
	assert.Contains(t, string(out), promised.Addresses[0].String())
}

// stranger is networks of a provider that knows nothing of this one: one network, with
// endpoints.
type stranger struct {
	network.Networks
	endpoints map[string]network.EndpointInfo
	// hang has calls wait for the end of their context.
	hang bool
}

type strangeNetwork struct {
	network.Network
	s *stranger
}

type strangeEndpoint struct {
	network.Endpoint
	s  *stranger
	id string
}

var strange = resource.Ref{Provider: "stranger", Kind: resource.KindNetwork, Name: "lan", ID: resource.NewID()}

// reserve makes an endpoint.
func (s *stranger) reserve(bridge string, changes ...func(*network.EndpointInfo)) string {
	id := resource.NewID()
	info := network.EndpointInfo{
		Ref: resource.Ref{Provider: "stranger", Kind: resource.KindEndpoint, ID: id}, Network: strange,
		MAC: newMAC(id), Addresses: []netip.Prefix{netip.MustParsePrefix("10.85.1.5/24")}, Source: "assigned",
		Attachment: network.Attachment{Bridge: bridge},
	}
	for _, change := range changes {
		change(&info)
	}
	if s.endpoints == nil {
		s.endpoints = map[string]network.EndpointInfo{}
	}
	s.endpoints[id] = info
	return id
}

func (s *stranger) List(context.Context, network.Filter) iter.Seq2[network.Info, error] {
	return func(yield func(network.Info, error) bool) { yield(network.Info{Ref: strange, Managed: true}, nil) }
}

func (s *stranger) Handle(string) network.Network { return strangeNetwork{s: s} }

func (s *stranger) Get(_ context.Context, id string) (network.Network, error) {
	if id != strange.ID {
		return nil, errdefs.ErrNotFound
	}
	return s.Handle(id), nil
}

func (n strangeNetwork) Endpoint(id string) network.Endpoint { return strangeEndpoint{s: n.s, id: id} }

func (e strangeEndpoint) Info(ctx context.Context) (network.EndpointInfo, error) {
	if e.s.hang {
		<-ctx.Done()
		return network.EndpointInfo{}, ctx.Err()
	}
	info, ok := e.s.endpoints[e.id]
	if !ok {
		return info, errdefs.ErrNotFound
	}
	return info, nil
}

// makeBridge makes one where the shared hypervisor's machines are, and returns what
// runs ip there.
func makeBridge(t *testing.T, p *Provider, name string) (inside func(args ...string) (string, error)) {
	t.Helper()
	inside = func(args ...string) (string, error) {
		out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(libvirtdOf(t, p)), "-n", "ip"}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := inside("link", "add", name, "type", "bridge")
	require.NoError(t, err, out)
	t.Cleanup(func() { _, _ = inside("link", "del", name) })
	out, err = inside("link", "set", name, "up")
	require.NoError(t, err, out)
	return inside
}

func TestAnEndpointThatCannotBePluggedInIsRefusedAndNamed(t *testing.T) {
	other := &stranger{}
	p := openBeside(t, "plug-refused", other)
	ctx := t.Context()
	makeBridge(t, p, "br-strange")
	refused := func(p *Provider, kind error, says, endpoint string) {
		t.Helper()
		spec := machine("web")
		spec.Networks = []compute.NetworkAttachment{{Endpoint: endpoint}}
		_, err := p.Instances().Create(ctx, spec)
		refuses(t, err, kind, "networks[0].endpoint")
		assert.ErrorContains(t, err, says)
	}
	refused(p, errdefs.ErrNotFound, "no such endpoint", resource.NewID())
	refused(p, errdefs.ErrFailedPrecondition, "no bridge of this host", other.reserve(""))
	refused(p, errdefs.ErrFailedPrecondition, "there is no bridge", other.reserve("br-elsewhere"))
	refused(p, errdefs.ErrFailedPrecondition, "another instance runs", other.reserve("br-strange", func(e *network.EndpointInfo) { e.PluggedIn = true }))
	refused(p, errdefs.ErrFailedPrecondition, "meant for", other.reserve("br-strange", func(e *network.EndpointInfo) { e.For.Name = "db" }))
	refused(p, errdefs.ErrFailedPrecondition, "hardware address", other.reserve("br-strange", func(e *network.EndpointInfo) { e.MAC = nil }))
	taken := other.reserve("br-strange")
	holding(t, p, machine("first"), taken)
	refused(p, errdefs.ErrFailedPrecondition, "has the endpoint", taken)
	refused(openBeside(t, "plug-elsewhere", other), errdefs.ErrFailedPrecondition, "has the endpoint", taken)
	refused(open(t, "plug-elsewhere"), errdefs.ErrNotFound, "no such endpoint", taken)
	closed := open(t, "plug-closed")
	require.NoError(t, closed.Close())
	refused(openBeside(t, "plug-elsewhere", closed.Networks()), errdefs.ErrUnavailable, "cannot be asked", resource.NewID())
	names, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
	require.NoError(t, err)
	assert.Len(t, names, 1)
}

// TestAHypervisorWithANetworkOfItsOwn has no bridge of this host's.
func TestAHypervisorWithANetworkOfItsOwn(t *testing.T) {
	a := open(t, "plug-host")
	ctx := t.Context()
	n, err := a.Networks().Create(ctx, network.Spec{Name: "lan"})
	require.NoError(t, err)
	endpoint, err := n.Reserve(ctx, network.EndpointSpec{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, endpoint.Release(context.WithoutCancel(ctx)))
		assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{}))
	})
	dir := filepath.Join(filepath.Dir(common.dir), filepath.Base(common.dir)+"-2")
	p, err := New(ctx, Options{Managed: &Managed{Dir: dir, PrivateNetwork: true}, OtherNetworks: []network.Networks{a.Networks()}})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		assert.NoError(t, Remove(context.WithoutCancel(ctx), dir))
	})
	spec := machine("web")
	spec.Networks = []compute.NetworkAttachment{{Endpoint: endpoint.ID()}}
	_, err = p.Instances().Create(ctx, spec)
	refuses(t, err, errdefs.ErrFailedPrecondition, "networks[0].endpoint")
}

// TestAnEndpointOfAProviderThatKnowsNothingOfThis follows what happens to one that only
// the instance's record holds.
func TestAnEndpointOfAProviderThatKnowsNothingOfThis(t *testing.T) {
	other := &stranger{}
	p := openBeside(t, "plug-strange", other)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	inside := makeBridge(t, p, "br-strange2")
	id := other.reserve("br-strange2")
	inst := holding(t, p, machine("web"), id)
	endpoint := func() network.EndpointInfo {
		t.Helper()
		info, err := inst.Info(ctx)
		require.NoError(t, err)
		require.Len(t, info.Endpoints, 1)
		return info.Endpoints[0]
	}
	promised := other.endpoints[id]
	assert.Equal(t, promised, endpoint())

	delete(other.endpoints, id)
	assert.Contains(t, endpoint().Reason, "released")
	refuses(t, inst.Start(ctx, compute.StartOptions{}), errdefs.ErrFailedPrecondition, "networks[0].endpoint")
	busy := promised
	busy.PluggedIn = true
	other.endpoints[id] = busy
	refuses(t, inst.Start(ctx, compute.StartOptions{}), errdefs.ErrFailedPrecondition, "networks[0].endpoint")
	other.endpoints[id] = promised
	other.hang = true
	assert.Equal(t, promised, endpoint(), "as the record knows it")
	other.hang = false

	out, err := inside("link", "del", "br-strange2")
	require.NoError(t, err, out)
	err = inst.Start(ctx, compute.StartOptions{})
	refuses(t, err, errdefs.ErrFailedPrecondition, "networks")
	require.ErrorContains(t, err, "br-strange2")
	makeBridge(t, p, "br-strange2")
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))

	// The guest, whom nobody tells its address, takes it.
	_, err = compute.WaitFor(ctx, inst, compute.LevelAgent)
	require.NoError(t, err)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.LevelAgent, info.Level, "the guest has not its address")
	_, err = compute.Output(ctx, inst, "/bin/sh", "-c", "ip link set eth0 up && ip addr add 10.85.1.5/24 dev eth0")
	require.NoError(t, err)
	info, err = compute.WaitFor(ctx, inst, compute.LevelAddress)
	require.NoError(t, err)
	running := promised
	running.PluggedIn = true
	assert.Equal(t, []network.EndpointInfo{running}, info.Endpoints)

	clone, err := compute.Clone(ctx, inst, compute.CloneOptions{Name: "copy"})
	require.NoError(t, err)
	copied, err := clone.Info(ctx)
	require.NoError(t, err)
	assert.Empty(t, copied.Endpoints)
	second := other.reserve("br-strange2")
	require.NoError(t, compute.AttachNetwork(ctx, clone, compute.NetworkAttachment{Endpoint: second}), "while it stands still")
	require.NoError(t, clone.Delete(ctx, compute.DeleteOptions{}))

	refuses(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Endpoint: id}), errdefs.ErrFailedPrecondition, "endpoint")
	refuses(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Endpoint: other.reserve("")}), errdefs.ErrFailedPrecondition, "endpoint")
	require.NoError(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Endpoint: second}), "while it runs")
	cards := func() string {
		out, err := compute.Output(ctx, inst, "sh", "-c", "cat /sys/class/net/*/address")
		require.NoError(t, err)
		return string(out)
	}
	mac := other.endpoints[second].MAC.String()
	require.Eventually(t, func() bool { return strings.Contains(cards(), mac) }, 20*time.Second, 50*time.Millisecond)
	require.NoError(t, compute.DetachNetwork(ctx, inst, second))
	assert.NotContains(t, cards(), mac)
	assert.Equal(t, running, endpoint())

	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	again := holding(t, p, machine("again"), id)
	require.NoError(t, again.Delete(ctx, compute.DeleteOptions{}))
}

func TestInterfaceNames(t *testing.T) {
	table := "Inter-|   Receive\n face |bytes\n    lo: 1 2 3\nbr-a: 0 0\n"
	assert.Equal(t, []string{"lo", "br-a"}, interfaceNames(table))
	assert.Empty(t, interfaceNames(""))
}
