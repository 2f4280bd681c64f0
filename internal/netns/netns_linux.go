package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Open returns a file that stands for the network namespace at a path such as
// /proc/1/ns/net; nil where that is this process's own.
func Open(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	its, err := f.Stat()
	own, err2 := os.Stat("/proc/self/ns/net")
	if err := errors.Join(err, err2); err != nil || os.SameFile(its, own) {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

// Dial connects to an address by "tcp" or "udp", from the network namespace that the
// file stands for; from this process's own where it is nil. A socket belongs to the
// namespace it was made in, wherever it is used.
func Dial(ctx context.Context, namespace *os.File, protocol string, to netip.AddrPort) (net.Conn, error) {
	fail := func(err error) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: protocol, Addr: remote(protocol, to), Err: err}
	}
	if err := ctx.Err(); err != nil {
		return fail(err)
	}
	fd, err := socket(namespace, protocol, to.Addr())
	if err != nil {
		return fail(err)
	}
	f := os.NewFile(uintptr(fd), "socket")
	defer f.Close() // the connection has a copy
	if err := connect(ctx, f, to); err != nil {
		return fail(err)
	}
	conn, err := net.FileConn(f)
	if err != nil {
		return fail(err)
	}
	return conn, nil
}

func remote(protocol string, to netip.AddrPort) net.Addr {
	if protocol == "udp" {
		return net.UDPAddrFromAddrPort(to)
	}
	return net.TCPAddrFromAddrPort(to)
}

// socket makes a socket for an address.
func socket(namespace *os.File, protocol string, to netip.Addr) (fd int, err error) {
	domain, kind := unix.AF_INET, unix.SOCK_STREAM
	if to.Is6() {
		domain = unix.AF_INET6
	}
	if protocol == "udp" {
		kind = unix.SOCK_DGRAM
	}
	err = Do(namespace, func() error {
		fd, err = unix.Socket(domain, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return os.NewSyscallError("socket", err)
	})
	return fd, err
}

// Do does something in the network namespace that the file stands for; in this
// process's own where it is nil. What is opened meanwhile belongs there. The function
// must begin no goroutine that is to be in there too.
func Do(namespace *os.File, do func() error) error {
	if namespace == nil {
		return do()
	}
	done := make(chan error)
	// The goroutine is for this alone: if its thread does not find back it ends with
	// it.
	go func() { done <- enter(namespace, do) }()
	return <-done
}

func enter(namespace *os.File, do func() error) error {
	runtime.LockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer own.Close()
	if err := unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("enter %s: %w", namespace.Name(), err)
	}
	err = do()
	if unix.Setns(int(own.Fd()), unix.CLONE_NEWNET) == nil {
		runtime.UnlockOSThread()
	}
	return err
}

// connect connects a socket.
func connect(ctx context.Context, f *os.File, to netip.AddrPort) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var began error
	if err := raw.Control(func(fd uintptr) { began = unix.Connect(int(fd), sockaddr(to)) }); err != nil {
		return err
	}
	if !errors.Is(began, unix.EINPROGRESS) && !errors.Is(began, unix.EINTR) {
		return os.NewSyscallError("connect", began)
	}
	stop := context.AfterFunc(ctx, func() { _ = f.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		number, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err == nil && number != 0 {
			err = syscall.Errno(number)
		}
		if err == nil {
			if _, err := unix.Getpeername(int(fd)); err != nil {
				return false // not yet
			}
		}
		failed = err
		return true
	})
	if err != nil && ctx.Err() != nil {
		return ctx.Err()
	}
	return errors.Join(err, os.NewSyscallError("connect", failed))
}

func sockaddr(to netip.AddrPort) unix.Sockaddr {
	if to.Addr().Is6() {
		return &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}
	}
	return &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
}

// Reset ends a connection as a peer does that resets it: whoever reads or writes is
// told ECONNRESET.
func Reset(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = raw.Control(func(fd uintptr) {
		none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
		_, _, errno = unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
	})
	if err == nil && errno != 0 {
		err = os.NewSyscallError("connect", errno)
	}
	return err
}
