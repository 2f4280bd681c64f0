package providertest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

func networkCases() []testCase {
	networks := hasNetworks(network.FeatureNetworks)
	attached := all(networks, fields("networks[].network"))
	plugged := all(attached, has(compute.FeatureExec, compute.FeatureLogs))
	cases := []testCase{
		{"Create makes a network, and Info tells of it", networks, networkCreate},
		{"A network's name is unique, and its handle is bound to its ID", networks, networkIdentity},
		{"Networks are listed by name, ID and labels", networks, networkList},
		{"Update of a network patches its labels, at a revision", networks, networkUpdate},
		{"Of many Creates of one network one succeeds", networks, networkRace},
		{"Ensure of a network creates it once", networks, networkEnsure},
		{"Subnets that overlap are AlreadyExists", hasNetworks(network.FeatureIPv4), networkOverlap},
		{"A network may have IPv6", hasNetworks(network.FeatureIPv6), networkIPv6},
		{"Faults of a network's spec come before what is not supported", networks, networkFaultsFirst},
		{"A network with endpoints cannot be deleted", networks, networkInUse},
		{"An endpoint is reserved and released", networks, endpointReserve},
		{"An endpoint's address and MAC may be chosen, once", hasNetworks(network.FeatureFixedAddress), endpointFixed},
		{"A subnet that is used up is ResourceExhausted, and its addresses come back", hasNetworks(network.FeatureIPv4), endpointExhausted},
		{"Many Reserves give many addresses", networks, endpointRace},
		{"A network whose operation is cancelled in its middle is as it was or as it was to be", networks, networkCancelled},
		{"An ephemeral network goes with its maker", networks, networkEphemeral},
		{"Sweep removes the networks past their lifetime, and no others", all(networks, canSweep(), hook("Crash")), networkSweep},
		{"Instances on one network reach each other by address", plugged, instancesTalk},
		{"Instances on one network find each other by name and alias", all(plugged, hasNetworks(network.FeatureDNS)), instancesResolve},
		{"Instances on different networks do not reach each other", plugged, instancesIsolated},
		{"An address lasts from Create to Delete", all(attached, hasNetworks(network.FeatureStableAddress)), addressStable},
		{"WaitFor an address returns when there is one on each network", plugged, waitForAddress},
		{"A network that is not there is NotFound at Create and named", attached, networkMissing},
		{"A port is published on the host, by choice or not", all(attached, hasNetworks(network.FeaturePublish)), publish},
		{"A published port that is taken is AlreadyExists at Start", all(attached, hasNetworks(network.FeaturePublish)), publishTaken},
		{"A port is not published where the instance has no address", all(attached, hasNetworks(network.FeaturePublish)), publishNowhere},
		{"Of many Starts that publish one port of the host one succeeds", all(attached, hasNetworks(network.FeaturePublish)), publishRace},
		{"Of many Creates with one address one succeeds",
			all(attached, hasNetworks(network.FeatureFixedAddress), fields("networks[].addresses")), addressRace},
		{"Create on a network without an address left is ResourceExhausted and leaves nothing behind", all(attached, hasNetworks(network.FeatureIPv4)), addressesGone},
	}
	for feature, external := range map[resource.Feature]network.External{
		network.FeatureNAT: network.NAT, network.FeatureRouted: network.Routed,
	} {
		cases = append(cases, testCase{
			name:  fmt.Sprintf("A network may be %s", external),
			needs: hasNetworks(feature),
			run: func(e *env) {
				n := e.network(network.Spec{Name: "lan", External: external})
				require.Equal(e, external, e.networkInfo(n).Spec.External)
			},
		})
	}
	cases = append(cases,
		testCase{"A network may have an MTU", hasNetworks(network.FeatureMTU), func(e *env) {
			require.Equal(e, 1400, e.networkInfo(e.network(network.Spec{Name: "lan", MTU: 1400})).MTU)
		}},
		testCase{"A subnet may have DHCP", hasNetworks(network.FeatureDHCP), func(e *env) {
			n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: subnet(24), DHCP: true}}})
			require.True(e, e.networkInfo(n).Subnets[0].DHCP)
		}},
		testCase{"A network that is bridged to an interface that is not there fails and leaves nothing behind", hasNetworks(network.FeatureBridged), func(e *env) {
			_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "lan", External: network.Bridged, Bridge: "no-such-bridge"})
			if err != nil {
				e.failsField(err, errdefs.ErrNotFound, "bridge")
			}
		}})
	for _, b := range badNetworks {
		cases = append(cases, testCase{
			name:  fmt.Sprintf("Create of a network with %s is InvalidArgument and names %s", b.says, b.field),
			needs: networks,
			run: func(e *env) {
				spec := network.Spec{Name: "lan"}
				b.spoil(&spec)
				_, err := e.p.Networks().Create(e.ctx, spec)
				e.failsField(err, errdefs.ErrInvalidArgument, b.field)
				require.Empty(e, e.networkNames(network.Filter{}))
			},
		})
	}
	return slices.Concat(cases, endpointCases(), otherNetworkCases())
}

var badNetworks = []struct {
	says, field string
	spoil       func(*network.Spec)
}{
	{"a malformed name", "name", func(s *network.Spec) { s.Name = "a/b" }},
	{"host bits in its subnet", "subnets[0].cidr", func(s *network.Spec) {
		s.Subnets = []network.Subnet{{CIDR: netip.MustParsePrefix("10.1.2.3/24")}}
	}},
	{"a gateway outside of its subnet", "subnets[0].gateway", func(s *network.Spec) {
		s.Subnets = []network.Subnet{{CIDR: netip.MustParsePrefix("10.1.2.0/24"), Gateway: netip.MustParseAddr("10.1.3.1")}}
	}},
	{"an unknown way outside", "external", func(s *network.Spec) { s.External = "wormhole" }},
	{"a bridge that it does not join", "bridge", func(s *network.Spec) { s.Bridge = "br0" }},
	{"a malformed domain", "domain", func(s *network.Spec) { s.Domain = "a b" }},
	{"an MTU of 10", "mtu", func(s *network.Spec) { s.MTU = 10 }},
	{"a malformed label", "labels[tier]", func(s *network.Spec) { s.Labels = resource.Labels{"tier": "a b"} }},
}

// subnets counts what subnet has given.
var subnets atomic.Uint32

// subnet is one that no other case has: cases run beside one another, on hosts that
// have one space of addresses.
func subnet(bits int) netip.Prefix {
	n := subnets.Add(1) % (1 << 10)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 208 + byte(n>>6), byte(n << 2), 0}), bits)
}

// someAddress is one of a subnet that has 78 or more.
func someAddress(cidr netip.Prefix) netip.Addr {
	four := cidr.Addr().As4()
	four[3] += 77
	return netip.AddrFrom4(four)
}

func (e *env) network(spec network.Spec) network.Network {
	e.Helper()
	n, err := e.p.Networks().Create(e.ctx, spec)
	require.NoError(e, err, "create the network %s", spec.Name)
	return n
}

func (e *env) networkInfo(n network.Network) network.Info {
	e.Helper()
	info, err := n.Info(e.ctx)
	require.NoError(e, err)
	return info
}

func (e *env) networkNames(filter network.Filter) []string {
	e.Helper()
	infos, err := resource.Collect(e.p.Networks().List(e.ctx, filter))
	require.NoError(e, err)
	names := []string{}
	for _, info := range infos {
		names = append(names, info.Ref.Name)
	}
	return sorted(names)
}

// plugged makes a running instance on a network.
func (e *env) plugged(name, net string, program ...string) compute.Instance {
	e.Helper()
	spec := e.spec(name, program...)
	spec.Networks = []compute.NetworkAttachment{{Network: net}}
	inst := e.create(spec)
	e.start(inst)
	return inst
}

func networkCreate(e *env) {
	spec := network.Spec{Name: "lan", Labels: resource.Labels{"tier": "web"}}
	info := e.networkInfo(e.network(spec))
	e.wellFormedRef(info.Ref, resource.KindNetwork)
	require.True(e, info.Managed)
	require.Equal(e, owner, info.Owner.Name)
	require.Empty(e, resource.Unmet(*info.Spec, spec))
	require.Equal(e, spec.Labels, info.Labels)
	require.NotEmpty(e, info.Subnets, "a subnet was chosen")
	for _, subnet := range info.Subnets {
		require.True(e, subnet.CIDR.IsValid())
		require.True(e, subnet.CIDR.Contains(subnet.Gateway), "%v of %v", subnet.Gateway, subnet.CIDR)
	}
	require.Equal(e, "lan", info.Domain)
	require.Zero(e, info.Endpoints)
	require.NotEmpty(e, info.Revision)
}

func networkIdentity(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "lan"})
	e.failsField(err, errdefs.ErrAlreadyExists, "name")
	for _, idOrName := range []string{"lan", n.ID()} {
		got, err := e.p.Networks().Get(e.ctx, idOrName)
		require.NoError(e, err)
		require.Equal(e, n.ID(), got.ID())
	}
	require.NoError(e, n.Delete(e.ctx, network.DeleteOptions{}))
	again := e.network(network.Spec{Name: "lan"})
	require.NotEqual(e, n.ID(), again.ID())
	_, err = n.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	e.fails(n.Delete(e.ctx, network.DeleteOptions{}), errdefs.ErrNotFound)
	_, err = n.Reserve(e.ctx, network.EndpointSpec{})
	e.fails(err, errdefs.ErrNotFound)
	_, err = e.p.Networks().Get(e.ctx, "nobody")
	e.fails(err, errdefs.ErrNotFound)
	_, err = e.p.Networks().Get(e.ctx, "../lan")
	e.failsField(err, errdefs.ErrInvalidArgument, "idOrName")
}

func networkList(e *env) {
	a := e.network(network.Spec{Name: "a", Labels: resource.Labels{"tier": "db"}})
	e.network(network.Spec{Name: "b"})
	require.Equal(e, []string{"a", "b"}, e.networkNames(network.Filter{}))
	require.Equal(e, []string{"b"}, e.networkNames(network.Filter{Names: []string{"b"}}))
	require.Equal(e, []string{"a"}, e.networkNames(network.Filter{IDs: []string{a.ID()}}))
	require.Equal(e, []string{"a"}, e.networkNames(network.Filter{Selector: resource.Select(resource.Exists("tier"))}))
}

func networkUpdate(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	revision := e.networkInfo(n).Revision
	require.NoError(e, n.Update(e.ctx, network.Change{Labels: labelsOf("tier", "db"), IfRevision: revision}))
	info := e.networkInfo(n)
	require.Equal(e, resource.Labels{"tier": "db"}, info.Labels)
	require.NotEqual(e, revision, info.Revision)
	e.fails(n.Update(e.ctx, network.Change{Labels: labelsOf("tier", "web"), IfRevision: revision}), errdefs.ErrAborted)
	e.failsField(n.Update(e.ctx, network.Change{Labels: labelsOf("tier", "a b")}), errdefs.ErrInvalidArgument, "labels[tier]")
	require.Equal(e, info, e.networkInfo(n))
}

func networkRace(e *env) {
	made := 0
	for _, err := range e.together(crowd, func(int) error {
		_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "lan"})
		return err
	}) {
		if err == nil {
			made++
			continue
		}
		e.fails(err, errdefs.ErrAlreadyExists)
	}
	require.Equal(e, 1, made)
}

func networkEnsure(e *env) {
	first, err := network.Ensure(e.ctx, e.p.Networks(), network.Spec{Name: "lan"})
	require.NoError(e, err)
	second, err := network.Ensure(e.ctx, e.p.Networks(), network.Spec{Name: "lan", Labels: resource.Labels{"tier": "db"}})
	require.NoError(e, err)
	require.Equal(e, first.ID(), second.ID())
	_, err = network.Ensure(e.ctx, e.p.Networks(), network.Spec{Name: "lan", Domain: "other"})
	require.True(e, errdefs.IsFailedPrecondition(err) || errors.Is(err, errors.ErrUnsupported), "%v", err)
}

func networkOverlap(e *env) {
	only := func(cidr netip.Prefix) []network.Subnet { return []network.Subnet{{CIDR: cidr}} }
	wide := subnet(22)
	e.network(network.Spec{Name: "a", Subnets: only(wide)})
	_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "b", Subnets: only(netip.PrefixFrom(wide.Addr(), 24))})
	e.fails(err, errdefs.ErrAlreadyExists)
	require.Equal(e, []string{"a"}, e.networkNames(network.Filter{}))
	e.network(network.Spec{Name: "b", Subnets: only(subnet(22))})
}

func networkIPv6(e *env) {
	cidr := netip.MustParsePrefix("fd42:213::/64")
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: cidr}}})
	endpoint, err := n.Reserve(e.ctx, network.EndpointSpec{})
	require.NoError(e, err)
	info, err := endpoint.Info(e.ctx)
	require.NoError(e, err)
	require.Len(e, info.Addresses, 1)
	require.True(e, cidr.Contains(info.Addresses[0].Addr()))
}

// networkShapes tells everything of all networks that an operation may change.
func (e *env) networkShapes() string {
	e.Helper()
	infos, err := resource.Collect(e.p.Networks().List(e.ctx, network.Filter{}))
	require.NoError(e, err)
	var all []string
	for _, info := range infos {
		shape := fmt.Sprint(info.Ref.Name, info.Labels)
		endpoints, err := resource.Collect(e.p.Networks().Handle(info.Ref.ID).Endpoints(e.ctx, network.EndpointFilter{}))
		require.NoError(e, err)
		for _, endpoint := range endpoints {
			shape += " " + endpoint.Ref.Name
		}
		all = append(all, shape)
	}
	return strings.Join(sorted(all), "; ")
}

func networkCancelled(e *env) {
	var n network.Network
	var endpoint network.Endpoint
	nothing := func() {}
	made := func() { n = e.network(network.Spec{Name: "lan"}) }
	reserved := func() {
		made()
		endpoint = e.reserve(n, network.EndpointSpec{Name: "host"})
	}
	for _, o := range []struct {
		cutting
		prepare func()
	}{
		{cutting{"create", nil, true, func(ctx context.Context) error {
			_, err := e.p.Networks().Create(ctx, network.Spec{Name: "new"})
			return err
		}}, nothing},
		{cutting{"update", nil, false, func(ctx context.Context) error {
			return n.Update(ctx, network.Change{Labels: labelsOf("a", "x", "b", "x")})
		}}, reserved},
		{cutting{"reserve", nil, true, func(ctx context.Context) error {
			_, err := n.Reserve(ctx, network.EndpointSpec{Name: "new"})
			return err
		}}, made},
		{cutting{"release", nil, false, func(ctx context.Context) error { return endpoint.Release(ctx) }}, reserved},
		{cutting{"delete", nil, false, func(ctx context.Context) error { return n.Delete(ctx, network.DeleteOptions{}) }}, made},
	} {
		e.wholeOrNot(o.cutting, e.networkShapes, o.prepare)
	}
}

// mortalNetworks reports whether networks have lifetimes.
func (e *env) mortalNetworks() bool {
	return e.s.offer.desc.Networks.Fields.Rule("lifetime.ephemeral").Level == resource.FieldHonored
}

func networkEphemeral(e *env) {
	if !e.mortalNetworks() {
		return
	}
	maker := e.open(OpenOptions{})
	for name, lifetime := range map[string]resource.Lifetime{"short": resource.Ephemeral, "long": resource.Persistent} {
		n, err := maker.Networks().Create(e.ctx, network.Spec{Name: name, Lifetime: lifetime})
		require.NoError(e, err)
		_, err = n.Reserve(e.ctx, network.EndpointSpec{})
		require.NoError(e, err)
	}
	require.NoError(e, maker.Close())
	require.Equal(e, []string{"long"}, e.networkNames(network.Filter{}))
}

func networkSweep(e *env) {
	if !e.mortalNetworks() {
		return
	}
	maker := e.open(OpenOptions{})
	for name, lifetime := range map[string]resource.Lifetime{
		"short": resource.Ephemeral, "long": resource.Persistent,
		"expired": resource.Until(time.Now().Add(-time.Minute)), "lasting": resource.Until(time.Now().Add(time.Hour)),
	} {
		_, err := maker.Networks().Create(e.ctx, network.Spec{Name: name, Lifetime: lifetime})
		require.NoError(e, err)
	}
	require.Equal(e, []string{"expired"}, e.swept(resource.KindNetwork, univirt.SweepOptions{}), "the maker lives")
	e.crash(maker)
	e.eventually("the maker is known to be dead", func() bool {
		return len(e.swept(resource.KindNetwork, univirt.SweepOptions{DryRun: true})) > 0
	})
	require.Equal(e, []string{"short"}, e.swept(resource.KindNetwork, univirt.SweepOptions{}))
	require.ElementsMatch(e, []string{"lasting", "long"}, e.networkNames(network.Filter{}))
}

func networkFaultsFirst(e *env) {
	_, err := e.p.Networks().Create(e.ctx, network.Spec{Name: "Lan", External: network.Bridged, Bridge: "no-such-bridge", MTU: 1400})
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

func networkInUse(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint, err := n.Reserve(e.ctx, network.EndpointSpec{})
	require.NoError(e, err)
	e.fails(n.Delete(e.ctx, network.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	e.fails(n.Delete(e.ctx, network.DeleteOptions{Force: true}), errdefs.ErrFailedPrecondition)
	require.NoError(e, endpoint.Release(e.ctx))
	require.NoError(e, n.Delete(e.ctx, network.DeleteOptions{}))
}

func endpointReserve(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint, err := n.Reserve(e.ctx, network.EndpointSpec{Name: "host", Aliases: []string{"alias"}})
	require.NoError(e, err)
	info, err := n.Endpoint(endpoint.ID()).Info(e.ctx)
	require.NoError(e, err)
	e.wellFormedRef(info.Ref, resource.KindEndpoint)
	require.Equal(e, "host", info.Ref.Name)
	require.Equal(e, n.ID(), info.Network.ID)
	require.Len(e, info.MAC, 6)
	require.NotEmpty(e, info.Addresses)
	require.Equal(e, []string{"alias"}, info.Aliases)
	require.False(e, info.PluggedIn)
	require.Equal(e, 1, e.networkInfo(n).Endpoints)
	all, err := resource.Collect(n.Endpoints(e.ctx, network.EndpointFilter{Names: []string{"host"}}))
	require.NoError(e, err)
	require.Len(e, all, 1)
	require.NoError(e, endpoint.Release(e.ctx))
	e.fails(endpoint.Release(e.ctx), errdefs.ErrNotFound)
	_, err = endpoint.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	_, err = n.Reserve(e.ctx, network.EndpointSpec{Name: "a/b"})
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

func endpointFixed(e *env) {
	cidr := subnet(24)
	address := someAddress(cidr)
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: cidr}}})
	spec := network.EndpointSpec{
		MAC: network.HardwareAddr{2, 0, 0, 1, 2, 3}, Addresses: []netip.Addr{address},
	}
	endpoint, err := n.Reserve(e.ctx, spec)
	require.NoError(e, err)
	info, err := endpoint.Info(e.ctx)
	require.NoError(e, err)
	require.Equal(e, spec.MAC, info.MAC)
	require.Equal(e, []netip.Prefix{netip.PrefixFrom(address, cidr.Bits())}, info.Addresses)
	_, err = n.Reserve(e.ctx, network.EndpointSpec{Addresses: spec.Addresses})
	e.fails(err, errdefs.ErrAlreadyExists)
	_, err = n.Reserve(e.ctx, network.EndpointSpec{Addresses: []netip.Addr{netip.MustParseAddr("10.9.9.9")}})
	e.failsField(err, errdefs.ErrInvalidArgument, "addresses[0]")
	require.NoError(e, endpoint.Release(e.ctx))
	_, err = n.Reserve(e.ctx, spec)
	require.NoError(e, err)
}

func endpointExhausted(e *env) {
	// A /29 has six addresses, one of which is the gateway's.
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: subnet(29)}}})
	var all []network.Endpoint
	for range 5 {
		endpoint, err := n.Reserve(e.ctx, network.EndpointSpec{})
		require.NoError(e, err)
		all = append(all, endpoint)
	}
	_, err := n.Reserve(e.ctx, network.EndpointSpec{})
	e.fails(err, errdefs.ErrResourceExhausted)
	require.NoError(e, all[2].Release(e.ctx))
	_, err = n.Reserve(e.ctx, network.EndpointSpec{})
	require.NoError(e, err)
}

func endpointRace(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	for _, err := range e.together(crowd, func(int) error {
		_, err := n.Reserve(e.ctx, network.EndpointSpec{})
		return err
	}) {
		require.NoError(e, err)
	}
	all, err := resource.Collect(n.Endpoints(e.ctx, network.EndpointFilter{}))
	require.NoError(e, err)
	require.Len(e, all, crowd)
	seen := map[string]bool{}
	for _, info := range all {
		for _, a := range info.Addresses {
			require.False(e, seen[a.String()], "two endpoints have %v", a)
			seen[a.String()] = true
		}
		require.False(e, seen[info.MAC.String()], "two endpoints have %v", info.MAC)
		seen[info.MAC.String()] = true
	}
}

// server makes an instance on a network that echoes, and returns its address.
func (e *env) server(name, net string) (compute.Instance, string) {
	e.Helper()
	inst := e.plugged(name, net, "listen", "0.0.0.0:80")
	e.awaitListening(inst)
	return inst, e.addressOn(inst, net)
}

func instancesTalk(e *env) {
	n := e.neighbours()
	e.reaches(n.client, e.addressOn(n.server, "lan"))
	e.reaches(n.server, e.addressOn(n.client, "lan"))
}

func instancesResolve(e *env) {
	n := e.neighbours()
	address := e.addressOn(n.server, "lan")
	names := []string{"server"}
	if e.aliased() {
		names = append(names, serverAlias)
	}
	for _, name := range names {
		e.resolves(n.client, name, address)
		e.reaches(n.client, name)
	}
	require.NotZero(e, e.exec(n.client, "resolve", "no-such-host").exit.Code)
}

// resolves requires a name to be found, and an address to be among its own.
func (e *env) resolves(from compute.Instance, name, address string) {
	e.Helper()
	var r execResult
	e.eventually(name+" is found", func() bool {
		r = e.exec(from, "resolve", name)
		return r.exit.Code == 0
	})
	require.Contains(e, strings.Split(r.stdout, "\n"), address, name)
}

func instancesIsolated(e *env) {
	n := e.neighbours()
	e.reaches(n.stranger, e.addressOn(n.stranger, "away"))
	require.False(e, e.answers(n.stranger, e.addressOn(n.server, "lan")))
}

func addressStable(e *env) {
	e.network(network.Spec{Name: "lan"})
	spec := e.spec("server", "sleep", "1h")
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	inst := e.create(spec)
	address := e.addressOn(inst, "lan")
	e.start(inst)
	require.Equal(e, address, e.addressOn(inst, "lan"), "of the first run")
	e.kill(inst)
	require.Equal(e, address, e.addressOn(inst, "lan"), "of a stopped instance")
	e.plugged("other", "lan", "sleep", "1h")
	e.start(inst)
	require.Equal(e, address, e.addressOn(inst, "lan"), "of another run")
}

func waitForAddress(e *env) {
	info, err := e.waitFor(e.neighbours().server, compute.LevelAddress)
	require.NoError(e, err)
	require.True(e, info.Address().IsValid())
}

// awaitListening is listens, which must return.
func (e *env) awaitListening(inst compute.Instance) {
	e.Helper()
	require.NoError(e, e.returns("what waits for the program to listen", func() error { return listens(e.ctx, inst) }))
}

func networkMissing(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Networks = attachment()
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrNotFound, "networks[0].network")
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

// publishing returns the spec of an instance with a published port, behind which nothing
// need listen.
func (e *env) publishing(name string, host uint16) compute.Spec {
	spec := e.spec(name, "sleep", "1h")
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	spec.Ports = []network.Port{{Name: "http", Instance: 80, Publish: true, Host: host}}
	return spec
}

func publish(e *env) {
	e.network(network.Spec{Name: "lan"})
	inst := e.create(e.publishing("web", 0))
	e.start(inst)
	ports := e.info(inst).Ports
	require.Len(e, ports, 1)
	require.NotZero(e, ports[0].Host, "the port that was chosen")
	require.Equal(e, uint16(80), ports[0].Instance)
	e.kill(inst)
	chosen := e.create(e.publishing("chosen", ports[0].Host))
	e.start(chosen)
	require.Equal(e, ports, e.info(chosen).Ports)
}

func publishTaken(e *env) {
	e.network(network.Spec{Name: "lan"})
	first := e.create(e.publishing("first", 0))
	e.start(first)
	second := e.create(e.publishing("second", e.info(first).Ports[0].Host))
	e.failsField(second.Start(e.ctx, compute.StartOptions{}), errdefs.ErrAlreadyExists, "ports[0].host")
	e.inState(second, compute.Stopped)
	e.kill(first)
	e.start(second)
}

func publishNowhere(e *env) {
	spec := e.publishing("nowhere", 0)
	spec.Networks = nil
	spec.Ports = append([]network.Port{{Name: "inside", Instance: 81}}, spec.Ports...)
	inst := e.create(spec)
	e.failsField(inst.Start(e.ctx, compute.StartOptions{}), errdefs.ErrFailedPrecondition, "ports[1].publish")
	e.inState(inst, compute.Stopped)
}

func publishRace(e *env) {
	e.network(network.Spec{Name: "lan"})
	first := e.create(e.publishing("first", 0))
	e.start(first)
	host := e.info(first).Ports[0].Host
	e.kill(first)
	all := make([]compute.Instance, crowd)
	for i := range all {
		all[i] = e.create(e.publishing(fmt.Sprintf("web-%d", i), host))
	}
	started := 0
	for i, err := range e.together(crowd, func(i int) error { return all[i].Start(e.ctx, compute.StartOptions{}) }) {
		if err == nil {
			started++
			continue
		}
		e.failsField(err, errdefs.ErrAlreadyExists, "ports[0].host")
		e.inState(all[i], compute.Stopped)
	}
	require.Equal(e, 1, started)
}

func addressRace(e *env) {
	cidr := subnet(24)
	address := someAddress(cidr)
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: cidr}}})
	other := e.open(OpenOptions{})
	made := 0
	for _, err := range e.together(crowd, func(i int) error {
		instances := e.instances()
		if i%2 == 1 {
			instances = other.Instances()
		}
		spec := e.spec(fmt.Sprintf("web-%d", i), "sleep", "1h")
		spec.Networks = []compute.NetworkAttachment{{Network: "lan", Addresses: []netip.Addr{address}}}
		_, err := instances.Create(e.ctx, spec)
		return err
	}) {
		if err == nil {
			made++
			continue
		}
		e.failsField(err, errdefs.ErrAlreadyExists, "networks[0].addresses[0]")
	}
	require.Equal(e, 1, made)
	names := e.names(e.instances(), compute.Filter{})
	require.Len(e, names, 1, "those that failed left nothing behind")
	require.Equal(e, 1, e.networkInfo(n).Endpoints)
	inst, err := e.instances().Get(e.ctx, names[0])
	require.NoError(e, err)
	require.Equal(e, address, e.info(inst).Address())
}

func addressesGone(e *env) {
	// A /30 has two addresses, one of which is the gateway's.
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: subnet(30)}}})
	spec := e.spec("first", "sleep", "1h")
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	first := e.create(spec)
	spec.Name = "second"
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrResourceExhausted, "networks[0]")
	require.Equal(e, []string{"first"}, e.names(e.instances(), compute.Filter{}))
	require.Equal(e, 1, e.networkInfo(n).Endpoints)
	e.delete(first)
	e.create(spec)
}
