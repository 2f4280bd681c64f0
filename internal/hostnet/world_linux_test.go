package hostnet

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/vishvananda/netlink"
	vishnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// world is a host of its own: a network namespace and a folder for state. When the
// test ends nothing that the test did not make itself may be left in them.
type world struct {
	*Host
	t         testing.TB
	dir       string
	namespace *os.File
	handle    *netlink.Handle
}

// newWorld makes a host with nothing but loopback.
func newWorld(t testing.TB) *world {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make network namespaces")
	}
	if t, is := t.(*testing.T); is {
		t.Parallel() // worlds know nothing of each other
	}
	w := &world{t: t, dir: t.TempDir(), namespace: newNamespace(t)}
	w.handle = handleIn(t, w.namespace)
	w.Host = w.open()
	t.Cleanup(w.clear)
	return w
}

// open opens another value on the world's folder.
func (w *world) open() *Host {
	h, err := Open(w.dir, Options{Namespace: w.namespace})
	require.NoError(w.t, err)
	w.t.Cleanup(func() { assert.NoError(w.t, h.Close()) })
	return h
}

// clear deletes all and looks at what is left.
func (w *world) clear() {
	ctx := context.Background()
	for n, err := range w.Networks(ctx) {
		require.NoError(w.t, err)
		for e, err := range w.Endpoints(ctx, n.ID) {
			require.NoError(w.t, err)
			require.NoError(w.t, w.Release(ctx, n.ID, e.ID))
		}
		require.NoError(w.t, w.Delete(ctx, n.ID))
	}
	w.nothingLeft()
}

// nothingLeft demands that the world has nothing of ours, in the kernel and on disk.
func (w *world) nothingLeft() {
	w.t.Helper()
	left, err := w.Inventory(context.Background())
	require.NoError(w.t, err)
	assert.True(w.t, left.Empty(), "%+v", left)
	assert.Empty(w.t, w.linksOf("uv"))
	assert.NotContains(w.t, w.tables(), "univirt")
	var files []string
	require.NoError(w.t, filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, strings.TrimPrefix(path, w.dir+"/"))
		}
		return err
	}))
	assert.Subset(w.t, []string{"home", "lock"}, files)
}

// linksOf lists the host's links whose name begins with something.
func (w *world) linksOf(prefix string) []string {
	links, err := w.handle.LinkList()
	require.NoError(w.t, err)
	var out []string
	for _, l := range links {
		if strings.HasPrefix(l.Attrs().Name, prefix) {
			out = append(out, l.Attrs().Name)
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) nft() *nftables.Conn {
	conn, err := nftables.New(nftables.WithNetNSFd(int(w.namespace.Fd())))
	require.NoError(w.t, err)
	return conn
}

func (w *world) tables() []string {
	tables, err := w.nft().ListTables()
	require.NoError(w.t, err)
	var out []string
	for _, t := range tables {
		out = append(out, t.Name)
	}
	return out
}

// newNamespace makes a network namespace, which goes with its file. Loopback is up.
func newNamespace(t testing.TB) *os.File {
	t.Helper()
	made := make(chan *os.File)
	go func() {
		// The thread is for this alone, and ends with the goroutine if it does not
		// find back.
		runtime.LockOSThread()
		own, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			close(made)
			return
		}
		defer own.Close()
		var f *os.File
		if unix.Unshare(unix.CLONE_NEWNET) == nil {
			f, _ = os.Open("/proc/thread-self/ns/net")
		}
		if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
			runtime.UnlockOSThread()
		}
		made <- f
	}()
	f := <-made
	require.NotNil(t, f)
	t.Cleanup(func() { _ = f.Close() })
	h := handleIn(t, f)
	lo, err := h.LinkByName("lo")
	require.NoError(t, err)
	require.NoError(t, h.LinkSetUp(lo))
	return f
}

func handleIn(t testing.TB, namespace *os.File) *netlink.Handle {
	h, err := netlink.NewHandleAt(vishnetns.NsHandle(namespace.Fd()), unix.NETLINK_ROUTE)
	require.NoError(t, err)
	t.Cleanup(h.Close)
	return h
}

// outside gives the host a way out: a namespace behind a link, which is the default
// route and knows the way to nothing but the host.
type outside struct {
	namespace *os.File
	v4, v6    netip.Addr
	host4     netip.Addr
	host6     netip.Addr
}

func (w *world) outside() outside {
	w.t.Helper()
	o := outside{
		namespace: newNamespace(w.t),
		v4:        netip.MustParseAddr("192.0.2.2"), host4: netip.MustParseAddr("192.0.2.1"),
		v6: netip.MustParseAddr("2001:db8::2"), host6: netip.MustParseAddr("2001:db8::1"),
	}
	a := netlink.NewLinkAttrs()
	a.Name = "uplink"
	veth := netlink.NewVeth(a)
	veth.PeerName, veth.PeerNamespace = "uplink", netlink.NsFd(o.namespace.Fd())
	require.NoError(w.t, w.handle.LinkAdd(veth))
	for _, side := range []struct {
		handle *netlink.Handle
		v4, v6 netip.Addr
	}{{w.handle, o.host4, o.host6}, {handleIn(w.t, o.namespace), o.v4, o.v6}} {
		l, err := side.handle.LinkByName("uplink")
		require.NoError(w.t, err)
		require.NoError(w.t, side.handle.AddrAdd(l, address(netip.PrefixFrom(side.v4, 24))))
		require.NoError(w.t, side.handle.AddrAdd(l, address(netip.PrefixFrom(side.v6, 64))))
		require.NoError(w.t, side.handle.LinkSetUp(l))
	}
	for _, side := range []*netlink.Handle{w.handle, handleIn(w.t, o.namespace)} {
		require.NoError(w.t, carries(side, "uplink"))
	}
	require.NoError(w.t, answers(w.handle, []netip.Prefix{netip.PrefixFrom(o.host6, 64)}))
	require.NoError(w.t, answers(handleIn(w.t, o.namespace), []netip.Prefix{netip.PrefixFrom(o.v6, 64)}))
	for _, gateway := range []netip.Addr{o.v4, o.v6} {
		all := ipNet(netip.PrefixFrom(gateway, 0).Masked())
		require.NoError(w.t, w.handle.RouteAdd(&netlink.Route{Dst: all, Gw: gateway.AsSlice()}))
	}
	return o
}

// network makes a network with subnets of both families.
func (w *world) network(external network.External) Network {
	w.t.Helper()
	n, err := w.Create(w.t.Context(), NetworkSpec{ID: resource.NewID(), ChooseIPv4: true, ChooseIPv6: true, External: external})
	require.NoError(w.t, err)
	return n
}

// instance is a namespace with an endpoint.
type instance struct {
	Endpoint
	namespace *os.File
}

// instance plugs a new endpoint into a new namespace.
func (w *world) instance(n Network) instance {
	w.t.Helper()
	e, err := w.Reserve(w.t.Context(), n.ID, EndpointSpec{ID: resource.NewID()})
	require.NoError(w.t, err)
	i := instance{e, newNamespace(w.t)}
	require.NoError(w.t, w.Attach(w.t.Context(), n.ID, e.ID, i.target()))
	return i
}

func (i instance) target() Target { return Target{Namespace: i.namespace, Interface: "eth0"} }

// addresses returns those of an endpoint without lengths.
func (i instance) addresses() []netip.Addr {
	var out []netip.Addr
	for _, p := range i.Addresses {
		out = append(out, p.Addr())
	}
	return out
}

// serve answers each connection to an address of a namespace with whose it is.
func serve(t testing.TB, namespace *os.File, a netip.Addr, port uint16) netip.AddrPort {
	t.Helper()
	var l net.Listener
	require.NoError(t, netns.Do(namespace, func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, port)))
		return err
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = fmt.Fprint(c, c.RemoteAddr())
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// ask connects and returns the address that the other side sees.
func ask(t testing.TB, from *os.File, to netip.AddrPort, patience time.Duration) (netip.Addr, error) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := netns.Dial(ctx, from, "tcp", to)
	if err != nil {
		return netip.Addr{}, err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	text, err := io.ReadAll(c)
	if err != nil {
		return netip.Addr{}, err
	}
	seen, err := netip.ParseAddrPort(string(text))
	return seen.Addr().Unmap(), err
}

// reaches demands that one side reaches the other, seen as an address.
func reaches(t testing.TB, from *os.File, to netip.AddrPort, as netip.Addr) {
	t.Helper()
	seen, err := ask(t, from, to, 5*time.Second)
	if assert.NoError(t, err, "to %s", to) {
		assert.Equal(t, as, seen)
	}
}

// reachesNot demands that a packet is dropped, or has no way. The times that a first
// packet is repeated in are longer.
func reachesNot(t testing.TB, from *os.File, to netip.AddrPort) {
	t.Helper()
	_, err := ask(t, from, to, 100*time.Millisecond)
	assert.Error(t, err, "to %s", to)
}

// talk demands that two instances of a network reach each other by all families.
func talk(t testing.TB, a, b instance) {
	t.Helper()
	for _, pair := range [][2]instance{{a, b}, {b, a}} {
		for i, to := range pair[1].addresses() {
			reaches(t, pair[0].namespace, serve(t, pair[1].namespace, to, 0), pair[0].addresses()[i])
		}
	}
}

// isFailure demands a kind of error at a field.
func isFailure(t testing.TB, err, kind error, field string) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	e, ok := errors.AsType[*resource.Error](err)
	require.True(t, ok, "%T", err)
	assert.Equal(t, field, e.Field, "%s", err)
}
