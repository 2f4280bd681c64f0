package hostnet

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
)

// pools are the private ranges that IPv4 subnets are chosen from, /24 each.
var pools = []netip.Prefix{
	netip.MustParsePrefix("10.128.0.0/9"),
	netip.MustParsePrefix("172.16.0.0/12"),
	netip.MustParsePrefix("192.168.0.0/16"),
}

// planSubnets completes the subnets that are given and chooses those that are not.
func (h *Host) planSubnets(n *Network, spec NetworkSpec, others []Network) error {
	addresses, routes, err := h.kernel.inUse()
	if err != nil {
		return err
	}
	var taken []netip.Prefix
	for _, o := range others {
		for _, s := range o.Subnets {
			taken = append(taken, s.CIDR)
		}
	}
	for i, s := range spec.Subnets {
		field := fmt.Sprintf("subnets[%d].cidr", i)
		if other, ok := overlap(s.CIDR, taken); ok {
			return failed(errdefs.ErrAlreadyExists, field, "%s overlaps %s of another network", s.CIDR, other)
		}
		// What is joined is where the host has an address.
		if other, ok := overlap(s.CIDR, addresses); ok && !n.Joined() {
			return failed(errdefs.ErrAlreadyExists, field, "%s overlaps %s, in which the host has an address", s.CIDR, other)
		}
		n.Subnets = append(n.Subnets, complete(s))
	}
	for _, s := range n.Subnets {
		taken = append(taken, s.CIDR)
	}
	taken = slices.Concat(taken, addresses, routes)
	choose := func(from func(id string, taken []netip.Prefix) (netip.Prefix, bool)) error {
		cidr, ok := from(n.ID, taken)
		if !ok {
			return failed(errdefs.ErrResourceExhausted, "subnets", "no private range is free")
		}
		n.Subnets = append(n.Subnets, complete(network.Subnet{CIDR: cidr}))
		return nil
	}
	if spec.ChooseIPv4 || len(spec.Subnets) == 0 && !spec.ChooseIPv6 && !n.Joined() {
		if err := choose(chooseIPv4); err != nil {
			return err
		}
	}
	if spec.ChooseIPv6 {
		return choose(h.chooseIPv6)
	}
	return nil
}

// overlap returns the first of the ranges that shares an address with one. The range
// of all addresses, which a default route has, is no range.
func overlap(p netip.Prefix, with []netip.Prefix) (netip.Prefix, bool) {
	for _, other := range with {
		if other.Bits() > 0 && p.Overlaps(other) {
			return other, true
		}
	}
	return netip.Prefix{}, false
}

// chooseIPv4 chooses a free range of 256 addresses. Where it begins to look is made
// of the network's ID, so that a host within another is unlikely to choose the same.
func chooseIPv4(id string, taken []netip.Prefix) (netip.Prefix, bool) {
	start := digest("subnet", id)
	for _, pool := range pools {
		count := uint32(1) << (24 - pool.Bits())
		first := binary.BigEndian.Uint32(pool.Addr().AsSlice())
		for i := range count {
			var a [4]byte
			binary.BigEndian.PutUint32(a[:], first+(uint32(start)+i)%count<<8)
			p := netip.PrefixFrom(netip.AddrFrom4(a), 24)
			if _, used := overlap(p, taken); !used {
				return p, true
			}
		}
	}
	return netip.Prefix{}, false
}

// chooseIPv6 chooses a range of a unique local prefix that is the folder's (RFC 4193).
func (h *Host) chooseIPv6(id string, taken []netip.Prefix) (netip.Prefix, bool) {
	start := digest("subnet", id)
	for i := range uint64(1 << 16) {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], digest("site", h.home)<<16>>8|0xfd<<56)
		binary.BigEndian.PutUint16(a[6:], uint16(start+i))
		p := netip.PrefixFrom(netip.AddrFrom16(a), 64)
		if _, used := overlap(p, taken); !used {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// digest makes a number of texts, which are not mixed up with one another.
func digest(texts ...string) uint64 {
	sum := sha256.New()
	for _, t := range texts {
		fmt.Fprintf(sum, "%d:%s", len(t), t)
	}
	return binary.BigEndian.Uint64(sum.Sum(nil))
}
