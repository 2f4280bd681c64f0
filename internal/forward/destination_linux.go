package forward

import (
	"net"
	"unsafe"

	"golang.org/x/sys/unix"
)

// controlSize is room for the control message that tells where a datagram was sent to.
const controlSize = 64

// wantDestination has a socket tell where each datagram was sent to.
func wantDestination(conn *net.UDPConn, six bool) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if six {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), level, option, 1) }); err != nil {
		return err
	}
	return set
}

// answerFrom makes of the control message of a datagram that of its answer, which
// comes from where the datagram was sent to. Which way it takes is the kernel's to
// choose.
func answerFrom(control []byte, six bool) []byte {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		switch {
		case !six && m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_PKTINFO && len(m.Data) >= unix.SizeofInet4Pktinfo:
			info := *(*unix.Inet4Pktinfo)(unsafe.Pointer(&m.Data[0]))
			return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: info.Spec_dst})
		case six && m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo:
			info := *(*unix.Inet6Pktinfo)(unsafe.Pointer(&m.Data[0]))
			if !net.IP(info.Addr[:]).IsLinkLocalUnicast() {
				info.Ifindex = 0
			}
			return unix.PktInfo6(&info)
		}
	}
	return nil
}
