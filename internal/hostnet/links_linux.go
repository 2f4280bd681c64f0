package hostnet

import (
	"errors"
	"net"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/resource"
)

// owns reports whether a link is this folder's.
func (w *wires) owns(l netlink.Link) bool {
	a := l.Attrs()
	switch l.(type) {
	case *netlink.Bridge, *netlink.Veth:
		return len(a.Name) > len(w.host.prefix) && a.Name[:len(w.host.prefix)] == w.host.prefix &&
			w.host.isOurs(a.Name, a.HardwareAddr, a.Alias)
	}
	return false
}

// own returns the link of a name, nil where there is none. One that is not this
// folder's is an error.
func (w *wires) own(name string) (netlink.Link, error) {
	l, err := w.handle.LinkByName(name)
	if isNoLink(err) {
		return nil, nil
	}
	if err != nil {
		return nil, w.failed("find link "+name, err)
	}
	if !w.owns(l) {
		return nil, failed(errdefs.ErrFailedPrecondition, "", "the link %s: %w", resource.Quote(name), ErrForeign)
	}
	return l, nil
}

func (w *wires) links() ([]link, error) {
	all, err := dump(w.handle.LinkList)
	if err != nil {
		return nil, w.failed("list links", err)
	}
	names := map[int]string{0: ""}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []link
	for _, l := range all {
		if w.owns(l) {
			out = append(out, link{l.Attrs().Name, names[l.Attrs().MasterIndex]})
		}
	}
	return out, nil
}

func (w *wires) remove(name string) error {
	l, err := w.own(name)
	if l == nil || err != nil {
		return err
	}
	// It can go by itself meanwhile, with the namespace of its other end.
	if err := w.handle.LinkDel(l); err != nil && !isNoLink(err) {
		return w.failed("delete link "+name, err)
	}
	return nil
}

func (w *wires) isBridge(name string) (bool, error) {
	l, err := w.handle.LinkByName(name)
	if isNoLink(err) {
		return false, nil
	}
	_, is := l.(*netlink.Bridge)
	return is, w.failed("find link "+name, err)
}

func (w *wires) join(name, bridge string) error {
	l, err := w.own(name)
	if l == nil || err != nil {
		return err
	}
	master, err := w.handle.LinkByName(bridge)
	if err == nil {
		err = w.handle.LinkSetMaster(l, master)
	}
	return w.failed("put "+name+" on "+bridge, err)
}

// ensure makes what is missing of bridges. It reads lists of the whole host, so that it
// costs little where all is well.
func (w *wires) ensure(networks []Network) error {
	all, err := dump(w.handle.LinkList)
	if err != nil {
		return w.failed("list links", err)
	}
	found, err := dump(func() ([]netlink.Addr, error) { return w.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return w.failed("list addresses", err)
	}
	links := map[string]netlink.Link{}
	for _, l := range all {
		links[l.Attrs().Name] = l
	}
	addresses := map[int][]netip.Prefix{}
	for _, a := range found {
		if p, err := netip.ParsePrefix(a.IPNet.String()); err == nil {
			addresses[a.LinkIndex] = append(addresses[a.LinkIndex], p)
		}
	}
	for _, n := range networks {
		if n.Joined() {
			continue
		}
		l, err := w.ensureBridge(n, links[n.Bridge])
		if err != nil {
			return err
		}
		for _, s := range n.Subnets {
			want := netip.PrefixFrom(s.Gateway, s.CIDR.Bits())
			if !slices.Contains(addresses[l.Attrs().Index], want) {
				if err := w.handle.AddrReplace(l, address(want)); err != nil {
					return w.failed("give "+n.Bridge+" "+want.String(), err)
				}
			}
		}
		w.host.step("addressed")
	}
	return w.forward(networks)
}

// ensureBridge makes or mends the bridge of a network.
func (w *wires) ensureBridge(n Network, have netlink.Link) (netlink.Link, error) {
	var err error
	if have == nil {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU, a.HardwareAddr, a.Flags = n.Bridge, n.MTU, w.host.mark(n.Bridge), net.FlagUp
		err = w.handle.LinkAdd(&netlink.Bridge{LinkAttrs: a})
		if err != nil && !errors.Is(err, unix.EEXIST) {
			return nil, w.failed("make bridge "+n.Bridge, err)
		}
		w.host.step("bridged")
		if have, err = w.own(n.Bridge); err != nil {
			return nil, err
		}
		if have == nil {
			return nil, failed(errdefs.ErrUnavailable, "", "the bridge %s was deleted", n.Bridge)
		}
	}
	if _, is := have.(*netlink.Bridge); !is || !w.owns(have) {
		return nil, failed(errdefs.ErrFailedPrecondition, "", "the link %s: %w", n.Bridge, ErrForeign)
	}
	a, alias := have.Attrs(), w.host.alias("network", n.ID)
	if a.Alias != alias {
		err = w.handle.LinkSetAlias(have, alias)
	}
	if err == nil && a.MTU != n.MTU {
		err = w.handle.LinkSetMTU(have, n.MTU)
	}
	if err == nil && a.Flags&net.FlagUp == 0 {
		err = w.handle.LinkSetUp(have)
	}
	return have, w.failed("set up bridge "+n.Bridge, err)
}

// address is an address that is used at once: nobody else has one of the book's.
func address(p netip.Prefix) *netlink.Addr {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD
	}
	return a
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf returns the range of an address or a route; none is false.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a, bits).Masked(), ok
}
