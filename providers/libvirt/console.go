//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"os"
	"sync"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Consoler = (*instance)(nil)

// Console implements compute.Consoler. Libvirt keeps the connections apart, those
// of other processes too.
func (i *instance) Console(ctx context.Context, opts compute.ConsoleOptions) (io.ReadWriteCloser, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, i.fail("console", err)
	}
	defer done()
	c, err := i.console(ctx, opts)
	if err != nil {
		return nil, i.fail("console", err)
	}
	return c, nil
}

func (i *instance) console(ctx context.Context, opts compute.ConsoleOptions) (*console, error) {
	if i.p.inProcess() {
		return nil, resource.Unsupported("console", noGuests)
	}
	if err := i.reach(ctx); err != nil {
		return nil, err
	}
	flags := lv.DOMAIN_CONSOLE_SAFE
	if opts.TakeOver {
		flags |= lv.DOMAIN_CONSOLE_FORCE
	}
	type answer struct {
		c   *console
		err error
	}
	// A connection of its own: one call at a time is made of the others.
	answered := make(chan answer)
	i.p.detached.Go(func() {
		c, err := i.p.openConsole(i.id, flags)
		select {
		case answered <- answer{c, translate(err)}:
		case <-ctx.Done():
			if err == nil {
				c.release()
			}
			return
		}
		if err == nil {
			select {
			case <-c.closing:
			case <-i.p.alive.Done():
				c.end(errClosed())
			}
			c.release()
		}
	})
	select {
	case a := <-answered:
		if isNotFound(a.err) {
			a.err = errNotFound()
		}
		return a.c, a.err
	case <-ctx.Done():
		return nil, ended(ctx)
	}
}

// openConsole connects to the console of a domain. Its caller releases it.
func (p *Provider) openConsole(id string, flags lv.DomainConsoleFlags) (_ *console, err error) {
	c := &console{closing: make(chan struct{}), released: make(chan struct{})}
	c.changed.L = &c.mu
	defer func() {
		if err != nil {
			c.release()
		}
	}()
	if c.conn, err = p.link.another(); err != nil {
		return nil, err
	}
	d, err := c.conn.LookupDomainByUUIDString(id)
	if err != nil {
		return nil, err
	}
	defer d.Free()
	if c.stream, err = c.conn.NewStream(lv.STREAM_NONBLOCK); err != nil {
		return nil, err
	}
	if err := d.OpenConsole("", c.stream, flags); err != nil {
		return nil, err
	}
	if err := c.stream.EventAddCallback(always|lv.STREAM_EVENT_READABLE, c.happened); err != nil {
		return nil, err
	}
	c.heard = true
	return c, nil
}

const (
	always = lv.STREAM_EVENT_ERROR | lv.STREAM_EVENT_HANGUP
	// mostUnread is how much of a console is kept that nobody reads.
	mostUnread = 64 << 10
)

// console is a connection to a serial console. Libvirt's event loop fills it, so
// that nobody waits within libvirt, from where nothing but the end of the stream
// would lead.
type console struct {
	conn   *lv.Connect
	stream *lv.Stream
	// heard says that the stream's events are.
	heard bool
	// closing is closed when the connection is to end, and released when it has.
	closing, released chan struct{}

	mu      sync.Mutex
	changed sync.Cond
	unread  []byte
	// over is why nothing more comes; nil as long as something may.
	over error
	// full says that nothing is taken from the stream, and writable that something
	// may be given to it.
	full, writable bool
}

// happened is called by libvirt's event loop, which must not wait.
func (c *console) happened(s *lv.Stream, events lv.StreamEventType) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closing:
		return
	default:
	}
	defer c.changed.Broadcast()
	if events&lv.STREAM_EVENT_WRITABLE != 0 {
		c.writable = true
	}
	buffer := make([]byte, 4<<10)
	for events&(lv.STREAM_EVENT_READABLE|always) != 0 && c.over == nil && len(c.unread) < mostUnread {
		n, err := s.Recv(buffer)
		if n > 0 {
			c.unread = append(c.unread, buffer[:n]...)
			continue
		}
		if err != nil {
			// How the end of a run shows is not the same from one time to the next.
			c.over = io.EOF
		}
		break
	}
	if events&always != 0 && c.over == nil {
		c.over = io.EOF
	}
	c.full = len(c.unread) >= mostUnread
	c.listen(s)
}

// listen hears of what is of use.
func (c *console) listen(s *lv.Stream) {
	events := lv.StreamEventType(0)
	if c.over == nil {
		events = always
		if !c.full {
			events |= lv.STREAM_EVENT_READABLE
		}
		if !c.writable {
			events |= lv.STREAM_EVENT_WRITABLE
		}
	}
	_ = s.EventUpdateCallback(events)
}

// Read implements io.Reader.
func (c *console) Read(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.unread) == 0 && c.over == nil {
		c.changed.Wait()
	}
	if len(c.unread) == 0 {
		return 0, c.over
	}
	n := copy(p, c.unread)
	c.unread = c.unread[n:]
	if c.full && len(c.unread) == 0 && c.over == nil {
		c.full = false
		c.listen(c.stream)
	}
	return n, nil
}

// Write implements io.Writer.
func (c *console) Write(p []byte) (written int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for written < len(p) {
		if c.over != nil {
			return written, errors.Join(io.ErrClosedPipe, c.over)
		}
		n, err := c.stream.Send(p[written:])
		if err != nil {
			return written, translate(err)
		}
		if n > 0 {
			written += n
			continue
		}
		for c.writable = false; !c.writable && c.over == nil; {
			c.listen(c.stream)
			c.changed.Wait()
		}
	}
	return written, nil
}

// Close implements io.Closer. There is room for another connection then.
func (c *console) Close() error {
	c.end(os.ErrClosed)
	<-c.released
	return nil
}

// end has reads and writes end.
func (c *console) end(why error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.closing:
		return
	default:
	}
	close(c.closing)
	if c.over == nil || why == os.ErrClosed {
		c.over, c.unread = why, nil
	}
	c.changed.Broadcast()
}

// release gives back what the connection holds, when nobody uses it any more.
func (c *console) release() {
	defer close(c.released)
	if c.heard {
		c.end(io.EOF)
		_ = c.stream.EventRemoveCallback()
	}
	// A callback that is under way holds the lock until it has done with the stream.
	c.mu.Lock()
	stream := c.stream
	c.mu.Unlock()
	if stream != nil {
		_ = stream.Abort()
		_ = stream.Free()
	}
	if c.conn != nil {
		_, _ = c.conn.Close()
	}
}
