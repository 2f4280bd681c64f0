package libvirt

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/network"
)

const arpTable = `IP address       HW type     Flags       HW address            Mask     Device
10.1.2.3         0x1         0x2         52:54:00:01:02:03     *        br-lan
10.1.2.4         0x1         0x0         00:00:00:00:00:00     *        br-lan
10.1.2.5         0x1         0x2         52:54:00:01:02:04     *        br-lan
10.9.9.9         0x1         0x2         52:54:00:01:02:03     *        br-other
10.1.2.6         0x1         0x6         52:54:00:01:02:03     *        br-lan
169.254.1.1      0x1         0x2         52:54:00:01:02:03     *        br-lan
127.0.0.1        0x1         0x2         52:54:00:01:02:03     *        br-lan
10.1.2.7         0x1         what        52:54:00:01:02:03     *        br-lan
10.1.2.3         0x1         0x2         52:54:00:01:02:03     *        br-lan
`

func TestNeighbours(t *testing.T) {
	mac := network.HardwareAddr{0x52, 0x54, 0, 1, 2, 3}
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.1.2.3/32"), netip.MustParsePrefix("10.1.2.6/32")}, neighbours(arpTable, mac, "br-lan"))
	assert.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.9.9.9/32")}, neighbours(arpTable, mac, "br-other"))
	assert.Empty(t, neighbours(arpTable, network.HardwareAddr{2, 0, 0, 0, 0, 1}, "br-lan"))
	assert.Empty(t, neighbours("", mac, "br-lan"))
}

// FuzzNeighbours holds that what is told are addresses of hosts, few and each once.
func FuzzNeighbours(f *testing.F) {
	f.Add(arpTable, []byte{0x52, 0x54, 0, 1, 2, 3}, "br-lan")
	f.Add("::1 0x1 0x2 52:54:00:01:02:03 * br\n", []byte{0x52, 0x54, 0, 1, 2, 3}, "br")
	f.Fuzz(func(t *testing.T, table string, mac []byte, bridge string) {
		all := neighbours(table, mac, bridge)
		require.LessOrEqual(t, len(all), mostAddresses)
		seen := map[netip.Prefix]bool{}
		for _, p := range all {
			require.Empty(t, network.CheckHostAddress(p.Addr()))
			require.True(t, p.IsSingleIP())
			require.False(t, seen[p])
			seen[p] = true
		}
	})
}
