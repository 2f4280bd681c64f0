//go:build !linux

package netns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
)

// Open is not there on this system.
func Open(string) (*os.File, error) { return nil, errors.ErrUnsupported }

// Dial is not there on this system.
func Dial(context.Context, *os.File, string, netip.AddrPort) (net.Conn, error) {
	return nil, errors.ErrUnsupported
}

// Do is not there on this system.
func Do(*os.File, func() error) error { return errors.ErrUnsupported }

// Reset is not there on this system.
func Reset(*net.TCPConn) error { return errors.ErrUnsupported }
