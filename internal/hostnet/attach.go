package hostnet

import (
	"context"
	"net/netip"
	"os"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/network"
)

// Target is the network namespace of an instance, and what its link is called there.
type Target struct {
	// Namespace is the namespace; where it is nil, Path leads to it.
	Namespace *os.File
	Path      string
	// Interface is the link's name inside, such as eth0. Required.
	Interface string
	// NoRoutes leaves default routes out, for instances that have them already.
	NoRoutes bool
}

// Attach plugs an endpoint into a namespace: a link with its MAC, addresses, MTU and
// rates, and default routes where the network leads outside. Done twice it is nil; an
// endpoint that is plugged into another namespace is plugged out there. A link of the
// name inside that is another is AlreadyExists. A lost call leaves what another one or
// Detach takes up.
func (h *Host) Attach(ctx context.Context, networkID, id string, t Target) error {
	if reason := checkInterface(t.Interface); reason != "" {
		return failed(errdefs.ErrInvalidArgument, "interface", "%s", reason)
	}
	if t.Namespace == nil {
		f, err := os.Open(t.Path)
		if err != nil {
			return failed(errdefs.ErrFailedPrecondition, "namespace", "%w", err)
		}
		defer f.Close()
		t.Namespace = f
	}
	attach := func() error {
		return h.plugging(ctx, networkID, id, func(n Network, e Endpoint) error { return h.kernel.attach(n, e, t) })
	}
	err := attach()
	if errdefs.IsUnavailable(err) {
		// The bridge is gone: the host has booted, say.
		if err := h.Repair(ctx); err != nil {
			return err
		}
		err = attach()
	}
	return err
}

// Detach plugs an endpoint out, which stays reserved. One that is not plugged in, or
// whose namespace is gone, is nil.
func (h *Host) Detach(ctx context.Context, networkID, id string) error {
	return h.plugging(ctx, networkID, id, func(Network, Endpoint) error { return h.kernel.remove(h.endpointName(id)) })
}

// Point is where a virtual machine is plugged in: the caller makes the link.
type Point struct {
	// Bridge is the bridge to put the link on.
	Bridge string
	MAC    network.HardwareAddr
	MTU    int
	// Addresses, with their subnets' lengths, and Gateways are what the guest is to be
	// told.
	Addresses []netip.Prefix
	Gateways  []netip.Addr
}

// Point returns where an endpoint is plugged in.
func (h *Host) Point(ctx context.Context, networkID, id string) (Point, error) {
	lock, err := h.using(ctx, networkID, filelock.Shared)
	if err != nil {
		return Point{}, err
	}
	defer lock.Release()
	n, err := h.Network(ctx, networkID)
	if err != nil {
		return Point{}, err
	}
	e, err := h.Endpoint(ctx, networkID, id)
	if err != nil {
		return Point{}, err
	}
	return Point{Bridge: n.Bridge, MAC: e.MAC, MTU: n.MTU, Addresses: e.Addresses, Gateways: n.Gateways()}, nil
}

// checkInterface says what is wrong with the name of a link, or returns "".
func checkInterface(name string) string {
	switch {
	case name == "":
		return "is required"
	case len(name) > 15:
		return "must have at most 15 bytes"
	case name == "." || name == "..":
		return "must not be a path"
	}
	for _, c := range name {
		if c <= ' ' || c > '~' || c == '/' || c == ':' || c == '%' {
			return "must not contain spaces, slashes, colons or characters beyond ASCII"
		}
	}
	return ""
}
