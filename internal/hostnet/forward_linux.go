package hostnet

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/netns"
	"github.com/univirt/univirt/network"
)

// forward allows the forwarding of packets where a network needs it: of the families
// that it has. What is allowed already is not written.
func (w *wires) forward(networks []Network) error {
	var four, six bool
	for _, n := range networks {
		for _, s := range n.Subnets {
			four = four || n.External == network.NAT && s.CIDR.Addr().Is4()
			six = six || n.External == network.NAT && s.CIDR.Addr().Is6()
		}
	}
	if !four && !six {
		return nil
	}
	err := netns.Do(w.namespace, func() error {
		if four {
			if err := setting("/proc/sys/net/ipv4/ip_forward", "1"); err != nil {
				return err
			}
		}
		if six {
			return forwardIPv6()
		}
		return nil
	})
	if err != nil {
		return failed(errdefs.ErrFailedPrecondition, "", "allow forwarding: %w", err)
	}
	return nil
}

// forwardIPv6 makes a router of the host, which hears other routers' advertisements no
// more unless it is told to: where it does now it is to go on, else it would lose its
// own way outside.
func forwardIPv6() error {
	const all = "/proc/sys/net/ipv6/conf/all/forwarding"
	if is, err := os.ReadFile(all); err != nil || strings.TrimSpace(string(is)) == "1" {
		return err
	}
	listening, err := filepath.Glob("/proc/sys/net/ipv6/conf/*/accept_ra")
	if err != nil {
		return err
	}
	for _, path := range listening {
		if is, err := os.ReadFile(path); err == nil && strings.TrimSpace(string(is)) == "1" {
			// A link that has gone meanwhile hears nothing.
			if err := setting(path, "2"); err != nil && !isAbsent(err) {
				return err
			}
		}
	}
	return setting(all, "1")
}

func setting(path, value string) error {
	is, err := os.ReadFile(path)
	if err != nil || strings.TrimSpace(string(is)) == value {
		return err
	}
	return os.WriteFile(path, []byte(value), 0)
}
