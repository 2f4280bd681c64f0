package providertest

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// otherNetworkCases are of endpoints that were reserved on a network of another value.
func otherNetworkCases() []testCase {
	attached := all(hook("OpenBeside"), hasNetworks(network.FeatureNetworks), fields("networks[].endpoint"))
	plugged := all(attached, has(compute.FeatureExec, compute.FeatureLogs), fields("networks[].network"))
	return []testCase{
		{"An endpoint of another value's network may be plugged in, and outlives the instance", plugged, plugOther},
		{"An endpoint of another value's network that cannot be had is refused and named", attached, plugOtherRefused},
		{"Of many Creates with one endpoint of another value's network one succeeds", attached, plugOtherRace},
	}
}

// openBeside opens a value on the case's namespace that may plug in the endpoints of
// others' networks.
func (e *env) openBeside(others ...network.Networks) univirt.Provider {
	e.Helper()
	p, err := e.s.h.OpenBeside(e.ctx, OpenOptions{Namespace: e.lane.namespace, Owner: owner}, others...)
	require.NoError(e, err, "open a provider value")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = append(e.opened, p)
	return p
}

// beside makes a network of another value, and has the case go on with a value that may
// plug in its endpoints.
func (e *env) beside() network.Network {
	e.Helper()
	other := e.otherNamespace()
	n, err := other.Networks().Create(e.ctx, network.Spec{Name: "lan"})
	require.NoError(e, err)
	e.p = e.openBeside(other.Networks())
	return n
}

func plugOther(e *env) {
	alone := e.p
	n := e.neighboursIn(e.otherNamespace)
	e.p = e.openBeside(n.p.Networks())
	endpoint := e.reserve(n.lan, network.EndpointSpec{Name: "beside"})
	promised := e.endpointInfo(endpoint)
	inst := e.create(e.plugging("web", endpoint.ID(), "listen", fmt.Sprintf("0.0.0.0:%d", dialPort)))
	require.Equal(e, []network.EndpointInfo{promised}, e.info(inst).Endpoints)
	e.start(inst)
	have := e.info(inst).Endpoints
	require.Len(e, have, 1)
	require.True(e, have[0].PluggedIn)
	require.Equal(e, promised.Ref, have[0].Ref)
	require.Equal(e, promised.Network, have[0].Network)
	require.Equal(e, promised.MAC, have[0].MAC)
	require.Equal(e, promised.Addresses, have[0].Addresses)

	e.reaches(n.client, promised.Addresses[0].Addr().String())

	same := alone.Instances().Handle(inst.ID())
	told := e.info(same).Endpoints
	require.Len(e, told, 1, "as a value tells that does not know the network")
	require.Equal(e, promised.Ref, told[0].Ref)
	e.delete(same)
	require.Equal(e, promised, e.endpointInfo(endpoint), "a reserved endpoint outlives the instance")
	require.NoError(e, endpoint.Release(e.ctx))
}

func plugOtherRefused(e *env) {
	n := e.beside()
	e.refusesEndpoint(absentID, errdefs.ErrNotFound)
	meant := e.reserve(n, network.EndpointSpec{For: resource.Ref{Name: "web"}})
	e.refusesEndpoint(meant.ID(), errdefs.ErrFailedPrecondition)
	taken := e.reserve(n, network.EndpointSpec{})
	first := e.create(e.plugging("first", taken.ID()))
	e.refusesEndpoint(taken.ID(), errdefs.ErrFailedPrecondition, "first")
	e.delete(first)
	e.create(e.plugging("again", taken.ID()))
}

func plugOtherRace(e *env) {
	n := e.beside()
	e.raceFor(e.reserve(n, network.EndpointSpec{}))
}
