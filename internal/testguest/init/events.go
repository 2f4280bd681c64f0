//go:build linux && amd64

package main

import (
	"strings"

	"golang.org/x/sys/unix"
)

// event is what the kernel says of a device: ACTION, DEVPATH, SUBSYSTEM and more.
type event map[string]string

// listen has the kernel's events sent to a channel from now on.
func listen(to chan<- event) error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.NETLINK_KOBJECT_UEVENT)
	if err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}); err != nil {
		return err
	}
	// A burst must fit: what is dropped is never said again.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		return err
	}
	go func() {
		for buffer := make([]byte, 8192); ; {
			n, err := unix.Read(fd, buffer)
			if err == unix.EINTR || err == unix.ENOBUFS {
				continue
			}
			if err != nil {
				warn("listen to the kernel", err)
				return
			}
			e := event{}
			for field := range strings.SplitSeq(string(buffer[:n]), "\x00") {
				if name, value, ok := strings.Cut(field, "="); ok {
					e[name] = value
				}
			}
			to <- e
		}
	}()
	return nil
}
