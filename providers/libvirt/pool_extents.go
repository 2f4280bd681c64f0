//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/resource"
)

// fillFrom writes the parts of a stream that are no holes into a file of a pool, and
// leaves the rest of it as it is: a file that has its room from the beginning keeps
// it. It returns how many bytes came, holes and all; more than most is
// ResourceExhausted.
func (p *Provider) fillFrom(ctx context.Context, pool, file string, parts <-chan part, most int64) (int64, error) {
	return transfer(ctx, p, func(ctx context.Context, c *lv.Connect) (int64, error) {
		v, err := lookupFile(c, pool, file)
		if err != nil {
			return 0, err
		}
		defer v.Free()
		return sendData(ctx, c, v, parts, most)
	})
}

func sendData(ctx context.Context, c *lv.Connect, v *lv.StorageVol, parts <-chan part, most int64) (at int64, err error) {
	next := func() (part, error) {
		p, err := nextPart(ctx, parts)
		if err == nil && at+p.hole+int64(len(p.data)) > most {
			err = tooMuch(most)
		}
		return p, err
	}
	p, err := next()
	for err == nil {
		if p.hole > 0 {
			at += p.hole
			p, err = next()
			continue
		}
		begin := func(s *lv.Stream) error { return v.Upload(s, uint64(at), 0, 0) }
		failed := streaming(c, begin, func(s *lv.Stream) error {
			for err == nil && p.hole == 0 {
				if failed := sendAll(s, p.data); failed != nil {
					return failed
				}
				at += int64(len(p.data))
				p, err = next()
			}
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		})
		if failed != nil {
			return at, failed
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return at, err
}

func nextPart(ctx context.Context, parts <-chan part) (part, error) {
	select {
	case <-ctx.Done():
		return part{}, ctx.Err()
	case p := <-parts:
		return p, p.err
	}
}

func tooMuch(most int64) error {
	return resource.Errorf(errdefs.ErrResourceExhausted, "the stream has more than the %s that there is room for", resource.FormatSize(most))
}
