package hostnet

import (
	"context"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/univirt/univirt/internal/hostnet/dns"
)

// settled is after what time a folder that has changed since has another time of its
// change: clocks of files tick ten times as often at least.
const settled = 100 * time.Millisecond

// Table returns a function that returns the names of a network, for its server. They
// are read again when an endpoint came or went, whoever did it. What cannot be read
// leaves those that were read last.
func (h *Host) Table(networkID string) func() *dns.Table {
	var mu sync.Mutex
	have := dns.NewTable(nil)
	var at, read time.Time
	return func() *dns.Table {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(h.in(networkID, "endpoints"))
		if isAbsent(err) {
			return dns.NewTable(nil)
		}
		if err != nil || info.ModTime().Equal(at) && read.Sub(at) > settled {
			return have
		}
		begun := time.Now()
		var entries []dns.Entry
		for e, err := range h.Endpoints(context.Background(), networkID) {
			if err != nil {
				return have
			}
			entry := dns.Entry{Names: append([]string{e.Name}, e.Aliases...)}
			for _, p := range e.Addresses {
				entry.Addresses = append(entry.Addresses, p.Addr())
			}
			entries = append(entries, entry)
		}
		have, at, read = dns.NewTable(entries), info.ModTime(), begun
		return have
	}
}

// Clients returns the ranges of a network's subnets, for its server.
func (n Network) Clients() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Subnets {
		out = append(out, s.CIDR)
	}
	return out
}
