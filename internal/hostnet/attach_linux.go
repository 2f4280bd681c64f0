package hostnet

import (
	"errors"
	"net"
	"net/netip"
	"runtime"
	"time"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// attach makes a pair of links, one end on the network's bridge and the other made
// inside the target, and sets up that one there. One that fails is undone.
func (w *wires) attach(n Network, e Endpoint, t Target) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(t.Namespace.Fd()), unix.NETLINK_ROUTE)
	if err != nil {
		return failed(errdefs.ErrFailedPrecondition, "namespace", "%w", err)
	}
	defer inside.Close()
	defer runtime.KeepAlive(t.Namespace)
	name := w.host.endpointName(e.ID)
	err = w.pair(n, e, t, name)
	if errors.Is(err, unix.EEXIST) {
		if err = w.clear(inside, t, name); err == nil {
			err = w.pair(n, e, t, name)
		}
		if errors.Is(err, unix.EEXIST) && !w.there(name) {
			return failed(errdefs.ErrAlreadyExists, "interface", "the namespace has a link %s", t.Interface)
		}
		if errors.Is(err, errPlugged) {
			err = nil
		}
	}
	if err == nil {
		w.host.step("paired")
		err = w.plug(inside, n, e, t, name)
	}
	if err != nil {
		return errors.Join(err, w.remove(name))
	}
	return nil
}

// pair makes the links, both or none of them.
func (w *wires) pair(n Network, e Endpoint, t Target, name string) error {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU, a.HardwareAddr, a.Flags = name, n.MTU, w.host.mark(name), net.FlagUp
	veth := netlink.NewVeth(a)
	veth.PeerName, veth.PeerHardwareAddr = t.Interface, net.HardwareAddr(e.MAC)
	veth.PeerNamespace = netlink.NsFd(t.Namespace.Fd())
	return w.failed("make link "+name, w.handle.LinkAdd(veth))
}

// errPlugged says that the link is where it is to be.
var errPlugged = errors.New("it is plugged in")

// clear makes room for a link that could not be made as one has its name: ours, from an
// earlier call. It says errPlugged where that leads into the target already.
func (w *wires) clear(inside *netlink.Handle, t Target, name string) error {
	outer, err := w.own(name)
	if outer == nil || err != nil {
		return err
	}
	inner, err := inside.LinkByName(t.Interface)
	if err != nil && !isNoLink(err) {
		return w.failed("find link "+t.Interface, err)
	}
	if veth, is := inner.(*netlink.Veth); is &&
		veth.Attrs().ParentIndex == outer.Attrs().Index && outer.Attrs().ParentIndex == veth.Attrs().Index {
		return errPlugged
	}
	return w.remove(name)
}

func (w *wires) there(name string) bool {
	l, err := w.own(name)
	return l != nil || err != nil
}

// plug sets up both ends, whatever of it is done already.
func (w *wires) plug(inside *netlink.Handle, n Network, e Endpoint, t Target, name string) error {
	bridge, err := w.handle.LinkByName(n.Bridge)
	if isNoLink(err) {
		return failed(errdefs.ErrUnavailable, "", "the bridge %s is gone", resource.Quote(n.Bridge))
	}
	if err != nil {
		return w.failed("find bridge "+n.Bridge, err)
	}
	outer, err := w.own(name)
	if err == nil && outer == nil {
		err = failed(errdefs.ErrUnavailable, "", "the link %s was deleted", name)
	}
	if err != nil {
		return err
	}
	// The host speaks on the bridge alone, so a port of it needs no address.
	err = w.handle.LinkSetIP6AddrGenMode(outer, 1)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		err = nil // a host without IPv6
	}
	if err == nil {
		err = w.handle.LinkSetAlias(outer, w.host.alias("endpoint", e.ID))
	}
	w.host.step("marked")
	if err == nil {
		err = limit(w.handle, outer, e.Limits.Ingress, n.MTU)
	}
	if err == nil {
		err = w.handle.LinkSetMaster(outer, bridge)
	}
	if err != nil {
		return w.failed("set up link "+name, err)
	}
	w.host.step("joined")
	if err := w.plugInside(inside, n, e, t); err != nil {
		return w.failed("set up link "+t.Interface+" inside", err)
	}
	err = errors.Join(carries(w.handle, name), carries(inside, t.Interface), answers(inside, e.Addresses))
	return w.failed("wait for link "+name, err)
}

// carries waits until a link carries packets, which is a moment after it has come up.
// Since Linux 6.8 asking is enough to make it so.
func carries(handle *netlink.Handle, name string) error {
	return await(func() (bool, error) {
		l, err := handle.LinkByName(name)
		return err == nil && l.Attrs().OperState == netlink.OperUp, err
	})
}

// answers waits until neighbours can find the IPv6 addresses of a namespace, which the
// kernel prepares in the background, and then adds the address's own route.
func answers(inside *netlink.Handle, addresses []netip.Prefix) error {
	for _, p := range addresses {
		if p.Addr().Is4() {
			continue
		}
		err := await(func() (bool, error) {
			to, err := inside.RouteGet(p.Addr().AsSlice())
			return err == nil && len(to) == 1 && to[0].Type == unix.RTN_LOCAL, err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// await asks until it is so, or for a while: what is not ready then loses its first
// packets, which are repeated after a second.
func await(ready func() (bool, error)) error {
	for wait := time.Duration(0); wait < 50*time.Millisecond; wait = 2*wait + 100*time.Microsecond {
		time.Sleep(wait)
		if is, err := ready(); is || err != nil {
			return err
		}
	}
	return nil
}

func (w *wires) plugInside(inside *netlink.Handle, n Network, e Endpoint, t Target) error {
	inner, err := inside.LinkByName(t.Interface)
	if err != nil {
		return err
	}
	if inner.Attrs().MTU != n.MTU {
		if err := inside.LinkSetMTU(inner, n.MTU); err != nil {
			return err
		}
	}
	for _, p := range e.Addresses {
		if err := inside.AddrReplace(inner, address(p)); err != nil {
			return err
		}
	}
	w.host.step("inside")
	if err := limit(inside, inner, e.Limits.Egress, n.MTU); err != nil {
		return err
	}
	if err := inside.LinkSetUp(inner); err != nil {
		return err
	}
	w.host.step("up")
	if t.NoRoutes || n.External == network.Isolated {
		return nil
	}
	// One route a family: the network's first subnet of each leads outside.
	routed := map[int]bool{}
	for _, gateway := range n.Gateways() {
		if !routed[gateway.BitLen()] {
			if err := route(inside, inner, gateway); err != nil {
				return err
			}
		}
		routed[gateway.BitLen()] = true
	}
	return nil
}

// route adds the default route of a family. One that another link has stays, and is
// AlreadyExists.
func route(inside *netlink.Handle, inner netlink.Link, gateway netip.Addr) error {
	family := netlink.FAMILY_V4
	if gateway.Is6() {
		family = netlink.FAMILY_V6
	}
	all := ipNet(netip.PrefixFrom(gateway, 0).Masked())
	index := inner.Attrs().Index
	err := inside.RouteAdd(&netlink.Route{LinkIndex: index, Dst: all, Gw: gateway.AsSlice()})
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	have, err := dump(func() ([]netlink.Route, error) {
		return inside.RouteListFiltered(family, &netlink.Route{LinkIndex: index, Dst: all}, netlink.RT_FILTER_OIF|netlink.RT_FILTER_DST)
	})
	if err == nil && len(have) == 0 {
		return failed(errdefs.ErrAlreadyExists, "namespace", "another link has the default route")
	}
	return err
}

// limit bounds what a link sends. A burst is what comes in 20 ms, and at least a few
// packets; what waits is what goes in 100 ms.
func limit(handle *netlink.Handle, l netlink.Link, rate int64, mtu int) error {
	if rate == 0 {
		return nil
	}
	burst := max(rate/50, int64(mtu)*4, 16<<10)
	return handle.QdiscReplace(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       uint64(rate),
		Buffer:     netlink.Xmittime(uint64(rate), uint32(min(burst, 1<<30))),
		Limit:      uint32(min(burst+rate/10, 1<<30)),
	})
}
