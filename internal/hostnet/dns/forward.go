package dns

import (
	"context"
	"net/netip"
	"time"

	"github.com/miekg/dns"
)

// patience is how long one upstream is waited for, and all of them together.
const (
	patience      = 2 * time.Second
	wholePatience = 5 * time.Second
)

func (s *Server) upstreams() []netip.AddrPort {
	if s.config.Upstreams == nil {
		return nil
	}
	return s.config.Upstreams()
}

// forward asks the upstreams one after the other and returns the first answer, nil
// where there is none or too much is being asked already. An answer that was cut is
// asked for again over TCP.
func (s *Server) forward(ctx context.Context, query *dns.Msg) *dns.Msg {
	select {
	case s.forwards <- struct{}{}:
		defer func() { <-s.forwards }()
	default:
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, wholePatience)
	defer cancel()
	for _, upstream := range s.upstreams() {
		ask := query.Copy()
		ask.Id = dns.Id() // the client's could be guessed
		ask.RecursionDesired = true
		reply := exchange(ctx, "udp", ask, upstream)
		if reply != nil && reply.Truncated {
			if whole := exchange(ctx, "tcp", ask, upstream); whole != nil {
				reply = whole
			}
		}
		if reply != nil && reply.Rcode != dns.RcodeServerFailure && reply.Rcode != dns.RcodeRefused {
			return reply
		}
	}
	return nil
}

// exchange asks one upstream and returns what is an answer to the question.
func exchange(ctx context.Context, protocol string, ask *dns.Msg, upstream netip.AddrPort) *dns.Msg {
	client := dns.Client{Net: protocol, Timeout: patience, UDPSize: largestSize}
	reply, _, err := client.ExchangeContext(ctx, ask, upstream.String())
	if err != nil || !reply.Response || len(reply.Question) != 1 {
		return nil
	}
	got, want := reply.Question[0], ask.Question[0]
	if canonical(got.Name) != canonical(want.Name) || got.Qtype != want.Qtype || got.Qclass != want.Qclass {
		return nil
	}
	return reply
}
