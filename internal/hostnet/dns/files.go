package dns

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// Resolver is what a resolv.conf says.
type Resolver struct {
	Servers []netip.Addr
	Search  []string
	Options []string
}

// ParseResolver reads a resolv.conf as libc does: what it does not understand it passes
// over, and of several lists of domains the last counts.
func ParseResolver(text string) Resolver {
	var r Resolver
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, "#") || strings.HasPrefix(line, ";") {
			continue
		}
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if a, err := netip.ParseAddr(words[1]); err == nil && !a.IsMulticast() {
				r.Servers = append(r.Servers, a.Unmap())
			}
		case "domain":
			r.Search = words[1:2]
		case "search":
			r.Search = words[1:]
		case "options":
			r.Options = append(r.Options, words[1:]...)
		}
	}
	return r
}

// mostServers is how many of a resolv.conf libc asks.
const mostServers = 3

// HostUpstreams returns a function for Config: the servers of a resolv.conf, but for the
// addresses given, which are our own. The file is read again when it has changed. Where
// it cannot be read there are none.
func HostUpstreams(path string, own []netip.Addr) func() []netip.AddrPort {
	var mu sync.Mutex
	var have []netip.AddrPort
	var at time.Time
	var size int64
	return func() []netip.AddrPort {
		mu.Lock()
		defer mu.Unlock()
		info, err := os.Stat(path)
		if err != nil {
			return nil
		}
		if info.ModTime().Equal(at) && info.Size() == size {
			return have
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil
		}
		have, at, size = nil, info.ModTime(), info.Size()
		for _, a := range ParseResolver(string(text)).Servers {
			if a.IsUnspecified() {
				a = netip.AddrFrom4([4]byte{127, 0, 0, 1}) // what libc takes it for
			}
			if !slices.Contains(own, a) && len(have) < mostServers {
				have = append(have, netip.AddrPortFrom(a, 53))
			}
		}
		return have
	}
}

// Text returns the content of a resolv.conf. A domain or an option that would be more
// than one word is an error.
func (r Resolver) Text() ([]byte, error) {
	var b strings.Builder
	for _, a := range r.Servers {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	for _, list := range []struct {
		name  string
		words []string
	}{{"search", r.Search}, {"options", r.Options}} {
		if len(list.words) == 0 {
			continue
		}
		b.WriteString(list.name)
		for _, word := range list.words {
			if err := checkWord(word); err != nil {
				return nil, err
			}
			b.WriteString(" " + word)
		}
		b.WriteString("\n")
	}
	return []byte(b.String()), nil
}

// HostLine is a line of a hosts file.
type HostLine struct {
	Address netip.Addr
	Names   []string
}

// HostsText returns the content of a hosts file: loopback, and the lines given. A name
// that would be more than one word is an error.
func HostsText(lines []HostLine) ([]byte, error) {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n")
	for _, line := range lines {
		if !line.Address.IsValid() || len(line.Names) == 0 {
			return nil, fmt.Errorf("a line of hosts needs an address and a name")
		}
		for _, name := range line.Names {
			if err := checkWord(name); err != nil {
				return nil, err
			}
		}
		fmt.Fprintf(&b, "%s\t%s\n", line.Address, strings.Join(line.Names, " "))
	}
	return []byte(b.String()), nil
}

func checkWord(word string) error {
	if word == "" || strings.ContainsFunc(word, func(c rune) bool { return c <= ' ' || c > '~' || c == '#' || c == ';' }) {
		return fmt.Errorf("%q is no word for a file of names", word)
	}
	return nil
}
