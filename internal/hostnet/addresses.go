package hostnet

import (
	"errors"
	"net/netip"
	"os"
	"strconv"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// book claims addresses and a MAC for one endpoint. Each claim is a file that only
// one process can make, so nobody checks before acting. The network's lock is held at
// least shared.
type book struct {
	host    *Host
	network Network
	claims  []string
}

func addressClaim(a netip.Addr) string         { return a.String() }
func macClaim(mac network.HardwareAddr) string { return "mac " + mac.String() }

// claim makes the file of a claim and reports whether it was free.
func (b *book) claim(name string) (bool, error) {
	path := b.host.in(b.network.ID, "taken", name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, private)
	if isThere(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b.claims = append(b.claims, path)
	return true, f.Close()
}

// giveBack gives back what was claimed.
func (b *book) giveBack() error {
	var errs []error
	for _, path := range b.claims {
		errs = append(errs, unlink(path))
	}
	return errors.Join(errs...)
}

// addresses claims the fixed addresses, and one of each subnet without.
func (b *book) addresses(fixed []netip.Addr) ([]netip.Prefix, error) {
	subnets := b.network.Subnets
	out := make([]netip.Prefix, len(subnets))
	for i, a := range fixed {
		k, err := place(subnets, a)
		if err == nil && out[k].IsValid() {
			err = failed(errdefs.ErrInvalidArgument, "", "is a second one of %s", subnets[k].CIDR)
		}
		if err != nil {
			err.Field = at("addresses", i)
			return nil, err
		}
		out[k] = netip.PrefixFrom(a, subnets[k].CIDR.Bits())
	}
	for i, a := range fixed {
		free, err := b.claim(addressClaim(a))
		if err != nil {
			return nil, err
		}
		if !free {
			return nil, failed(errdefs.ErrAlreadyExists, at("addresses", i), "%w: %s", ErrAddressTaken, a)
		}
	}
	for k, s := range subnets {
		if out[k].IsValid() {
			continue
		}
		a, err := b.assign(k)
		if err != nil {
			return nil, err
		}
		out[k] = netip.PrefixFrom(a, s.CIDR.Bits())
	}
	return out, nil
}

// place finds the subnet that a fixed address is of.
func place(subnets []network.Subnet, a netip.Addr) (int, *resource.Error) {
	for k, s := range subnets {
		switch {
		case !s.CIDR.Contains(a):
		case a == s.Gateway:
			return 0, failed(errdefs.ErrInvalidArgument, "", "%w: %s", ErrGateway, a)
		case !isHost(s, a):
			return 0, failed(errdefs.ErrInvalidArgument, "", "%w: %s", ErrNoHost, a)
		default:
			return k, nil
		}
	}
	return 0, failed(errdefs.ErrInvalidArgument, "", "%w: %s", ErrOutside, a)
}

// isHost reports whether an address of a subnet can be a host's.
func isHost(s network.Subnet, a netip.Addr) bool {
	return a != s.CIDR.Masked().Addr() && (a.Is6() || a != lastOf(s.CIDR))
}

// tries is how many addresses are tried before all claims are read.
const tries = 8

// assign claims a free address of a subnet. It looks behind the one that was assigned
// last, so that one that was given back is had again as late as may be.
func (b *book) assign(k int) (netip.Addr, error) {
	s := b.network.Subnets[k]
	last := b.host.in(b.network.ID, "last-"+strconv.Itoa(k))
	start := s.First
	if text, err := os.ReadFile(last); err == nil {
		// A hint that is torn or strange is none.
		if a, err := netip.ParseAddr(string(text)); err == nil && within(s, a) {
			start = after(s, a)
		}
	}
	var taken map[string]bool
	a := start
	for i := 0; ; i++ {
		if i == tries {
			names, err := namesIn(b.host.in(b.network.ID, "taken"))
			if err != nil {
				return a, err
			}
			taken = make(map[string]bool, len(names))
			for _, name := range names {
				taken[name] = true
			}
		}
		if a != s.Gateway && isHost(s, a) && !taken[addressClaim(a)] {
			free, err := b.claim(addressClaim(a))
			if err != nil {
				return a, err
			}
			if free {
				// It is a hint alone: nothing is wrong where it is lost.
				_ = os.WriteFile(last, []byte(a.String()), private)
				return a, nil
			}
		}
		if a = after(s, a); a == start {
			return a, failed(errdefs.ErrResourceExhausted, "addresses", "%w in %s", ErrUsedUp, s.CIDR)
		}
	}
}

func within(s network.Subnet, a netip.Addr) bool {
	return s.CIDR.Contains(a) && !a.Less(s.First) && !s.Last.Less(a)
}

// after returns the next of the addresses that are assigned, the first after the last.
func after(s network.Subnet, a netip.Addr) netip.Addr {
	if a == s.Last {
		return s.First
	}
	return a.Next()
}

// mac claims a fixed MAC or makes one. It is made of the first address, so that who
// gets an address next has the MAC that neighbours may still know of it.
func (b *book) mac(fixed network.HardwareAddr, e Endpoint) (network.HardwareAddr, error) {
	if len(fixed) > 0 {
		free, err := b.claim(macClaim(fixed))
		if err == nil && !free {
			err = failed(errdefs.ErrAlreadyExists, "mac", "%w: %s", ErrMACTaken, fixed)
		}
		return fixed, err
	}
	of := e.ID
	if len(e.Addresses) > 0 {
		of = e.Addresses[0].Addr().String()
	}
	for i := 0; ; i++ {
		sum := digest("mac", b.network.ID, of, strconv.Itoa(i))
		mac := network.HardwareAddr{0x02, byte(sum >> 32), byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)}
		free, err := b.claim(macClaim(mac))
		if err != nil || free {
			return mac, err
		}
	}
}
