package fake

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// conn is one end of a connection. As with TCP, what was written waits in a buffer
// for the other end, each direction can be ended by itself, and what an end that is
// closed has written can still be read.
type conn struct {
	in, out       *pipe
	local, remote *net.TCPAddr
	// p is the process that holds the end; nil outside of instances.
	p *Process
	// count is told how many bytes were received and sent; nil where nobody counts.
	count func(received, sent int)

	reading, writing deadline
	// sent is done when this end writes no more.
	sent, closed sync.Once
}

var _ net.Conn = (*conn)(nil)

// newConn makes both ends of a connection.
func newConn(from, to *net.TCPAddr) (near, far *conn) {
	there, back := newPipe(pipeSize, 1), newPipe(pipeSize, 1)
	return &conn{in: back, out: there, local: from, remote: to}, &conn{in: there, out: back, local: to, remote: from}
}

// LocalAddr returns this end's address.
func (c *conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr returns the other end's.
func (c *conn) RemoteAddr() net.Addr { return c.remote }

// fail says what ended a read or write.
func (c *conn) fail(op string, d *deadline, err error) error {
	switch {
	case err == nil, err == io.EOF:
		return err
	case d.ended():
		err = net.ErrClosed
	case errors.Is(err, io.ErrClosedPipe):
		err = syscall.EPIPE
	}
	return &net.OpError{Op: op, Net: "tcp", Source: c.local, Addr: c.remote, Err: err}
}

// pass waits while the instance of this end is paused.
func (c *conn) pass() error {
	if c.p != nil && c.p.pass() != nil {
		return net.ErrClosed
	}
	return nil
}

// Read reads what the other end wrote.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.move(b, &c.reading, c.in.read)
	if n > 0 && c.count != nil {
		c.count(n, 0)
	}
	return n, c.fail("read", &c.reading, err)
}

// Write writes to the other end; it waits while the buffer is full.
func (c *conn) Write(b []byte) (int, error) {
	n, err := c.move(b, &c.writing, c.out.write)
	if n > 0 && c.count != nil {
		c.count(0, n)
	}
	return n, c.fail("write", &c.writing, err)
}

// move reads or writes until the deadline.
func (c *conn) move(b []byte, d *deadline, io func([]byte, <-chan struct{}) (int, error)) (int, error) {
	if err := c.pass(); err != nil {
		return 0, err
	}
	passed := d.wait()
	select {
	case <-passed:
		return 0, os.ErrDeadlineExceeded
	default:
	}
	n, err := io(b, passed)
	if stuck := c.pass(); stuck != nil {
		return n, stuck
	}
	select {
	case <-passed:
		if err != nil {
			err = os.ErrDeadlineExceeded
		}
	default:
	}
	return n, err
}

// CloseWrite tells the other end that nothing more comes; reading goes on.
func (c *conn) CloseWrite() error {
	c.sent.Do(c.out.leave)
	c.writing.end()
	return nil
}

// Close ends the connection. Closing twice is net.ErrClosed.
func (c *conn) Close() error {
	if c.p != nil {
		c.p.sockets.release(c)
	}
	if c.reading.ended() {
		return c.fail("close", &c.reading, net.ErrClosed)
	}
	c.shut()
	return nil
}

func (c *conn) shut() {
	c.closed.Do(func() {
		_ = c.CloseWrite()
		c.in.breakOff()
		c.reading.end()
	})
}

// SetDeadline bounds reads and writes; see net.Conn.
func (c *conn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

// SetReadDeadline bounds reads, those under way too.
func (c *conn) SetReadDeadline(t time.Time) error {
	return c.fail("set", &c.reading, c.reading.set(t))
}

// SetWriteDeadline bounds writes, those under way too.
func (c *conn) SetWriteDeadline(t time.Time) error {
	err := c.writing.set(t)
	if err != nil && !c.reading.ended() {
		// Only this direction has ended: there is nothing left to bound.
		return nil
	}
	return c.fail("set", &c.writing, err)
}

// deadline is a time after which reads or writes fail. The zero value is none.
type deadline struct {
	mu    sync.Mutex
	timer *time.Timer
	// passed is closed when the time has come; nil until somebody waits.
	passed chan struct{}
	over   bool
	// shut says that it never moves again.
	shut bool
}

// wait returns a channel that is closed when the time has come.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.channel()
}

func (d *deadline) channel() chan struct{} {
	if d.passed == nil {
		d.passed = make(chan struct{})
	}
	return d.passed
}

// come is called when the time has come. It is locked.
func (d *deadline) come() {
	if !d.over {
		d.over = true
		close(d.channel())
	}
}

// set sets the time; the zero time is none.
func (d *deadline) set(t time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return net.ErrClosed
	}
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if left := time.Until(t); !t.IsZero() && left <= 0 {
		d.come()
		return nil
	} else if !t.IsZero() {
		var timer *time.Timer
		timer = time.AfterFunc(left, func() {
			d.mu.Lock()
			defer d.mu.Unlock()
			// Another time may have been set while this one came.
			if d.timer == timer {
				d.come()
			}
		})
		d.timer = timer
	}
	if d.over {
		d.over, d.passed = false, nil
	}
	return nil
}

// end has every read or write fail from now on.
func (d *deadline) end() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = true
	if d.timer != nil {
		d.timer.Stop()
	}
	d.come()
}

func (d *deadline) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.shut
}
