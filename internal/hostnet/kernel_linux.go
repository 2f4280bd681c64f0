package hostnet

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// wires is the kernel of Linux: a connection for links, and the namespace it is in.
type wires struct {
	host  *Host
	table string
	// namespace is nil where it is the process's own.
	namespace *os.File
	handle    *netlink.Handle
}

var _ kernel = (*wires)(nil)

func openKernel(h *Host, o Options) (kernel, error) {
	w := &wires{host: h, table: o.Table}
	at := netns.None()
	if o.Namespace != nil {
		fd, err := unix.FcntlInt(o.Namespace.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return nil, os.NewSyscallError("fcntl", err)
		}
		w.namespace = os.NewFile(uintptr(fd), o.Namespace.Name())
		at = netns.NsHandle(fd)
	}
	var err error
	if w.handle, err = netlink.NewHandleAt(at, unix.NETLINK_ROUTE); err != nil {
		w.close()
		return nil, w.failed("open netlink", err)
	}
	return w, nil
}

func (w *wires) close() {
	if w.handle != nil {
		w.handle.Close()
	}
	if w.namespace != nil {
		_ = w.namespace.Close()
	}
}

// failed says what was being done, and of what kind the kernel's answer is.
func (w *wires) failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	var kind error
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind = errdefs.ErrPermissionDenied
	case isNoLink(err):
		kind = errdefs.ErrNotFound
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EAFNOSUPPORT), errors.Is(err, unix.EPROTONOSUPPORT):
		kind = errors.ErrUnsupported
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.EINTR):
		kind = errdefs.ErrUnavailable
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
	return failed(kind, "", "%s: %w", doing, err)
}

// isNoLink reports whether a link, or the namespace of one, is not there.
func isNoLink(err error) bool {
	_, none := errors.AsType[netlink.LinkNotFoundError](err)
	return none || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)
}

// dump reads a list, again where it changed meanwhile.
func dump[T any](read func() ([]T, error)) ([]T, error) {
	for range 10 {
		list, err := read()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return list, err
		}
	}
	return nil, netlink.ErrDumpInterrupted
}

func (w *wires) inUse() (addresses, routes []netip.Prefix, err error) {
	all, err := dump(w.handle.LinkList)
	if err != nil {
		return nil, nil, w.failed("list links", err)
	}
	own := map[int]bool{}
	for _, l := range all {
		if w.owns(l) {
			own[l.Attrs().Index] = true
		}
	}
	found, err := dump(func() ([]netlink.Addr, error) { return w.handle.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, nil, w.failed("list addresses", err)
	}
	for _, a := range found {
		if p, ok := prefixOf(a.IPNet); ok && !own[a.LinkIndex] {
			addresses = append(addresses, p)
		}
	}
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		found, err := dump(func() ([]netlink.Route, error) { return w.handle.RouteList(nil, family) })
		if err != nil {
			return nil, nil, w.failed("list routes", err)
		}
		for _, r := range found {
			if p, ok := prefixOf(r.Dst); ok && !own[r.LinkIndex] {
				routes = append(routes, p)
			}
		}
	}
	return addresses, routes, nil
}

func (w *wires) uplinkMTU() int {
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		routes, err := dump(func() ([]netlink.Route, error) { return w.handle.RouteList(nil, family) })
		if err != nil {
			continue
		}
		at := slices.IndexFunc(routes, func(r netlink.Route) bool {
			p, ok := prefixOf(r.Dst)
			return (!ok || p.Bits() == 0) && r.LinkIndex != 0
		})
		if at < 0 {
			continue
		}
		if l, err := w.handle.LinkByIndex(routes[at].LinkIndex); err == nil {
			return l.Attrs().MTU
		}
	}
	return 0
}
