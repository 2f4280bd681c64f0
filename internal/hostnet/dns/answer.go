package dns

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// headerSize is the least that a message has.
const headerSize = 12

// plainSize is what an answer over UDP may have where the client does not say more, and
// largestSize what it may have then: more is broken up on its way.
const (
	plainSize   = 512
	largestSize = 1232
)

// answer returns the answer to a packet, nil for none.
func (s *Server) answer(ctx context.Context, packet []byte, from netip.Addr, tcp bool) []byte {
	if len(packet) < headerSize || packet[2]&0x80 != 0 {
		return nil // no question: answers to answers would never end
	}
	var query, reply dns.Msg
	if err := query.Unpack(packet); err != nil {
		reply.Id, reply.Response, reply.Rcode = uint16(packet[0])<<8|uint16(packet[1]), true, dns.RcodeFormatError
		return pack(&reply, &query, tcp)
	}
	reply.SetReply(&query)
	reply.RecursionAvailable = true
	switch {
	case !s.isClient(from):
		reply.Rcode = dns.RcodeRefused
	case query.Opcode != dns.OpcodeQuery:
		reply.Rcode = dns.RcodeNotImplemented
	case len(query.Question) != 1:
		reply.Rcode = dns.RcodeFormatError
	case query.Question[0].Qclass != dns.ClassINET, isTransfer(query.Question[0].Qtype):
		reply.Rcode = dns.RcodeRefused
	case s.known(&reply, query.Question[0]):
	default:
		if forwarded := s.forward(ctx, &query); forwarded != nil {
			forwarded.Id, forwarded.RecursionAvailable = query.Id, true
			return pack(forwarded, &query, tcp)
		}
		reply.Rcode = dns.RcodeServerFailure
		if len(s.upstreams()) == 0 {
			reply.Rcode = dns.RcodeRefused
		}
	}
	if query.IsEdns0() != nil {
		reply.SetEdns0(largestSize, false)
	}
	return pack(&reply, &query, tcp)
}

// pack writes a message, cut to what the client takes.
func pack(m, query *dns.Msg, tcp bool) []byte {
	size := dns.MaxMsgSize
	if !tcp {
		size = plainSize
		if o := query.IsEdns0(); o != nil {
			size = min(max(size, int(o.UDPSize())), largestSize)
		}
	}
	m.Truncate(size)
	out, err := m.Pack()
	if err != nil || len(out) > size {
		return nil
	}
	return out
}

func isTransfer(kind uint16) bool {
	return kind == dns.TypeAXFR || kind == dns.TypeIXFR || kind == dns.TypeMAILA || kind == dns.TypeMAILB
}

// known answers a question that is the network's own to answer, and reports whether it
// is: of its zone, of names with one label, and of the addresses that it has.
func (s *Server) known(reply *dns.Msg, q dns.Question) bool {
	name := canonical(q.Name)
	if a, ok := reversed(name); ok {
		if !s.isClient(a) {
			return false
		}
		reply.Authoritative = true
		switch label := s.table().Name(a); {
		case label == "":
			reply.Rcode = dns.RcodeNameError
		case q.Qtype == dns.TypePTR || q.Qtype == dns.TypeANY:
			reply.Answer = []dns.RR{&dns.PTR{Hdr: header(q.Name, dns.TypePTR), Ptr: s.qualified(label)}}
		}
		return true
	}
	label, inZone := s.label(name)
	if !inZone && (q.Qtype == dns.TypeNS || q.Qtype == dns.TypeDS || q.Qtype == dns.TypeDNSKEY || q.Qtype == dns.TypeSOA) {
		return false // a question of a domain at the top, or of the root
	}
	if label == "" && !inZone {
		return false
	}
	reply.Authoritative = true
	found, exists := s.table().Addresses(label)
	if label == "" {
		exists = true // the zone itself
	}
	if !exists {
		reply.Rcode = dns.RcodeNameError
	}
	for _, a := range turned(found) {
		switch {
		case a.Is4() && (q.Qtype == dns.TypeA || q.Qtype == dns.TypeANY):
			reply.Answer = append(reply.Answer, &dns.A{Hdr: header(q.Name, dns.TypeA), A: net.IP(a.AsSlice())})
		case a.Is6() && (q.Qtype == dns.TypeAAAA || q.Qtype == dns.TypeANY):
			reply.Answer = append(reply.Answer, &dns.AAAA{Hdr: header(q.Name, dns.TypeAAAA), AAAA: net.IP(a.AsSlice())})
		}
	}
	if len(reply.Answer) == 0 && inZone {
		reply.Ns = []dns.RR{s.authority()}
	}
	return true
}

// label returns the first label of a name that the network may know, "" for others and
// for the zone itself, and whether the name is of the zone.
func (s *Server) label(name string) (label string, inZone bool) {
	if s.zone != "." {
		if name == s.zone {
			return "", true
		}
		if rest, ok := strings.CutSuffix(name, "."+s.zone); ok {
			return rest, true
		}
	}
	if rest := strings.TrimSuffix(name, "."); !strings.Contains(rest, ".") {
		return rest, false
	}
	return "", false
}

func (s *Server) qualified(label string) string {
	if s.zone == "." {
		return label + "."
	}
	return label + "." + s.zone
}

// authority says that nothing is there, and that nobody need remember it.
func (s *Server) authority() dns.RR {
	return &dns.SOA{
		Hdr: header(s.zone, dns.TypeSOA), Ns: s.zone, Mbox: "hostmaster." + s.zone,
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400,
	}
}

// header is that of a record. Nobody is to remember it: who has a name can change with
// the next packet.
func header(name string, kind uint16) dns.RR_Header {
	return dns.RR_Header{Name: name, Rrtype: kind, Class: dns.ClassINET}
}

// turned returns addresses from a random one on, so that those that share a name share
// what is asked of it.
func turned(addresses []netip.Addr) []netip.Addr {
	if len(addresses) < 2 {
		return addresses
	}
	k := rand.IntN(len(addresses))
	return slices.Concat(addresses[k:], addresses[:k])
}

func (s *Server) isClient(a netip.Addr) bool {
	return slices.ContainsFunc(s.config.Clients, func(p netip.Prefix) bool { return p.Contains(a.Unmap().WithZone("")) })
}
