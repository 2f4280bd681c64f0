package libvirt

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// The answers of qemu-guest-agent, as https://qemu.readthedocs.io/en/latest/interop/qemu-ga-ref.html
// has them. They are the guest's, so that nothing in them is relied upon.

// startedReply is the answer to guest-exec.
type startedReply struct {
	PID int64 `json:"pid"`
}

func (r startedReply) check() error {
	if r.PID < 1 || r.PID > math.MaxInt32 {
		return fmt.Errorf("%d is no process", r.PID)
	}
	return nil
}

// statusReply is the answer to guest-exec-status.
type statusReply struct {
	Exited bool   `json:"exited"`
	Code   int64  `json:"exitcode"`
	Signal int64  `json:"signal"`
	Out    []byte `json:"out-data"`
	Err    []byte `json:"err-data"`
}

func (r statusReply) check() error {
	if r.Code < math.MinInt32 || r.Code > math.MaxUint32 {
		return fmt.Errorf("%d is no exit code", r.Code)
	}
	if r.Signal < 0 || r.Signal > 127 {
		return fmt.Errorf("%d is no signal", r.Signal)
	}
	return nil
}

// exit is how the process ended.
func (r statusReply) exit() compute.ExecExit {
	if r.Signal > 0 {
		return compute.ExecExit{Known: true, Code: 128 + int(r.Signal), Signal: compute.SignalName(int(r.Signal))}
	}
	return compute.ExecExit{Known: true, Code: int(r.Code)}
}

// handleReply is the answer to guest-file-open.
type handleReply int64

func (handleReply) check() error { return nil }

// readReply is the answer to guest-file-read.
type readReply struct {
	Count int64  `json:"count"`
	Data  []byte `json:"buf-b64"`
	EOF   bool   `json:"eof"`
}

func (r readReply) check() error {
	if r.Count != int64(len(r.Data)) || r.Count > mostRead {
		return fmt.Errorf("%d bytes are said to be %d", len(r.Data), r.Count)
	}
	return nil
}

// mostRead is how much is read at once: as base64 it is well below what libvirt
// carries in one message, which are 4 MiB.
const mostRead = 1 << 20

// hostnameReply is the answer to guest-get-host-name.
type hostnameReply struct {
	Name string `json:"host-name"`
}

func (hostnameReply) check() error { return nil }

// systemReply is the answer to guest-get-osinfo.
type systemReply struct {
	ID      string `json:"id"`
	Name    string `json:"pretty-name"`
	Version string `json:"version-id"`
	Kernel  string `json:"kernel-release"`
	Machine string `json:"machine"`
}

func (systemReply) check() error { return nil }

// told is what two answers say.
func told(name hostnameReply, system systemReply) compute.GuestInfo {
	return compute.GuestInfo{
		Hostname: oneLine(name.Name), OS: oneLine(system.ID), OSName: oneLine(system.Name), OSVersion: oneLine(system.Version),
		Kernel: oneLine(system.Kernel), Architecture: oneLine(system.Machine),
	}
}

// mostText bounds a text of a guest's.
const mostText = 256

// oneLine leaves out of a text what cannot be printed, and what is too much.
func oneLine(text string) string {
	var b strings.Builder
	for _, c := range text {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			continue
		}
		if b.Len()+utf8.RuneLen(c) > mostText {
			break
		}
		b.WriteRune(c)
	}
	return b.String()
}

// vcpusReply is the answer to guest-get-vcpus, and what guest-set-vcpus is told.
type vcpusReply []vcpu

// vcpu is a processor as a guest has it.
type vcpu struct {
	ID     int  `json:"logical-id"`
	Online bool `json:"online"`
	// Movable says that it can be put away; one that has been, can be brought up.
	Movable bool `json:"can-offline,omitempty"`
}

func (r vcpusReply) check() error {
	if len(r) == 0 || len(r) > mostCPUs {
		return fmt.Errorf("%d are no processors", len(r))
	}
	for n, c := range r {
		if c.ID < 0 || slices.ContainsFunc(r[:n], func(other vcpu) bool { return other.ID == c.ID }) {
			return fmt.Errorf("%d is no processor", c.ID)
		}
	}
	if r.online() == 0 {
		return errors.New("no processor is online")
	}
	return nil
}

func (r vcpusReply) online() (n int) {
	for _, c := range r {
		if c.Online {
			n++
		}
	}
	return n
}

// unsure reports whether some may be on their way only: the agent (QEMU 7.2) says of a
// processor that has just come, and that its kernel has not made ready to be moved, that
// it is online and stays. Of the first that is true.
func (r vcpusReply) unsure() bool {
	return slices.ContainsFunc(r, func(c vcpu) bool { return c.ID > 0 && c.Online && !c.Movable })
}

// allows reports whether a guest can put processors away until no more than a number
// are left.
func (r vcpusReply) allows(n int) bool { return r.online()-len(r.toward(n)) <= n }

// toward is what must change for a number of processors to be online, as far as they are
// there: the first come up first, and the last go first.
func (r vcpusReply) toward(n int) vcpusReply {
	all := slices.SortedFunc(slices.Values(r), func(a, b vcpu) int { return a.ID - b.ID })
	more := n - r.online()
	up := more > 0
	if !up {
		more = -more
		slices.Reverse(all)
	}
	var out vcpusReply
	for _, c := range all {
		if len(out) < more && c.Online != up && (up || c.Movable) {
			out = append(out, vcpu{ID: c.ID, Online: up})
		}
	}
	return out
}

// interfacesReply is the answer to guest-network-get-interfaces.
type interfacesReply []struct {
	MAC       string `json:"hardware-address"`
	Addresses []struct {
		IP     string `json:"ip-address"`
		Prefix int    `json:"prefix"`
	} `json:"ip-addresses"`
}

// mostAddresses is how many addresses of a card are told.
const mostAddresses = 64

// of returns the addresses of a card by which others can reach it.
func (r interfacesReply) of(mac network.HardwareAddr) []netip.Prefix {
	var all []netip.Prefix
	for _, card := range r {
		if have, err := net.ParseMAC(card.MAC); err != nil || !mac.Equal(network.HardwareAddr(have)) {
			continue
		}
		for _, a := range card.Addresses {
			ip, err := netip.ParseAddr(a.IP)
			if err != nil || network.CheckHostAddress(ip) != "" || ip.IsLinkLocalUnicast() || a.Prefix < 0 || a.Prefix > ip.BitLen() {
				continue
			}
			if p := netip.PrefixFrom(ip, a.Prefix); !slices.Contains(all, p) && len(all) < mostAddresses {
				all = append(all, p)
			}
		}
	}
	return all
}

// nothing is an answer that says no more than that it is one.
type nothing struct{}

func (nothing) check() error { return nil }

// parseReply reads an answer of the agent's.
func parseReply[T any](text string) (T, error) {
	var reply struct {
		Return *T `json:"return"`
	}
	err := json.Unmarshal([]byte(text), &reply)
	if err == nil && reply.Return == nil {
		err = errors.New("there is no answer in it")
	}
	if err == nil {
		if c, ok := any(*reply.Return).(interface{ check() error }); ok {
			err = c.check()
		}
	}
	if err != nil {
		var none T
		return none, resource.Errorf(errdefs.ErrDataLoss, "the guest's agent answers nonsense: %w", err)
	}
	return *reply.Return, nil
}
