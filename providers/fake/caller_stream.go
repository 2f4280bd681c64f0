package fake

import (
	"context"
	"io"
	"time"
)

// streamGrace is how long the end of an operation waits for a reader or writer of
// the caller's that is in the middle of a call.
const streamGrace = time.Second

// callerStream is a caller's reader or writer, whose calls end with the context and with
// the value, although those of the caller's may not. A call that blocks for longer
// than the grace is left behind, and nothing is called after it.
type callerStream struct {
	ctx context.Context
	p   *Provider
	r   io.Reader
	w   io.Writer
	// buf is what the calls read into and write from: one that is left behind may
	// still use it.
	buf    []byte
	failed error
}

func (p *Provider) readFrom(ctx context.Context, r io.Reader) *callerStream {
	return &callerStream{ctx: ctx, p: p, r: r, buf: make([]byte, chunkSize)}
}

func (p *Provider) writeTo(ctx context.Context, w io.Writer) *callerStream {
	return &callerStream{ctx: ctx, p: p, w: w, buf: make([]byte, chunkSize)}
}

// Read reads from the caller's reader.
func (s *callerStream) Read(b []byte) (int, error) {
	return s.call(func() (int, error) { return s.r.Read(s.buf[:min(len(b), len(s.buf))]) },
		func(n int) { copy(b, s.buf[:n]) })
}

// Write writes to the caller's writer.
func (s *callerStream) Write(b []byte) (int, error) {
	total := 0
	for total < len(b) {
		part := s.buf[:copy(s.buf, b[total:])]
		n, err := s.call(func() (int, error) { return s.w.Write(part) }, nil)
		total += n
		if err == nil && n < len(part) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// call makes a call in a goroutine of its own. Done is called where it returned.
func (s *callerStream) call(do func() (int, error), done func(n int)) (int, error) {
	if s.failed != nil {
		return 0, s.failed
	}
	if s.failed = s.p.open(s.ctx); s.failed != nil {
		return 0, s.failed
	}
	var n int
	var err error
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		n, err = do()
	}()
	select {
	case <-returned:
		if done != nil {
			done(n)
		}
		return n, err
	case <-s.ctx.Done():
	case <-s.p.over:
	}
	s.failed = s.p.open(s.ctx)
	grace := time.NewTimer(streamGrace)
	defer grace.Stop()
	select {
	case <-returned:
	case <-grace.C:
	}
	return 0, s.failed
}
