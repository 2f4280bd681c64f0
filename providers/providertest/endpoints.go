package providertest

import (
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// endpointCases are of endpoints that are reserved before there is an instance.
func endpointCases() []testCase {
	reserved := hasNetworks(network.FeatureReserve)
	attached := all(hasNetworks(network.FeatureNetworks), fields("networks[].endpoint"))
	plugged := all(attached, has(compute.FeatureExec, compute.FeatureLogs), fields("networks[].network"))
	return []testCase{
		{"An endpoint that is meant for nothing is InvalidArgument and named", hasNetworks(network.FeatureNetworks), endpointForNothing},
		{"An endpoint is reserved for an instance of any provider, with MAC, addresses and names", reserved, endpointElsewhere},
		{"The names of an endpoint of another provider's instance are found until it is released",
			all(reserved, plugged, hasNetworks(network.FeatureDNS)), endpointElsewhereNamed},
		{"A reserved endpoint may be plugged in, and outlives the instance", attached, plugReserved},
		{"An instance is reached by the names of the endpoint that it has", all(plugged, hasNetworks(network.FeatureDNS)), plugNamed},
		{"An endpoint that is not there is NotFound at Create and named", attached, plugMissing},
		{"An endpoint of another namespace is NotFound at Create and named", attached, plugForeign},
		{"An endpoint that another instance has is FailedPrecondition at Create and named", attached, plugTaken},
		{"An endpoint that is meant for another instance is FailedPrecondition at Create and named", attached, plugMeant},
		{"An endpoint that is meant for another provider's instance is FailedPrecondition at Create and named", all(reserved, attached), plugElsewhere},
		{"Of many Creates with one endpoint one succeeds", attached, plugRace},
		{"A guest that asks by DHCP is given the address that its endpoint has", all(plugged, hasNetworks(network.FeatureDHCP)), dhcpLease},
		{"An address on a subnet without DHCP is no lease", plugged, dhcpNone},
	}
}

// elsewhere is an instance of a provider that there is not.
var elsewhere = resource.Ref{Provider: "elsewhere", Kind: resource.KindInstance, Namespace: "other", Name: "web", ID: absentID}

// reserve makes an endpoint.
func (e *env) reserve(n network.Network, spec network.EndpointSpec) network.Endpoint {
	e.Helper()
	endpoint, err := n.Reserve(e.ctx, spec)
	require.NoError(e, err, "reserve the endpoint %s", spec.Name)
	return endpoint
}

func (e *env) endpointInfo(endpoint network.Endpoint) network.EndpointInfo {
	e.Helper()
	info, err := endpoint.Info(e.ctx)
	require.NoError(e, err)
	return info
}

// plugging returns the spec of an instance that has an endpoint.
func (e *env) plugging(name, endpoint string, program ...string) compute.Spec {
	if len(program) == 0 {
		program = []string{"sleep", "1h"}
	}
	spec := e.spec(name, program...)
	spec.Networks = []compute.NetworkAttachment{{Endpoint: endpoint}}
	return spec
}

// refusesEndpoint requires Create with an endpoint to fail, to name it, and to
// leave nothing behind but the instances named.
func (e *env) refusesEndpoint(endpoint string, kind error, left ...string) {
	e.Helper()
	_, err := e.instances().Create(e.ctx, e.plugging("refused", endpoint))
	e.failsField(err, kind, "networks[0].endpoint")
	require.ElementsMatch(e, left, e.names(e.instances(), compute.Filter{}))
}

func endpointForNothing(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	_, err := n.Reserve(e.ctx, network.EndpointSpec{For: resource.Ref{Provider: "elsewhere"}})
	e.failsField(err, errdefs.ErrInvalidArgument, "for")
	_, err = n.Reserve(e.ctx, network.EndpointSpec{For: resource.Ref{Kind: resource.KindVolume, Name: "data"}})
	e.failsField(err, errdefs.ErrInvalidArgument, "for.kind")
	require.Zero(e, e.networkInfo(n).Endpoints)
}

func endpointElsewhere(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	lan := e.networkInfo(n)
	other := e.endpointInfo(e.reserve(n, network.EndpointSpec{}))
	endpoint := e.reserve(n, network.EndpointSpec{Name: "host", Aliases: []string{"alias"}, For: elsewhere})
	info := e.endpointInfo(endpoint)
	require.Equal(e, elsewhere, info.For)
	require.Equal(e, "host", info.Ref.Name)
	require.Equal(e, []string{"alias"}, info.Aliases)
	require.Len(e, info.MAC, 6)
	require.NotEqual(e, other.MAC, info.MAC)
	require.Len(e, info.Addresses, len(lan.Subnets))
	for i, a := range info.Addresses {
		require.Equal(e, lan.Subnets[i].CIDR, a.Masked())
		require.NotEqual(e, other.Addresses[i], a)
		require.Equal(e, lan.Subnets[i].Gateway, info.Gateways[i])
	}
	require.Equal(e, network.Attachment{Bridge: lan.Bridge, MTU: lan.MTU}, info.Attachment)
	require.False(e, info.PluggedIn)
	mine, err := resource.Collect(n.Endpoints(e.ctx, network.EndpointFilter{For: []string{elsewhere.ID}}))
	require.NoError(e, err)
	require.Equal(e, []network.EndpointInfo{info}, mine)
	// Another value of the namespace sees the same.
	same, err := e.open(OpenOptions{}).Networks().Handle(n.ID()).Endpoint(endpoint.ID()).Info(e.ctx)
	require.NoError(e, err)
	require.Equal(e, info, same)
	e.fails(n.Delete(e.ctx, network.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(e, endpoint.Release(e.ctx))
}

func endpointElsewhereNamed(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint := e.reserve(n, network.EndpointSpec{Name: "host", Aliases: []string{"alias"}, For: elsewhere})
	address := e.endpointInfo(endpoint).Addresses[0].Addr().String()
	client := e.plugged("client", "lan", "sleep", "1h")
	for _, name := range []string{"host", "alias"} {
		e.resolves(client, name, address)
	}
	require.NoError(e, endpoint.Release(e.ctx))
	require.NotZero(e, e.exec(client, "resolve", "host").exit.Code, "the name of what was released")
}

func plugReserved(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint := e.reserve(n, network.EndpointSpec{Name: "host"})
	promised := e.endpointInfo(endpoint)
	inst := e.create(e.plugging("web", endpoint.ID()))
	require.False(e, e.endpointInfo(endpoint).PluggedIn, "of an instance that does not run")
	e.start(inst)
	info := e.endpointInfo(endpoint)
	require.True(e, info.PluggedIn)
	require.Equal(e, promised.MAC, info.MAC)
	require.Equal(e, promised.Addresses, info.Addresses)
	require.Equal(e, []network.EndpointInfo{info}, e.info(inst).Endpoints)
	e.fails(endpoint.Release(e.ctx), errdefs.ErrFailedPrecondition)
	e.kill(inst)
	require.False(e, e.endpointInfo(endpoint).PluggedIn)
	e.fails(endpoint.Release(e.ctx), errdefs.ErrFailedPrecondition)
	e.delete(inst)
	require.Equal(e, promised, e.endpointInfo(endpoint), "a reserved endpoint outlives the instance")
	e.start(e.create(e.plugging("again", endpoint.ID())))
}

func plugNamed(e *env) {
	n := e.neighbours()
	have := e.info(n.client).Endpoints
	require.Len(e, have, 1)
	require.Equal(e, clientName, have[0].Ref.Name)
	endpoint := e.endpointInfo(n.lan.Endpoint(have[0].Ref.ID))
	require.Equal(e, have[0], endpoint)
	for _, host := range []string{clientName, clientAlias, endpoint.Addresses[0].Addr().String()} {
		e.reaches(n.server, host)
	}
}

func plugMissing(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	released := e.reserve(n, network.EndpointSpec{})
	require.NoError(e, released.Release(e.ctx))
	for _, id := range []string{absentID, n.ID(), released.ID()} {
		e.refusesEndpoint(id, errdefs.ErrNotFound)
	}
}

func plugForeign(e *env) {
	n, err := e.otherNamespace().Networks().Create(e.ctx, network.Spec{Name: "lan"})
	require.NoError(e, err)
	foreign := e.reserve(n, network.EndpointSpec{Name: "host"})
	e.refusesEndpoint(foreign.ID(), errdefs.ErrNotFound)
	require.False(e, e.endpointInfo(foreign).PluggedIn)
	require.NoError(e, foreign.Release(e.ctx), "nobody has it")
}

func plugTaken(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint := e.reserve(n, network.EndpointSpec{})
	first := e.create(e.plugging("first", endpoint.ID()))
	e.refusesEndpoint(endpoint.ID(), errdefs.ErrFailedPrecondition, "first")
	e.start(first)
	e.refusesEndpoint(endpoint.ID(), errdefs.ErrFailedPrecondition, "first")
	own := e.info(e.plugged("own", "lan", "sleep", "1h")).Endpoints[0].Ref.ID
	e.refusesEndpoint(own, errdefs.ErrFailedPrecondition, "first", "own")
}

func plugMeant(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	endpoint := e.reserve(n, network.EndpointSpec{
		For: resource.Ref{Provider: e.s.offer.desc.Provider, Kind: resource.KindInstance, Namespace: e.lane.namespace, Name: "web"},
	})
	e.refusesEndpoint(endpoint.ID(), errdefs.ErrFailedPrecondition)
	e.start(e.create(e.plugging("web", endpoint.ID())))
	require.True(e, e.endpointInfo(endpoint).PluggedIn)
}

func plugElsewhere(e *env) {
	n := e.network(network.Spec{Name: "lan"})
	byName := elsewhere
	byName.ID, byName.Namespace, byName.Name = "", "", "refused"
	for _, meant := range []resource.Ref{elsewhere, byName} {
		endpoint := e.reserve(n, network.EndpointSpec{For: meant})
		e.refusesEndpoint(endpoint.ID(), errdefs.ErrFailedPrecondition)
		require.NoError(e, endpoint.Release(e.ctx))
	}
}

func plugRace(e *env) {
	e.raceFor(e.reserve(e.network(network.Spec{Name: "lan"}), network.EndpointSpec{}))
}

// raceFor requires one of many instances to get an endpoint.
func (e *env) raceFor(endpoint network.Endpoint) {
	e.Helper()
	made := 0
	for _, err := range e.together(crowd, func(i int) error {
		_, err := e.instances().Create(e.ctx, e.plugging("web-"+string(rune('a'+i)), endpoint.ID()))
		return err
	}) {
		if err == nil {
			made++
			continue
		}
		e.failsField(err, errdefs.ErrFailedPrecondition, "networks[0].endpoint")
	}
	require.Equal(e, 1, made)
	require.Len(e, e.names(e.instances(), compute.Filter{}), 1)
}

func dhcpLease(e *env) {
	cidr := subnet(24)
	n := e.network(network.Spec{Name: "lan", Subnets: []network.Subnet{{CIDR: cidr, DHCP: true}}})
	endpoint := e.reserve(n, network.EndpointSpec{})
	promised := e.endpointInfo(endpoint)
	require.Len(e, promised.Addresses, 1)
	require.Equal(e, cidr, promised.Addresses[0].Masked())
	require.NotEqual(e, "lease", promised.Source, "nobody has asked")
	inst := e.create(e.plugging("web", endpoint.ID()))
	e.start(inst)
	info, err := e.waitFor(inst, compute.LevelAddress)
	require.NoError(e, err)
	require.Equal(e, promised.Addresses, info.Endpoints[0].Addresses)
	if e.s.kind() == compute.VM {
		// What runs in a container need not ask: its address is set from outside.
		require.Equal(e, "lease", info.Endpoints[0].Source)
	}
	e.idle = true // as nothing is asked of it
	client := e.plugged("client", "lan", "sleep", "1h")
	require.NotEqual(e, promised.Addresses, e.info(client).Endpoints[0].Addresses)
	e.kill(inst)
	require.Equal(e, promised, e.endpointInfo(endpoint), "without the guest")
}

func dhcpNone(e *env) {
	info, err := e.waitFor(e.neighbours().server, compute.LevelAddress)
	require.NoError(e, err)
	require.NotEmpty(e, info.Endpoints[0].Source)
	require.NotEqual(e, "lease", info.Endpoints[0].Source)
}
