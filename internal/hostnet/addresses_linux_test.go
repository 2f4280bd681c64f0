package hostnet

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// small makes a network with 10.0.0.0/29 and fd00::/125.
func (w *world) small() Network {
	w.t.Helper()
	n, err := w.Create(w.t.Context(), NetworkSpec{ID: resource.NewID(), Subnets: []network.Subnet{
		{CIDR: netip.MustParsePrefix("10.0.0.0/29")},
		{CIDR: netip.MustParsePrefix("fd00::/125"), Gateway: netip.MustParseAddr("fd00::4"), Last: netip.MustParseAddr("fd00::6")},
	}})
	require.NoError(w.t, err)
	return n
}

func TestFixedAddresses(t *testing.T) {
	w := newWorld(t)
	n := w.small()
	mac := network.HardwareAddr{2, 0, 0, 0, 0, 1}
	have, err := w.Reserve(t.Context(), n.ID, EndpointSpec{
		ID: resource.NewID(), MAC: mac, Owner: "somebody", Name: "web", Aliases: []string{"www"}, Data: []byte{0, 255},
		Addresses: []netip.Addr{netip.MustParseAddr("fd00::7"), netip.MustParseAddr("10.0.0.3")},
	})
	require.NoError(t, err)
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.3/29"), netip.MustParsePrefix("fd00::7/125")}, have.Addresses)
	again, err := w.Endpoint(t.Context(), n.ID, have.ID)
	require.NoError(t, err)
	assert.Equal(t, have, again)
	point, err := w.Point(t.Context(), n.ID, have.ID)
	require.NoError(t, err)
	assert.Equal(t, Point{n.Bridge, mac, 1500, have.Addresses, n.Gateways()}, point)

	for _, c := range []struct {
		name      string
		addresses []string
		mac       network.HardwareAddr
		id        string
		want      error
		kind      error
		field     string
	}{
		{"taken", []string{"10.0.0.3"}, nil, "", ErrAddressTaken, errdefs.ErrAlreadyExists, "addresses[0]"},
		{"the second is taken", []string{"10.0.0.4", "fd00::7"}, nil, "", ErrAddressTaken, errdefs.ErrAlreadyExists, "addresses[1]"},
		{"of another range", []string{"10.0.1.3"}, nil, "", ErrOutside, errdefs.ErrInvalidArgument, "addresses[0]"},
		{"the gateway's", []string{"fd00::4"}, nil, "", ErrGateway, errdefs.ErrInvalidArgument, "addresses[0]"},
		{"the subnet's", []string{"10.0.0.0"}, nil, "", ErrNoHost, errdefs.ErrInvalidArgument, "addresses[0]"},
		{"the broadcast address", []string{"10.0.0.7"}, nil, "", ErrNoHost, errdefs.ErrInvalidArgument, "addresses[0]"},
		{"two of a subnet", []string{"10.0.0.4", "10.0.0.5"}, nil, "", errdefs.ErrInvalidArgument, errdefs.ErrInvalidArgument, "addresses[1]"},
		{"a MAC", nil, mac, "", ErrMACTaken, errdefs.ErrAlreadyExists, "mac"},
		{"a multicast MAC", nil, network.HardwareAddr{1, 0, 0, 0, 0, 1}, "", errdefs.ErrInvalidArgument, errdefs.ErrInvalidArgument, "mac"},
		{"an ID", nil, nil, have.ID, errdefs.ErrAlreadyExists, errdefs.ErrAlreadyExists, "id"},
		{"a path", nil, nil, "../../home", errdefs.ErrInvalidArgument, errdefs.ErrInvalidArgument, "id"},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := EndpointSpec{ID: c.id, MAC: c.mac}
			if spec.ID == "" {
				spec.ID = resource.NewID()
			}
			for _, a := range c.addresses {
				spec.Addresses = append(spec.Addresses, netip.MustParseAddr(a))
			}
			before := w.taken(n)
			_, err := w.Reserve(t.Context(), n.ID, spec)
			require.ErrorIs(t, err, c.want)
			isFailure(t, err, c.kind, c.field)
			assert.Equal(t, before, w.taken(n), "nothing is kept")
		})
	}
}

// taken lists the claims of a network.
func (w *world) taken(n Network) []string {
	names, err := filepath.Glob(w.in(n.ID, "taken", "*"))
	require.NoError(w.t, err)
	return names
}

func TestAUsedUpSubnet(t *testing.T) {
	w := newWorld(t)
	n := w.small()
	reserve := func() (Endpoint, error) {
		return w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	}
	var all []Endpoint
	used := map[string]bool{"10.0.0.1/29": true, "fd00::4/125": true}
	for range 5 {
		e, err := reserve()
		require.NoError(t, err)
		all = append(all, e)
		for _, a := range e.Addresses {
			assert.False(t, used[a.String()], "%s", a)
			used[a.String()] = true
		}
	}
	_, err := reserve()
	require.ErrorIs(t, err, ErrUsedUp)
	isFailure(t, err, errdefs.ErrResourceExhausted, "addresses")
	// What is given back is had again, the first before the last.
	require.NoError(t, w.Release(t.Context(), n.ID, all[3].ID))
	require.NoError(t, w.Release(t.Context(), n.ID, all[1].ID))
	for range 2 {
		_, err := reserve()
		require.NoError(t, err)
	}
	_, err = reserve()
	require.ErrorIs(t, err, ErrUsedUp)
	require.ErrorIs(t, w.Release(t.Context(), n.ID, all[1].ID), errdefs.ErrNotFound)
}

func TestWhatWasGivenBackIsAssignedLast(t *testing.T) {
	w := newWorld(t)
	n := w.small()
	var seen []string
	for range 6 {
		e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
		require.NoError(t, err)
		seen = append(seen, e.Addresses[0].Addr().String())
		require.NoError(t, w.Release(t.Context(), n.ID, e.ID))
	}
	assert.Equal(t, []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.2"}, seen)
}

// TestProcessesReserveAtOnce has several processes, and values of one, reserve until
// the subnets are used up.
func TestProcessesReserveAtOnce(t *testing.T) {
	const processes, each = 3, 20
	w := newWorld(t)
	n, err := w.Create(t.Context(), NetworkSpec{ID: resource.NewID(), Subnets: []network.Subnet{
		{CIDR: netip.MustParsePrefix("10.0.0.0/24"), First: netip.MustParseAddr("10.0.0.1"), Last: netip.MustParseAddr("10.0.0.81")},
		{CIDR: netip.MustParsePrefix("fd00::/64")},
	}})
	require.NoError(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	seen := map[string]int{}
	saw := func(text string) { mu.Lock(); seen[text]++; mu.Unlock() }
	var start []func() error
	for range processes {
		cmd := w.command(order{What: "many", Network: NetworkSpec{ID: n.ID}, Count: each}, nil)
		cmd.Stderr = os.Stderr
		stdin, err := cmd.StdinPipe()
		require.NoError(t, err)
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, cmd.Start())
		lines := bufio.NewScanner(stdout)
		require.True(t, lines.Scan())
		start = append(start, stdin.Close)
		all.Go(func() {
			for lines.Scan() {
				saw(lines.Text())
			}
			assert.NoError(t, cmd.Wait())
		})
	}
	for _, begin := range start {
		require.NoError(t, begin())
	}
	other := w.open()
	for _, h := range []*Host{w.Host, other} {
		all.Go(func() {
			for range each / 2 {
				e, err := h.Reserve(context.Background(), n.ID, EndpointSpec{ID: resource.NewID()})
				if !assert.NoError(t, err) {
					return
				}
				saw(e.MAC.String())
				for _, a := range e.Addresses {
					saw(a.String())
				}
			}
		})
	}
	all.Wait()
	assert.Len(t, seen, 3*(processes+1)*each)
	for what, times := range seen {
		assert.Equal(t, 1, times, what)
	}
	_, err = w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.ErrorIs(t, err, ErrUsedUp)
}

func TestRecordsOfANewerVersionAreKept(t *testing.T) {
	w := newWorld(t)
	n, other := w.small(), w.network(network.NAT)
	path := w.in(n.ID, "record")
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	text := []byte(`{"version":2,"something":"else"}`)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	for name, err := range map[string]error{
		"read":   second(w.Network(t.Context(), n.ID)),
		"update": second(w.Update(t.Context(), n.ID, nil, 0)),
		"delete": w.Delete(t.Context(), n.ID),
		"repair": w.Repair(t.Context()),
		"sweep":  second(w.Sweep(t.Context())),
		"create": second(w.Create(t.Context(), NetworkSpec{ID: resource.NewID()})),
	} {
		require.ErrorIs(t, err, ErrNewer, name)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, name)
	}
	now, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(text), string(now))
	w.instance(other) // what needs no rules goes on
	require.NoError(t, os.WriteFile(path, []byte("{"), 0o600))
	_, err = w.Network(t.Context(), n.ID)
	require.ErrorIs(t, err, errdefs.ErrDataLoss)
	require.NoError(t, os.WriteFile(path, old, 0o600))
}

func second[T any](_ T, err error) error { return err }

func TestNetworks(t *testing.T) {
	w := newWorld(t)
	w.outside()
	n, err := w.Create(t.Context(), NetworkSpec{ID: resource.NewID(), Namespace: "a", Name: "x", Data: []byte("\x00mine")})
	require.NoError(t, err)
	assert.Equal(t, network.Isolated, n.External)
	assert.LessOrEqual(t, len(n.Bridge), 15)
	again, err := w.Named(t.Context(), "a", "x")
	require.NoError(t, err)
	assert.Equal(t, n, again)
	_, err = w.Named(t.Context(), "b", "x")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	changed, err := w.Update(t.Context(), n.ID, []byte("other"), n.Revision)
	require.NoError(t, err)
	assert.Equal(t, "other", string(changed.Data))
	_, err = w.Update(t.Context(), n.ID, nil, n.Revision)
	isFailure(t, err, errdefs.ErrAborted, "ifRevision")

	subnet := func(text string) []network.Subnet { return []network.Subnet{{CIDR: netip.MustParsePrefix(text)}} }
	for _, c := range []struct {
		name  string
		spec  NetworkSpec
		kind  error
		field string
	}{
		{"an ID", NetworkSpec{ID: n.ID}, errdefs.ErrAlreadyExists, "id"},
		{"a name", NetworkSpec{Namespace: "a", Name: "x"}, errdefs.ErrAlreadyExists, "name"},
		{"a subnet", NetworkSpec{Subnets: n.Subnets}, errdefs.ErrAlreadyExists, "subnets[0].cidr"},
		{"a range of the host", NetworkSpec{Subnets: subnet("192.0.2.0/25")}, errdefs.ErrAlreadyExists, "subnets[0].cidr"},
		{"host bits", NetworkSpec{Subnets: subnet("10.0.0.1/24")}, errdefs.ErrInvalidArgument, "subnets[0].cidr"},
		{"no UUID", NetworkSpec{ID: "../x"}, errdefs.ErrInvalidArgument, "id"},
		{"routed", NetworkSpec{External: network.Routed}, errors.ErrUnsupported, "external"},
		{"a small MTU", NetworkSpec{MTU: 1000, Subnets: subnet("fd00::/64")}, errdefs.ErrInvalidArgument, "mtu"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.spec.ID == "" {
				c.spec.ID = resource.NewID()
			}
			_, err := w.Create(t.Context(), c.spec)
			isFailure(t, err, c.kind, c.field)
		})
	}
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(t, err)
	require.ErrorIs(t, w.Delete(t.Context(), n.ID), errdefs.ErrFailedPrecondition)
	require.NoError(t, w.Release(t.Context(), n.ID, e.ID))
	require.NoError(t, w.Delete(t.Context(), n.ID))
	require.ErrorIs(t, w.Delete(t.Context(), n.ID), errdefs.ErrNotFound)
	_, err = w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.ErrorIs(t, err, errdefs.ErrNotFound)

	gone, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = w.Create(gone, NetworkSpec{ID: resource.NewID()})
	require.ErrorIs(t, err, context.Canceled)
}

// TestSubnetsAreChosenFree occupies all but one of the ranges that are chosen from.
func TestSubnetsAreChosenFree(t *testing.T) {
	free := netip.MustParsePrefix("172.20.7.0/24")
	var taken []netip.Prefix
	for _, pool := range []string{"10.128.0.0/9", "192.168.0.0/16", "172.16.0.0/14", "172.24.0.0/13", "172.21.0.0/16", "172.22.0.0/15"} {
		taken = append(taken, netip.MustParsePrefix(pool))
	}
	for i := range 256 {
		if p := netip.MustParsePrefix(fmt.Sprintf("172.20.%d.0/24", i)); p != free {
			taken = append(taken, p)
		}
	}
	taken = append(taken, netip.MustParsePrefix("0.0.0.0/0"))
	p, ok := chooseIPv4(resource.NewID(), taken)
	require.True(t, ok)
	assert.Equal(t, free, p)
	_, ok = chooseIPv4(resource.NewID(), append(taken, free))
	assert.False(t, ok)
	h := &Host{home: resource.NewID()}
	p, ok = h.chooseIPv6(resource.NewID(), nil)
	require.True(t, ok)
	assert.True(t, p.Addr().IsPrivate() && p == p.Masked() && p.Bits() == 64, "%s", p)
	other, ok := h.chooseIPv6(resource.NewID(), []netip.Prefix{p})
	require.True(t, ok)
	assert.False(t, p.Overlaps(other))
}
