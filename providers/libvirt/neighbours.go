package libvirt

import (
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/univirt/univirt/network"
)

// neighbours returns the addresses that a hardware address has on a bridge, as a
// kernel tells of whom it speaks with over IPv4, in /proc/PID/net/arp (see
// proc_pid_net(5)). It knows no subnet, so each stands for itself.
func neighbours(table string, mac network.HardwareAddr, bridge string) (all []netip.Prefix) {
	const complete = 0x2 // ATF_COM
	for line := range strings.Lines(table) {
		// IP address, HW type, Flags, HW address, Mask, Device
		words := strings.Fields(line)
		if len(words) != 6 || words[5] != bridge || len(all) == mostAddresses {
			continue
		}
		flags, err := strconv.ParseUint(words[2], 0, 16)
		if err != nil || flags&complete == 0 {
			continue
		}
		have, err := net.ParseMAC(words[3])
		if err != nil || !mac.Equal(network.HardwareAddr(have)) {
			continue
		}
		ip, err := netip.ParseAddr(words[0])
		if err != nil || network.CheckHostAddress(ip) != "" || ip.IsLinkLocalUnicast() {
			continue
		}
		if p := netip.PrefixFrom(ip, ip.BitLen()); !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}
