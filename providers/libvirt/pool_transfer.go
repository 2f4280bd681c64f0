//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
)

// transfer makes a call that takes as long as a stream does: on a connection of its
// own, so that others do not wait; the last one that was of use is kept for the next.
// When the context ends, the call goes on until it has seen that: the file is in use
// until then, so that is awaited for a moment, and Close waits for it.
func transfer[T any](ctx context.Context, p *Provider, do func(context.Context, *lv.Connect) (T, error)) (T, error) {
	var none T
	if err := straysOf(ctx).await(ctx); err != nil {
		return none, ended(ctx)
	}
	s, err := p.link.session(ctx)
	if err != nil {
		return none, err
	}
	leave, ok := s.enter()
	if !ok {
		return none, resource.Errorf(errdefs.ErrUnavailable, "%w", errLost)
	}
	work := func(c *lv.Connect) (T, error) { return do(ctx, c) }
	if p.line != nil {
		work = broken(p.line, work)
	}
	type answer struct {
		value T
		err   error
	}
	answered, over := make(chan answer, 1), make(chan struct{})
	p.detached.Go(func() {
		defer leave()
		defer close(over)
		conn := s.takeSpare()
		if conn == nil {
			if conn, err = p.link.another(); err != nil {
				answered <- answer{none, err}
				return
			}
		}
		value, err := work(conn)
		answered <- answer{value, err}
		s.putSpare(conn, err == nil)
	})
	select {
	case a := <-answered:
		if a.err != nil && ctx.Err() != nil {
			return none, ended(ctx)
		}
		return a.value, translate(a.err)
	case <-ctx.Done():
	}
	patience := time.NewTimer(settleTime)
	defer patience.Stop()
	select {
	case <-answered:
	case <-patience.C:
		straysOf(ctx).add(over)
	}
	return none, ended(ctx)
}

// lookupFile finds a file of a pool that is there.
func lookupFile(c *lv.Connect, pool, file string) (*lv.StorageVol, error) {
	found, err := c.LookupStoragePoolByName(pool)
	if err != nil {
		return nil, err
	}
	defer found.Free()
	return found.LookupStorageVolByName(file)
}

// upload replaces the beginning of a file of a pool by a stream. What is zero for
// long becomes a hole; a hole at the end cuts the file off there. More than most
// bytes is ResourceExhausted. It returns how many bytes came.
func (p *Provider) upload(ctx context.Context, pool, file string, r io.Reader, most int64, report func(done int64)) (int64, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := readParts(ctx, r, report)
	return transfer(ctx, p, func(ctx context.Context, c *lv.Connect) (done int64, err error) {
		v, err := lookupFile(c, pool, file)
		if err != nil {
			return 0, err
		}
		defer v.Free()
		begin := func(s *lv.Stream) error { return v.Upload(s, 0, 0, lv.STORAGE_VOL_UPLOAD_SPARSE_STREAM) }
		err = streaming(c, begin, func(s *lv.Stream) (err error) {
			done, err = send(ctx, s, parts, most)
			return err
		})
		return done, err
	})
}

// send sends parts until they end.
func send(ctx context.Context, s *lv.Stream, parts <-chan part, most int64) (done int64, err error) {
	for {
		var next part
		select {
		case <-ctx.Done():
			return done, ctx.Err()
		case next = <-parts:
		}
		switch {
		case errors.Is(next.err, io.EOF):
			return done, nil
		case next.err != nil:
			return done, next.err
		case next.hole > most-done || int64(len(next.data)) > most-done:
			return done, tooMuch(most)
		case next.hole > 0:
			err = s.SendHole(next.hole, 0)
		default:
			err = sendAll(s, next.data)
		}
		if err != nil {
			return done, err
		}
		done += int64(len(next.data)) + next.hole
	}
}

// download writes a file of a pool to w, whose holes are skipped where w is a file.
func (p *Provider) download(ctx context.Context, pool, file string, w io.Writer, report func(done int64)) error {
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	parts := make(chan part, 4)
	written := make(chan error, 1)
	go func() {
		err := writeParts(bounded, w, parts, report)
		written <- err
		if err != nil {
			cancel()
		}
	}()
	_, err := transfer(bounded, p, func(ctx context.Context, c *lv.Connect) (struct{}, error) {
		defer close(parts)
		v, err := lookupFile(c, pool, file)
		if err != nil {
			return struct{}{}, err
		}
		defer v.Free()
		begin := func(s *lv.Stream) error { return v.Download(s, 0, 0, lv.STORAGE_VOL_DOWNLOAD_SPARSE_STREAM) }
		return struct{}{}, streaming(c, begin, func(s *lv.Stream) error { return receive(ctx, s, parts) })
	})
	if err != nil {
		select {
		case failed := <-written:
			if failed != nil && ctx.Err() == nil {
				return failed
			}
		default:
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		return err
	}
	select {
	case err := <-written:
		return err
	case <-ctx.Done():
		return ended(ctx)
	}
}

// inHole is what RecvFlags says where a hole is next.
const inHole = -3

// receive receives parts until they end.
func receive(ctx context.Context, s *lv.Stream, parts chan<- part) error {
	for {
		next, err := receivePart(s)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case parts <- next:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func receivePart(s *lv.Stream) (part, error) {
	data := make([]byte, streamChunk)
	n, err := s.RecvFlags(data, lv.STREAM_RECV_STOP_AT_HOLE)
	if err == nil && n == inHole {
		hole, err := s.RecvHole(0)
		return part{hole: hole}, err
	}
	if err != nil {
		return part{}, err
	}
	return part{data: data[:n]}, nil
}
