// Package dns is the server for names of one network: it answers what the network
// knows, asks others for the rest, and speaks with nobody outside of the network. It
// also writes the files by which an instance finds it.
package dns

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// Entry is what has addresses, with all of its names.
type Entry struct {
	// Names are labels: the first is the one that an address is told to have.
	Names     []string
	Addresses []netip.Addr
}

// Table is what a network knows. It is not changed once it is made.
type Table struct {
	addresses map[string][]netip.Addr
	names     map[netip.Addr]string
}

// NewTable makes a table. Of entries that share a name all have it.
func NewTable(entries []Entry) *Table {
	t := &Table{map[string][]netip.Addr{}, map[netip.Addr]string{}}
	for _, e := range entries {
		names := make([]string, 0, len(e.Names))
		for _, name := range e.Names {
			if name = strings.ToLower(name); name != "" && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		for _, name := range names {
			t.addresses[name] = append(t.addresses[name], e.Addresses...)
		}
		for _, a := range e.Addresses {
			if len(names) > 0 {
				t.names[a] = names[0]
			}
		}
	}
	return t
}

// Addresses returns those of a label, and whether there is such a name.
func (t *Table) Addresses(label string) ([]netip.Addr, bool) {
	if t == nil {
		return nil, false
	}
	found, ok := t.addresses[label]
	return found, ok
}

// Name returns the label of an address, or "".
func (t *Table) Name(a netip.Addr) string {
	if t == nil {
		return ""
	}
	return t.names[a]
}

// reversed returns the address that a name such as 1.0.0.10.in-addr.arpa. asks for.
func reversed(name string) (netip.Addr, bool) {
	if labels, ok := strings.CutSuffix(name, ".in-addr.arpa."); ok {
		parts := strings.Split(labels, ".")
		slices.Reverse(parts)
		a, err := netip.ParseAddr(strings.Join(parts, "."))
		return a, err == nil && a.Is4()
	}
	labels, ok := strings.CutSuffix(name, ".ip6.arpa.")
	if !ok || len(labels) != 63 {
		return netip.Addr{}, false
	}
	var text []byte
	for i := 62; i >= 0; i -= 2 {
		if i > 0 && labels[i-1] != '.' {
			return netip.Addr{}, false
		}
		if text = append(text, labels[i]); len(text)%5 == 4 && i > 0 {
			text = append(text, ':')
		}
	}
	a, err := netip.ParseAddr(string(text))
	return a, err == nil
}

// canonical is a name in lower case with a dot at its end.
func canonical(name string) string { return dns.CanonicalName(name) }
