//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func dualStack(name, v4, v6 string) network.Spec {
	return network.Spec{Name: name, Subnets: []network.Subnet{
		{CIDR: netip.MustParsePrefix(v4), DHCP: true}, {CIDR: netip.MustParsePrefix(v6)},
	}}
}

// on starts a machine on a network.
func on(t *testing.T, p *Provider, name, lan string, aliases ...string) compute.Instance {
	t.Helper()
	spec := machine(name)
	spec.Networks = []compute.NetworkAttachment{{Network: lan, Aliases: aliases}}
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, inst.Delete(context.WithoutCancel(t.Context()), compute.DeleteOptions{Force: true}))
	})
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	return inst
}

func TestPacketsBetweenMachines(t *testing.T) {
	t.Parallel()
	p := open(t, "packets")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for _, spec := range []network.Spec{dualStack("lan", "10.81.1.0/24", "fd42:81:1::/64"), dualStack("other", "10.81.2.0/24", "fd42:81:2::/64")} {
		n, err := p.Networks().Create(ctx, spec)
		require.NoError(t, err)
		t.Cleanup(func() {
			assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{}))
		})
	}
	web, db, away := on(t, p, "web", "lan", "service"), on(t, p, "db", "lan", "service"), on(t, p, "away", "other")
	infos := map[string]compute.Info{}
	for name, inst := range map[string]compute.Instance{"web": web, "db": db, "away": away} {
		info, err := compute.WaitFor(ctx, inst, compute.LevelAddress)
		require.NoError(t, err, name)
		require.Len(t, info.Endpoints, 1)
		assert.Equal(t, "lease", info.Endpoints[0].Source)
		assert.Len(t, info.Endpoints[0].Addresses, 2)
		infos[name] = info
	}
	run := func(inst compute.Instance, command ...string) (string, error) {
		out, err := compute.Output(ctx, inst, command...)
		return string(out), err
	}
	pings := func(from compute.Instance, to string) bool {
		_, err := run(from, "ping", "-c", "1", "-W", "2", to)
		return err == nil
	}
	require.Eventually(t, func() bool { _, err := run(db, "true"); return err == nil }, 60*time.Second, 100*time.Millisecond)
	require.Eventually(t, func() bool { _, err := run(away, "true"); return err == nil }, 60*time.Second, 100*time.Millisecond)
	for _, a := range infos["web"].Endpoints[0].Addresses {
		// A guest makes itself an address of IPv6 in its own time.
		assert.Eventually(t, func() bool { return pings(db, a.Addr().String()) }, 20*time.Second, 100*time.Millisecond, "%s on the same network", a)
		assert.False(t, pings(away, a.Addr().String()), "%s from another network", a)
	}
	for _, name := range []string{"web", "web.lan", "service", "db.lan"} {
		out, err := run(db, "nslookup", name, "10.81.1.1")
		require.NoError(t, err, "%s: %s", name, out)
	}
	out, err := run(db, "nslookup", "service", "10.81.1.1")
	require.NoError(t, err)
	for _, name := range []string{"web", "db"} {
		for _, a := range infos[name].Endpoints[0].Addresses {
			assert.Contains(t, strings.ToLower(out), a.Addr().String(), "an alias is all that share it")
		}
	}
	_, err = run(away, "nslookup", "web", "10.81.2.1")
	require.Error(t, err, "a name of another network")
}

func TestSweepTakesWhatDeadMakersLeftOfNetworks(t *testing.T) {
	p := open(t, "lost")
	ctx := t.Context()
	n, err := p.Networks().Create(ctx, network.Spec{Name: "lan"})
	require.NoError(t, err)
	defer func() { require.NoError(t, n.Delete(ctx, network.DeleteOptions{})) }()
	h := n.(*networkHandle)
	require.NoError(t, h.amend(ctx, func(spec network.Spec, state *networkState) error {
		return h.reserve(spec, state, endpointRecord{ID: resource.NewID(), Name: "web", Holder: resource.NewID(), Own: true}, nil)
	}))
	half := document{ID: resource.NewID(), Name: "half"}.begun(making, resource.NewID(), -time.Second)
	text, err := network.Encode(networkChoices(network.Spec{Name: "half"}))
	require.NoError(t, err)
	half.Spec = text
	_, err = networks{p}.records().create(ctx, half)
	require.NoError(t, err)
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Failed)
	info, err := n.Info(ctx)
	require.NoError(t, err)
	assert.Zero(t, info.Endpoints)
	again, err := p.Networks().Create(ctx, network.Spec{Name: "half"})
	require.NoError(t, err, "the name is free again")
	require.NoError(t, again.Delete(ctx, network.DeleteOptions{}))
}

// TestAMachineOnABridgeOfSomebodyElse plugs one into a bridge that libvirt did not
// make, as another provider's network is.
func TestAMachineOnABridgeOfSomebodyElse(t *testing.T) {
	p := open(t, "bridged")
	ctx := t.Context()
	inside := func(args ...string) (string, error) {
		out, err := exec.Command("nsenter", append([]string{"-t", strconv.Itoa(libvirtdOf(t, p)), "-n", "ip"}, args...)...).CombinedOutput()
		return string(out), err
	}
	out, err := inside("link", "add", "br-others", "type", "bridge")
	require.NoError(t, err, out)
	t.Cleanup(func() { _, _ = inside("link", "del", "br-others") })
	_, err = inside("link", "set", "br-others", "up")
	require.NoError(t, err)
	n, err := p.Networks().Create(ctx, network.Spec{Name: "lan", External: network.Bridged, Bridge: "br-others"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	inst := on(t, p, "web", "lan")
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Len(t, info.Endpoints, 1)
	assert.Equal(t, "br-others", info.Endpoints[0].Attachment.Bridge)
	assert.Empty(t, info.Endpoints[0].Addresses)
	assert.NotEmpty(t, info.Endpoints[0].Reason)
	out, err = inside("link", "show", "master", "br-others")
	require.NoError(t, err)
	assert.Contains(t, out, "vnet", "the machine's card is on the bridge")
	began := time.Now()
	_, err = compute.WaitFor(ctx, inst, compute.LevelAgent)
	require.NoError(t, err)
	_, err = compute.Output(ctx, inst, "/bin/sh", "-c", "ip link set eth0 up && ip addr add 10.1.2.3/24 dev eth0")
	require.NoError(t, err)
	info, err = compute.WaitFor(ctx, inst, compute.LevelAddress)
	require.NoError(t, err)
	t.Logf("the agent told after %s", time.Since(began))
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24")}, info.Endpoints[0].Addresses)
	assert.Equal(t, "agent", info.Endpoints[0].Source)
	assert.Empty(t, info.Endpoints[0].Reason)
	_, err = compute.Output(ctx, inst, "/bin/sh", "-c", "(sleep 1; kill -STOP $(pidof qemu-ga)) <&- >&- 2>&- &")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		info, err := inst.Info(ctx)
		return err == nil && len(info.Endpoints[0].Addresses) == 0
	}, 20*time.Second, 100*time.Millisecond, "the agent hangs")
	began = time.Now()
	info, err = inst.Info(ctx)
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 3*agentAnswer, "an agent that hangs is not waited for")
	assert.Empty(t, info.Endpoints[0].Addresses)

	out, err = inside("addr", "add", "10.1.2.1/24", "dev", "br-others")
	require.NoError(t, err, out)
	conn, err := netns.Dial(ctx, namespaceOf(t, p), "tcp", netip.MustParseAddrPort("10.1.2.3:9"))
	require.Error(t, err, "nobody listens there: %v", conn)
	info, err = inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32")}, info.Endpoints[0].Addresses)
	assert.Equal(t, "arp", info.Endpoints[0].Source, "the host has spoken with it")
	stats, err := resource.Collect(p.Instances().Stats(ctx, compute.Filter{}))
	require.NoError(t, err)
	require.Len(t, stats, 1)
	require.Len(t, stats[0].Network, 1)
	counted := stats[0].Network[0]
	assert.Equal(t, info.Endpoints[0].Ref.ID, counted.Endpoint)
	assert.Positive(t, counted.ReceiveBytes, "%+v", counted)
	assert.Positive(t, counted.TransmitPackets, "%+v", counted)
	_, err = n.Reserve(ctx, network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.1.2.3")}})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
}

func namespaceOf(t *testing.T, p *Provider) *os.File {
	t.Helper()
	f, err := p.namespace()
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.Close()) })
	return f
}

func TestAMachineIsPluggedInWhileItRuns(t *testing.T) {
	t.Parallel()
	p := open(t, "replugged")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	n, err := p.Networks().Create(ctx, dualStack("lan", "10.81.3.0/24", "fd42:81:3::/64"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	reserved, err := n.Reserve(ctx, network.EndpointSpec{Name: "reserved"})
	require.NoError(t, err)
	inst, err := p.Instances().Create(ctx, machine("web"))
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, inst.Delete(context.WithoutCancel(ctx), compute.DeleteOptions{Force: true}))
	})
	endpoints := func() []network.EndpointInfo {
		info, err := inst.Info(ctx)
		require.NoError(t, err)
		return info.Endpoints
	}
	require.NoError(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Endpoint: reserved.ID()}), "while it stands still")
	require.ErrorIs(t, reserved.Release(ctx), errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	_, err = compute.WaitFor(ctx, inst, compute.LevelAgent)
	require.NoError(t, err)
	began := time.Now()
	require.NoError(t, compute.AttachNetwork(ctx, inst, compute.NetworkAttachment{Network: "lan", Aliases: []string{"second"}}))
	t.Logf("attach %s", time.Since(began))
	all := endpoints()
	require.Len(t, all, 2)
	cards := func() string {
		out, err := compute.Output(ctx, inst, "sh", "-c", "cat /sys/class/net/*/address")
		require.NoError(t, err)
		return string(out)
	}
	for _, e := range all {
		assert.True(t, e.PluggedIn)
		require.Eventually(t, func() bool { return strings.Contains(cards(), e.MAC.String()) }, 20*time.Second, 50*time.Millisecond)
	}

	for _, a := range []compute.NetworkAttachment{{Network: "none-such"}, {Network: "lan", MAC: all[1].MAC}, {Endpoint: reserved.ID()}} {
		err := compute.AttachNetwork(ctx, inst, a)
		require.Error(t, err)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		assert.Contains(t, []string{"network", "mac", "endpoint"}, own.Field)
		require.Len(t, endpoints(), 2)
	}

	// One that a dead maker took for it goes with the next change.
	_, err = p.plugOne(ctx, inst.ID(), "web", compute.NetworkAttachment{Network: "lan"})
	require.NoError(t, err)
	began = time.Now()
	require.NoError(t, compute.DetachNetwork(ctx, inst, all[1].Ref.ID))
	t.Logf("detach %s", time.Since(began))
	require.ErrorIs(t, compute.DetachNetwork(ctx, inst, all[1].Ref.ID), errdefs.ErrNotFound)
	assert.NotContains(t, cards(), all[1].MAC.String())
	left := 0
	for e, err := range n.Endpoints(ctx, network.EndpointFilter{}) {
		require.NoError(t, err)
		assert.Equal(t, reserved.ID(), e.Ref.ID)
		left++
	}
	assert.Equal(t, 1, left)

	// Or with a sweep.
	_, err = p.plugOne(ctx, inst.ID(), "web", compute.NetworkAttachment{Network: "lan"})
	require.NoError(t, err)
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Failed)
	assert.Contains(t, report.Removed, p.ref(resource.KindEndpoint, "", inst.ID()))
	require.Len(t, endpoints(), 1)

	require.NoError(t, compute.DetachNetwork(ctx, inst, reserved.ID()))
	require.NoError(t, reserved.Release(ctx))
	assert.Empty(t, endpoints())
}
