package hostnet

import (
	"errors"
	"net/netip"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// The table, in the language of nft. Each set is computed of the records; the rules are
// always the same. What is no bridge of ours falls through to the policy, which is to
// accept: whether it may pass is for others to say.
//
//	set bridges    { type ifname }               the bridges
//	set same       { type ifname . ifname }      each with itself
//	set nat        { type ifname }               those that lead outside
//	set gateways4  { type ifname . ipv4_addr }   their gateways
//	set sources4   { type ipv4_addr; interval }  the subnets of those that lead outside
//	set subnets4   { type ipv4_addr; interval }  the subnets of all
//	(gateways6, sources6 and subnets6 are the same of IPv6)
//
//	chain forward { type filter hook forward priority filter; policy accept;
//		iifname . oifname @same accept            # where bridges ask the firewall
//		iifname @bridges oifname @bridges drop
//		oifname @nat ct state established,related accept
//		iifname @nat ip saddr @sources4 accept
//		iifname @nat ip6 saddr @sources6 accept
//		iifname @bridges drop
//		oifname @bridges drop
//	}
//	chain input { type filter hook input priority filter; policy accept;
//		iifname != @bridges accept
//		ct state established,related accept
//		icmpv6 type nd-router-solicit..nd-neighbor-advert accept
//		iifname . ip daddr @gateways4 meta l4proto { tcp, udp } th dport 53 accept
//		iifname . ip6 daddr @gateways6 meta l4proto { tcp, udp } th dport 53 accept
//		iifname != @nat drop
//		iifname . ip daddr @gateways4 accept
//		iifname . ip6 daddr @gateways6 accept
//		ip daddr @subnets4 drop                   # the gateways of other networks
//		ip6 daddr @subnets6 drop
//	}
//	chain postrouting { type nat hook postrouting priority srcnat; policy accept;
//		oifname != @bridges ip saddr @sources4 masquerade
//		oifname != @bridges ip6 saddr @sources6 masquerade
//	}
//
// A chain named of_ and the folder's ID says whose the table is.

// apply writes the table anew in one transaction. Without networks there is none.
func (w *wires) apply(networks []Network) error {
	fd := 0
	if w.namespace != nil {
		fd = int(w.namespace.Fd())
	}
	conn, err := nftables.New(nftables.WithNetNSFd(fd), nftables.AsLasting())
	if err != nil {
		return w.failed("open nftables", err)
	}
	defer func() { _ = conn.CloseLasting() }()
	table := &nftables.Table{Family: nftables.TableFamilyINet, Name: w.table}
	if err := w.checkTable(conn, table); err != nil {
		return err
	}
	// Adding what may be there makes the deletion right in either case.
	conn.AddTable(table)
	conn.DelTable(table)
	if needTable(networks) {
		conn.AddTable(table)
		conn.AddChain(&nftables.Chain{Table: table, Name: w.ownerChain()})
		r := ruleset{conn: conn, table: table}
		r.sets(networks)
		r.forward()
		r.input()
		r.postrouting()
		if r.err != nil {
			return r.err
		}
	}
	return w.failed("write nftables", conn.Flush())
}

// needTable reports whether there is a bridge to have rules for.
func needTable(networks []Network) bool {
	for _, n := range networks {
		if !n.Joined() {
			return true
		}
	}
	return false
}

func (w *wires) ownerChain() string { return "of_" + w.host.home }

// checkTable refuses a table that another folder has, or somebody else. It reads the
// names of chains, as the library does not tell what else is wrong from one that is
// absent.
func (w *wires) checkTable(conn *nftables.Conn, table *nftables.Table) error {
	_, err := conn.ListTableOfFamily(table.Name, table.Family)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return w.failed("look for table "+table.Name, err)
	}
	chains, err := conn.ListChainsOfTableFamily(table.Family)
	if err != nil {
		return w.failed("look at table "+table.Name, err)
	}
	for _, c := range chains {
		if c.Table.Name == table.Name && c.Name == w.ownerChain() {
			return nil
		}
	}
	return failed(errdefs.ErrFailedPrecondition, "table", "the table %s of nftables: %w", resource.Quote(table.Name), ErrForeign)
}

// ruleset adds rules to a transaction.
type ruleset struct {
	conn  *nftables.Conn
	table *nftables.Table
	named map[string]*nftables.Set
	err   error
}

func (r *ruleset) sets(networks []Network) {
	keys := map[string][][]byte{}
	ranges := map[string][]netip.Prefix{}
	for _, n := range networks {
		if n.Joined() {
			continue
		}
		bridge := ifname(n.Bridge)
		keys["bridges"] = append(keys["bridges"], bridge)
		keys["same"] = append(keys["same"], concat(bridge, bridge))
		if n.External == network.NAT {
			keys["nat"] = append(keys["nat"], bridge)
		}
		for _, s := range n.Subnets {
			family := "4"
			if s.CIDR.Addr().Is6() {
				family = "6"
			}
			keys["gateways"+family] = append(keys["gateways"+family], concat(bridge, s.Gateway.AsSlice()))
			ranges["subnets"+family] = append(ranges["subnets"+family], s.CIDR)
			if n.External == network.NAT {
				ranges["sources"+family] = append(ranges["sources"+family], s.CIDR)
			}
		}
	}
	r.named = map[string]*nftables.Set{}
	for _, s := range []struct {
		name     string
		types    []nftables.SetDatatype
		interval bool
	}{
		{"bridges", []nftables.SetDatatype{nftables.TypeIFName}, false},
		{"same", []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeIFName}, false},
		{"nat", []nftables.SetDatatype{nftables.TypeIFName}, false},
		{"gateways4", []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeIPAddr}, false},
		{"gateways6", []nftables.SetDatatype{nftables.TypeIFName, nftables.TypeIP6Addr}, false},
		{"sources4", []nftables.SetDatatype{nftables.TypeIPAddr}, true},
		{"sources6", []nftables.SetDatatype{nftables.TypeIP6Addr}, true},
		{"subnets4", []nftables.SetDatatype{nftables.TypeIPAddr}, true},
		{"subnets6", []nftables.SetDatatype{nftables.TypeIP6Addr}, true},
	} {
		elements := elementsOf(keys[s.name], ranges[s.name])
		set := &nftables.Set{
			// The library numbers sets by a variable that connections share unguarded.
			ID:    uint32(len(r.named) + 1),
			Table: r.table, Name: s.name, Interval: s.interval, KeyType: s.types[0], KeyByteOrder: binaryutil.BigEndian,
		}
		if len(s.types) > 1 {
			set.Concatenation = true
			if set.KeyType, r.err = nftables.ConcatSetType(s.types...); r.err != nil {
				return
			}
		}
		r.named[s.name] = set
		if r.err = r.conn.AddSet(set, nil); r.err != nil {
			return
		}
		// A message holds 64 KiB.
		for len(elements) > 0 {
			some := elements[:min(len(elements), 500)]
			if r.err = r.conn.SetAddElements(set, some); r.err != nil {
				return
			}
			elements = elements[len(some):]
		}
	}
}

func elementsOf(keys [][]byte, ranges []netip.Prefix) []nftables.SetElement {
	var out []nftables.SetElement
	for _, k := range keys {
		out = append(out, nftables.SetElement{Key: k})
	}
	for _, p := range ranges {
		out = append(out, nftables.SetElement{Key: p.Addr().AsSlice()})
		// A range to the end of all addresses is open.
		if end := lastOf(p).Next(); end.IsValid() {
			out = append(out, nftables.SetElement{Key: end.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// ifname is the name of a link as the kernel compares it.
func ifname(name string) []byte {
	out := make([]byte, unix.IFNAMSIZ)
	copy(out, name)
	return out
}

func concat(a, b []byte) []byte { return append(append([]byte{}, a...), b...) }

func (r *ruleset) chain(name string, kind nftables.ChainType, hook *nftables.ChainHook, priority *nftables.ChainPriority) func(parts ...[]expr.Any) {
	accept := nftables.ChainPolicyAccept
	chain := r.conn.AddChain(&nftables.Chain{
		Table: r.table, Name: name, Type: kind, Hooknum: hook, Priority: priority, Policy: &accept,
	})
	return func(parts ...[]expr.Any) {
		var all []expr.Any
		for _, p := range parts {
			all = append(all, p...)
		}
		r.conn.AddRule(&nftables.Rule{Table: r.table, Chain: chain, Exprs: all})
	}
}

func (r *ruleset) forward() {
	rule := r.chain("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter)
	rule(meta(expr.MetaKeyIIFNAME, 1), meta(expr.MetaKeyOIFNAME, 2), r.in("same"), accept)
	rule(r.from("bridges"), r.to("bridges"), drop)
	rule(r.to("nat"), answered, accept)
	rule(r.from("nat"), ipv4, source4, r.in("sources4"), accept)
	rule(r.from("nat"), ipv6, source6, r.in("sources6"), accept)
	rule(r.from("bridges"), drop)
	rule(r.to("bridges"), drop)
}

func (r *ruleset) input() {
	rule := r.chain("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter)
	own4 := [][]expr.Any{ipv4, meta(expr.MetaKeyIIFNAME, 1), network4(16, 2), r.in("gateways4")}
	own6 := [][]expr.Any{ipv6, meta(expr.MetaKeyIIFNAME, 1), network6(24, 2), r.in("gateways6")}
	with := func(first [][]expr.Any, rest ...[]expr.Any) [][]expr.Any {
		return append(append([][]expr.Any{}, first...), rest...)
	}
	rule(meta(expr.MetaKeyIIFNAME, 1), r.notIn("bridges"), accept)
	rule(answered, accept)
	rule(ipv6, protocol(unix.IPPROTO_ICMPV6), neighbours, accept)
	for _, own := range [][][]expr.Any{own4, own6} {
		for _, p := range []byte{unix.IPPROTO_UDP, unix.IPPROTO_TCP} {
			rule(with(own, protocol(p), port53, accept)...)
		}
	}
	rule(meta(expr.MetaKeyIIFNAME, 1), r.notIn("nat"), drop)
	rule(with(own4, accept)...)
	rule(with(own6, accept)...)
	rule(ipv4, network4(16, 1), r.in("subnets4"), drop)
	rule(ipv6, network6(24, 1), r.in("subnets6"), drop)
}

func (r *ruleset) postrouting() {
	rule := r.chain("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource)
	out := meta(expr.MetaKeyOIFNAME, 1)
	rule(out, r.notIn("bridges"), ipv4, source4, r.in("sources4"), masquerade)
	rule(out, r.notIn("bridges"), ipv6, source6, r.in("sources6"), masquerade)
}

func (r *ruleset) in(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: set, SetID: r.named[set].ID}}
}

func (r *ruleset) notIn(set string) []expr.Any {
	return []expr.Any{&expr.Lookup{SourceRegister: 1, SetName: set, SetID: r.named[set].ID, Invert: true}}
}

func (r *ruleset) from(set string) []expr.Any {
	return append(meta(expr.MetaKeyIIFNAME, 1), r.in(set)...)
}

func (r *ruleset) to(set string) []expr.Any {
	return append(meta(expr.MetaKeyOIFNAME, 1), r.in(set)...)
}

func meta(key expr.MetaKey, register uint32) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: register}}
}

func equal(register uint32, data ...byte) expr.Any {
	return &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}
}

func protocol(p byte) []expr.Any { return append(meta(expr.MetaKeyL4PROTO, 1), equal(1, p)) }

// network4 and network6 load an address of the network header.
func network4(offset, register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 4}}
}

func network6(offset, register uint32) []expr.Any {
	return []expr.Any{&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: 16}}
}

var (
	accept     = []expr.Any{&expr.Verdict{Kind: expr.VerdictAccept}}
	drop       = []expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}}
	masquerade = []expr.Any{&expr.Masq{}}
	ipv4       = append(meta(expr.MetaKeyNFPROTO, 1), equal(1, unix.NFPROTO_IPV4))
	ipv6       = append(meta(expr.MetaKeyNFPROTO, 1), equal(1, unix.NFPROTO_IPV6))
	source4    = network4(12, 1)
	source6    = network6(8, 1)
	// answered is what belongs to a connection that was let through.
	answered = []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{
			SourceRegister: 1, DestRegister: 1, Len: 4, Xor: make([]byte, 4),
			Mask: binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED),
		},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
	// neighbours is the discovery of neighbours, from 133 to 136.
	neighbours = []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Len: 1},
		&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{133}},
		&expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{136}},
	}
	port53 = []expr.Any{
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
		equal(1, 0, 53),
	}
)
