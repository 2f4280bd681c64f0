package hostnet

import (
	"encoding/base32"
	"encoding/binary"
	"net"
	"strings"
)

// link is a link that is this folder's.
type link struct {
	name string
	// master is the bridge that it is on, or empty.
	master string
}

// The name of a link is made of what it belongs to, so that whoever finds one undone
// finds it again: the prefix, "b" for a bridge or "e" for an endpoint, and 50 bits.
func (h *Host) bridgeName(network string) string { return h.linkName("b", network) }

func (h *Host) endpointName(endpoint string) string { return h.linkName("e", endpoint) }

func (h *Host) linkName(kind, id string) string {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], digest("link", h.home, id))
	text := base32.HexEncoding.EncodeToString(sum[:])
	return h.prefix + kind + strings.ToLower(text[:10])
}

// mark is the MAC of this folder's link of a name. The kernel sets it as it makes the
// link, unlike an alias, so no kill leaves a link that cannot be told from a foreign
// one; and a bridge keeps its MAC whatever is plugged into it.
func (h *Host) mark(name string) net.HardwareAddr {
	var sum [8]byte
	binary.BigEndian.PutUint64(sum[:], digest("mark", h.home, name))
	return append(net.HardwareAddr{sum[0]&^1 | 2}, sum[1:6]...)
}

// alias says to people, and where a MAC was changed to us, whose a link is.
func (h *Host) alias(what, id string) string { return h.aliasPrefix() + what + " " + id }

func (h *Host) aliasPrefix() string { return "univirt " + h.home + " " }

// isOurs reports whether a link with the name of one of ours is one.
func (h *Host) isOurs(name string, mac net.HardwareAddr, alias string) bool {
	if alias != "" {
		return strings.HasPrefix(alias, h.aliasPrefix())
	}
	return mac.String() == h.mark(name).String()
}
