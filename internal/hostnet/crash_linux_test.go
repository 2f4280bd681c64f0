package hostnet

import (
	"os"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// TestKilledBetweenAnyTwoSteps kills a process at each step of each operation. After a
// sweep by another the operation is done or not begun, what else there is works, and
// doing it then says which of the two it is.
func TestKilledBetweenAnyTwoSteps(t *testing.T) {
	before := func(n int) []string { return []string{"create", "reserve", "attach"}[:n] }
	for _, c := range []struct {
		what   string
		before []string
		// steps is the number of steps that there are at least.
		steps int
		// done is what the operation says where it was done.
		done error
	}{
		{"create", nil, 6, errdefs.ErrAlreadyExists},
		{"reserve", before(1), 2, errdefs.ErrAlreadyExists},
		{"attach", before(2), 5, nil},
		{"release", before(3), 2, errdefs.ErrNotFound},
		{"delete", before(1), 5, errdefs.ErrNotFound},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			other := w.network(network.NAT)
			a, b := w.instance(other), w.instance(other)
			links := w.linksOf("uv")
			kills := 0
			for {
				inside := newNamespace(t)
				o := order{
					What: c.what, Kill: kills + 1,
					Network: NetworkSpec{
						ID: resource.NewID(), Namespace: "n", Name: "victim", External: network.NAT, ChooseIPv4: true, ChooseIPv6: true,
					},
					Endpoint: EndpointSpec{ID: resource.NewID(), MAC: network.HardwareAddr{2, 0, 0, 0, 0, 9}},
				}
				for _, what := range c.before {
					require.NoError(t, w.carryOut(what, o, inside), what)
				}
				killed := w.killed(o, inside)
				_, err := w.Sweep(t.Context())
				require.NoError(t, err)
				left, err := w.Inventory(t.Context())
				require.NoError(t, err)
				assert.True(t, left.Empty(), "%+v", left)
				talk(t, a, b)

				err = w.carryOut(c.what, o, inside)
				if !killed || err != nil {
					require.ErrorIs(t, err, c.done)
				}
				if c.what == "attach" {
					i := instance{namespace: inside}
					i.Endpoint, err = w.Endpoint(t.Context(), o.Network.ID, o.Endpoint.ID)
					require.NoError(t, err)
					n, err := w.Network(t.Context(), o.Network.ID)
					require.NoError(t, err)
					for k, to := range i.addresses() {
						reaches(t, w.namespace, serve(t, inside, to, 0), n.Subnets[k].Gateway)
					}
				}
				// What there is of it goes, and nothing of it stays.
				for _, what := range []string{"release", "delete"} {
					if err := w.carryOut(what, o, inside); err != nil {
						require.ErrorIs(t, err, errdefs.ErrNotFound)
					}
				}
				assert.Equal(t, links, w.linksOf("uv"))
				if !killed {
					break
				}
				kills++
			}
			assert.GreaterOrEqual(t, kills, c.steps)
		})
	}
}

// TestKilledAndRepeated repeats an operation where nobody has swept.
func TestKilledAndRepeated(t *testing.T) {
	for _, c := range []struct {
		what   string
		before []string
	}{
		{"attach", []string{"create", "reserve"}},
		{"release", []string{"create", "reserve", "attach"}},
		{"delete", []string{"create"}},
	} {
		t.Run(c.what, func(t *testing.T) {
			w := newWorld(t)
			for kill := 1; ; kill++ {
				inside := newNamespace(t)
				o := order{
					What: c.what, Kill: kill,
					Network:  NetworkSpec{ID: resource.NewID(), Name: "victim"},
					Endpoint: EndpointSpec{ID: resource.NewID()},
				}
				for _, what := range c.before {
					require.NoError(t, w.carryOut(what, o, inside), what)
				}
				killed := w.killed(o, inside)
				for _, what := range []string{c.what, "release", "delete"} {
					if err := w.carryOut(what, o, inside); err != nil {
						require.ErrorIs(t, err, errdefs.ErrNotFound)
					}
				}
				assert.Empty(t, w.linksOf("uv"))
				if !killed {
					break
				}
			}
			_, err := w.Sweep(t.Context())
			require.NoError(t, err)
		})
	}
}

// carryOut does in this process what an order says.
func (w *world) carryOut(what string, o order, inside *os.File) error {
	return carryOut(w.t.Context(), w.Host, what, o, Target{Namespace: inside, Interface: "eth0"})
}

// TestRepair damages what there is in ways of other programs and of a reboot.
func TestRepair(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(w *world, n Network)
	}{
		{"nothing", func(*world, Network) {}},
		{"the rules are flushed", func(w *world, _ Network) {
			conn := w.nft()
			conn.FlushTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "univirt"})
			require.NoError(w.t, conn.Flush())
		}},
		{"all tables are flushed", func(w *world, _ Network) {
			conn := w.nft()
			conn.FlushRuleset()
			require.NoError(w.t, conn.Flush())
		}},
		{"the bridge is deleted", func(w *world, n Network) {
			l, err := w.handle.LinkByName(n.Bridge)
			require.NoError(w.t, err)
			require.NoError(w.t, w.handle.LinkDel(l))
		}},
		{"the bridge is down and has lost its addresses", func(w *world, n Network) {
			l, err := w.handle.LinkByName(n.Bridge)
			require.NoError(w.t, err)
			require.NoError(w.t, w.handle.LinkSetDown(l))
			for _, s := range n.Subnets {
				p := ipNet(s.CIDR)
				p.IP = s.Gateway.AsSlice()
				_ = w.handle.AddrDel(l, &netlink.Addr{IPNet: p}) // IPv6 ones go by themselves
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t)
			out := w.outside()
			n, isolated := w.network(network.NAT), w.network(network.Isolated)
			a, b, alone := w.instance(n), w.instance(n), w.instance(isolated)
			c.damage(w, n)
			require.NoError(t, w.Repair(t.Context()))
			l, err := w.handle.LinkByName(w.endpointName(a.ID))
			require.NoError(t, err)
			bridge, err := w.handle.LinkByName(n.Bridge)
			require.NoError(t, err)
			assert.Equal(t, bridge.Attrs().Index, l.Attrs().MasterIndex)
			talk(t, a, b)
			reaches(t, a.namespace, serve(t, out.namespace, out.v4, 0), out.host4)
			reaches(t, a.namespace, serve(t, out.namespace, out.v6, 0), out.host6)
			routeAll(t, alone, isolated)
			for _, to := range a.addresses() {
				reachesNot(t, alone.namespace, serve(t, a.namespace, to, 0))
			}
			// Again is nothing.
			require.NoError(t, w.Repair(t.Context()))
		})
	}
}

// TestAttachAfterTheHostHasBooted finds nothing in the kernel but records on disk.
func TestAttachAfterTheHostHasBooted(t *testing.T) {
	w := newWorld(t)
	n := w.network(network.NAT)
	e, err := w.Reserve(t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(t, err)
	booted := &world{t: t, dir: w.dir, namespace: newNamespace(t)}
	booted.handle, booted.Host = handleIn(t, booted.namespace), booted.open()
	i := instance{e, newNamespace(t)}
	require.NoError(t, booted.Attach(t.Context(), n.ID, e.ID, i.target()))
	for k, to := range i.addresses() {
		reaches(t, booted.namespace, serve(t, i.namespace, to, 0), n.Subnets[k].Gateway)
	}
}

// TestForeignThingsAreLeftAlone has links and tables of others, with names like ours.
func TestForeignThingsAreLeftAlone(t *testing.T) {
	w := newWorld(t)
	conn := w.nft()
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "theirs"})
	chain := conn.AddChain(&nftables.Chain{Table: table, Name: "forward"})
	conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: accept})
	require.NoError(t, conn.Flush())
	for _, name := range []string{"uvb0123456789", "uve0123456789", "uvx"} {
		a := netlink.NewLinkAttrs()
		a.Name = name
		require.NoError(t, w.handle.LinkAdd(&netlink.Bridge{LinkAttrs: a}))
	}
	foreign := w.linksOf("uv")
	// One has the very name that ours is to have.
	id := resource.NewID()
	a := netlink.NewLinkAttrs()
	a.Name = w.bridgeName(id)
	require.NoError(t, w.handle.LinkAdd(&netlink.Bridge{LinkAttrs: a}))
	_, err := w.Create(t.Context(), NetworkSpec{ID: id})
	require.ErrorIs(t, err, ErrForeign)
	assert.Contains(t, w.linksOf("uv"), a.Name)
	left, err := w.Inventory(t.Context())
	require.NoError(t, err)
	assert.True(t, left.Empty(), "%+v", left)
	l, err := w.handle.LinkByName(a.Name)
	require.NoError(t, err)
	require.NoError(t, w.handle.LinkDel(l))

	_, err = w.Sweep(t.Context())
	require.NoError(t, err)
	n := w.network(network.NAT)
	i := w.instance(n)
	require.NoError(t, w.Repair(t.Context()))
	require.NoError(t, w.Release(t.Context(), n.ID, i.ID))
	require.NoError(t, w.Delete(t.Context(), n.ID))
	assert.Equal(t, foreign, w.linksOf("uv"))
	rules, err := w.nft().GetRules(table, chain)
	require.NoError(t, err)
	assert.Len(t, rules, 1)
	for _, name := range foreign {
		l, err := w.handle.LinkByName(name)
		require.NoError(t, err)
		require.NoError(t, w.handle.LinkDel(l))
	}

	t.Run("a table of our name", func(t *testing.T) {
		w := newWorld(t)
		conn := w.nft()
		conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "univirt"})
		require.NoError(t, conn.Flush())
		_, err := w.Create(t.Context(), NetworkSpec{ID: resource.NewID()})
		require.ErrorIs(t, err, ErrForeign)
		assert.Contains(t, w.tables(), "univirt")
		conn.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: "univirt"})
		require.NoError(t, conn.Flush())
	})
}
