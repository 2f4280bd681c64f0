package network

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/univirt/univirt/resource"
)

// Protocol is a transport protocol.
type Protocol string

// The protocols of ports.
const (
	TCP Protocol = "tcp"
	UDP Protocol = "udp"
)

// Port is a port of an instance, published on the host or not.
type Port struct {
	// Name names the port within its instance, so that other calls need no
	// numbers. Optional; a DNS label that is not itself a number.
	Name string `json:"name,omitempty"`
	// Protocol is TCP by default.
	Protocol Protocol `json:"protocol,omitempty"`
	// Instance is the port inside, required.
	Instance uint16 `json:"instance"`
	// Publish makes the port reachable on the host while the instance runs. It needs
	// an address: Start fails with FailedPrecondition where no network gives one.
	Publish bool `json:"publish,omitempty"`
	// HostIP is the host's address to listen on; the zero value is loopback, so
	// that nothing is opened to others by omission. It needs Publish.
	HostIP netip.Addr `json:"hostIP,omitzero"`
	// Host is the port on the host; 0 lets the provider choose, and Info tells.
	// It needs Publish.
	Host uint16 `json:"host,omitempty"`
}

// Validate reports every fault of the port.
func (p Port) Validate() resource.Faults {
	var faults resource.Faults
	if p.Name != "" {
		faults.AddReason("name", resource.CheckName(p.Name))
		if strings.Trim(p.Name, "0123456789") == "" {
			faults.Add("name", "must not be a number")
		}
	}
	switch p.Protocol {
	case "", TCP, UDP:
	default:
		faults.Add("protocol", "must be %q or %q", TCP, UDP)
	}
	if p.Instance == 0 {
		faults.Add("instance", "must be from 1 to 65535")
	}
	if !p.Publish && p.HostIP.IsValid() {
		faults.Add("hostIP", "needs publish")
	}
	if !p.Publish && p.Host != 0 {
		faults.Add("host", "needs publish")
	}
	faults.AddReason("hostIP", checkListenAddress(p.HostIP))
	return faults
}

// ValidatePorts reports every fault of an instance's ports, those between them
// included: a name used twice, a host port taken twice.
func ValidatePorts(ports []Port) resource.Faults {
	type hostPort struct {
		protocol Protocol
		number   uint16
	}
	var faults resource.Faults
	names := make(map[string]int, len(ports))
	taken := make(map[hostPort][]int, len(ports))
	for i, p := range ports {
		field := fmt.Sprintf("[%d]", i)
		faults.Under(field, p.Validate())
		if p.Name != "" {
			if j, ok := names[p.Name]; ok {
				faults.Add(field+".name", "is that of [%d] too", j)
			} else {
				names[p.Name] = i
			}
		}
		if p.Host == 0 {
			continue
		}
		at := hostPort{p.protocol(), p.Host}
		for _, j := range taken[at] {
			if overlap(p.HostIP, ports[j].HostIP) {
				faults.Add(field+".host", "is that of [%d] too", j)
				break
			}
		}
		taken[at] = append(taken[at], i)
	}
	return faults
}

func (p Port) protocol() Protocol {
	if p.Protocol == "" {
		return TCP
	}
	return p.Protocol
}

// overlap reports whether two listeners on these addresses would meet.
func overlap(a, b netip.Addr) bool {
	switch {
	case a == b:
		return true
	case !a.IsValid():
		return b.IsLoopback() || b.IsUnspecified()
	case !b.IsValid():
		return a.IsLoopback() || a.IsUnspecified()
	}
	// A port of all addresses is one of its family: 0.0.0.0 and :: are both there
	// where both are wanted.
	return a.BitLen() == b.BitLen() && (a.IsUnspecified() || b.IsUnspecified())
}

// checkListenAddress says what is wrong with a host's address to listen on, or
// returns "".
func checkListenAddress(a netip.Addr) string {
	if a.Zone() != "" || a.IsMulticast() || a.Is4In6() {
		return "must be a unicast address, without a zone and not IPv4-mapped"
	}
	return ""
}

// String returns the port in the syntax that [ParsePort] reads, without its
// name.
func (p Port) String() string {
	var b strings.Builder
	if p.Publish {
		if p.HostIP.IsValid() {
			if p.HostIP.Is6() {
				fmt.Fprintf(&b, "[%s]:", p.HostIP)
			} else {
				fmt.Fprintf(&b, "%s:", p.HostIP)
			}
		}
		fmt.Fprintf(&b, "%d:", p.Host)
	}
	fmt.Fprintf(&b, "%d", p.Instance)
	if p.protocol() != TCP {
		fmt.Fprintf(&b, "/%s", p.Protocol)
	}
	return b.String()
}

// ParsePort reads a port:
//
//	80                    not published
//	80/udp                another protocol
//	8080:80               published on loopback
//	0:80                  published on a port that the provider chooses
//	192.0.2.1:8080:80     published on an address
//	[2001:db8::1]:8080:80 the same with IPv6
//
// The error is Faults with the field "port".
func ParsePort(text string) (Port, error) {
	fail := func(format string, args ...any) (Port, error) {
		return Port{}, resource.Faults{{Field: "port", Reason: fmt.Sprintf(format, args...) + ": " + resource.Quote(text)}}
	}
	p := Port{Protocol: TCP}
	rest, proto, found := strings.Cut(text, "/")
	if found {
		p.Protocol = Protocol(proto)
		if p.Protocol != TCP && p.Protocol != UDP {
			return fail("the protocol must be tcp or udp")
		}
	}
	if after, ok := strings.CutPrefix(rest, "["); ok {
		ip, ports, ok := strings.Cut(after, "]:")
		addr, err := netip.ParseAddr(ip)
		if !ok || err != nil || !addr.Is6() || checkListenAddress(addr) != "" {
			return fail("must begin with an IPv6 address in brackets and a colon")
		}
		p.HostIP, rest = addr, ports
		if !strings.Contains(rest, ":") {
			return fail("must name a host port and an instance port")
		}
	}
	parts := strings.Split(rest, ":")
	if len(parts) == 3 && !p.HostIP.IsValid() {
		addr, err := netip.ParseAddr(parts[0])
		if err != nil || !addr.Is4() || checkListenAddress(addr) != "" {
			return fail("must begin with an IPv4 address")
		}
		p.HostIP, parts = addr, parts[1:]
	}
	if len(parts) > 2 {
		return fail("must be [[address:]host:]instance[/protocol]")
	}
	var ok bool
	if p.Instance, ok = parsePortNumber(parts[len(parts)-1]); !ok || p.Instance == 0 {
		return fail("the instance's port must be from 1 to 65535")
	}
	if len(parts) == 2 {
		p.Publish = true
		if p.Host, ok = parsePortNumber(parts[0]); !ok {
			return fail("the host's port must be from 0 to 65535")
		}
	}
	return p, nil
}

func parsePortNumber(s string) (uint16, bool) {
	for _, c := range s {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err == nil
}
