//go:build linux && (amd64 || arm64)

package main

import (
	"syscall"
	"unsafe"
)

func isTerminal(fd uintptr) bool {
	var t syscall.Termios
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TCGETS, uintptr(unsafe.Pointer(&t)))
	return errno == 0
}

// windowSize asks the first standard stream that is a terminal.
func windowSize() (columns, rows int) {
	for fd := range uintptr(3) {
		var size struct{ rows, columns, x, y uint16 }
		_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCGWINSZ, uintptr(unsafe.Pointer(&size)))
		if errno == 0 {
			return int(size.columns), int(size.rows)
		}
	}
	return 0, 0
}
