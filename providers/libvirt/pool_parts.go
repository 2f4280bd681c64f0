package libvirt

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// streamChunk is what one message of a stream carries at most: libvirt would cut a
// larger one.
const streamChunk = 256_000

// mostHole is what a hole is gathered to at most.
const mostHole = 64 * streamChunk

// part is a part of a file's content: bytes, or a hole of so many.
type part struct {
	data []byte
	hole int64
	err  error
}

// zeros is what a hole reads as.
var zeros [streamChunk]byte

func allZero(data []byte) bool { return bytes.Equal(data, zeros[:len(data)]) }

// readParts reads a reader of the caller's, in a goroutine, since a call of it may
// never return. Long runs of zeros are holes. The last part has an error, io.EOF at
// the end. Report is called with the bytes read so far.
func readParts(ctx context.Context, r io.Reader, report func(done int64)) <-chan part {
	parts := make(chan part, 4)
	give := func(p part) bool {
		select {
		case parts <- p:
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		var done, hole int64
		for {
			data := make([]byte, streamChunk)
			n, err := io.ReadFull(r, data)
			if errors.Is(err, io.ErrUnexpectedEOF) {
				err = io.EOF
			}
			zero := allZero(data[:n])
			if zero {
				hole += int64(n)
			}
			if hole > 0 && (!zero || err != nil || hole >= mostHole) {
				if !give(part{hole: hole}) {
					return
				}
				hole = 0
			}
			if !zero && !give(part{data: data[:n]}) {
				return
			}
			if done += int64(n); report != nil && n > 0 {
				report(done)
			}
			if err != nil {
				give(part{err: err})
				return
			}
		}
	}()
	return parts
}

// writeParts writes parts to a writer of the caller's until there are no more. Holes
// become holes where the writer is a file that has nothing behind its position.
func writeParts(ctx context.Context, w io.Writer, parts <-chan part, report func(done int64)) error {
	var done int64
	file := sparse(w)
	for {
		var next part
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p, more := <-parts:
			if !more {
				return nil
			}
			next = p
		}
		var err error
		switch {
		case next.hole == 0:
			_, err = w.Write(next.data)
		case file != nil:
			err = file.skip(next.hole)
		default:
			err = writeZeros(ctx, w, next.hole)
		}
		if err != nil {
			return err
		}
		if done += int64(len(next.data)) + next.hole; report != nil {
			report(done)
		}
	}
}

func writeZeros(ctx context.Context, w io.Writer, n int64) error {
	for n > 0 && ctx.Err() == nil {
		wrote, err := w.Write(zeros[:min(n, streamChunk)])
		if err != nil {
			return err
		}
		n -= int64(wrote)
	}
	return ctx.Err()
}

// holey is a file as it must be for holes.
type holey interface {
	io.Seeker
	Truncate(size int64) error
}

// sparseFile is a file at whose end is written.
type sparseFile struct{ holey }

// sparse returns the writer as one that can skip, nil where it cannot.
func sparse(w io.Writer) *sparseFile {
	file, ok := w.(holey)
	if !ok {
		return nil
	}
	at, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil
	}
	if end, err := file.Seek(0, io.SeekEnd); err != nil || end != at {
		_, _ = file.Seek(at, io.SeekStart)
		return nil
	}
	return &sparseFile{file}
}

// skip leaves a hole.
func (f *sparseFile) skip(n int64) error {
	end, err := f.Seek(n, io.SeekCurrent)
	if err != nil {
		return err
	}
	return f.Truncate(end)
}

// partsReader reads parts until they end, or the context does.
type partsReader struct {
	ctx   context.Context
	parts <-chan part
	now   part
}

func (r *partsReader) Read(b []byte) (int, error) {
	for len(r.now.data) == 0 && r.now.hole == 0 {
		if r.now.err != nil {
			return 0, r.now.err
		}
		select {
		case <-r.ctx.Done():
			return 0, r.ctx.Err()
		case r.now = <-r.parts:
		}
	}
	if r.now.hole == 0 {
		n := copy(b, r.now.data)
		r.now.data = r.now.data[n:]
		return n, nil
	}
	n := min(int64(len(b)), r.now.hole)
	clear(b[:n])
	r.now.hole -= n
	return int(n), nil
}

// partsWriter makes parts of what is written, and holes of what is zero as a whole.
type partsWriter struct {
	ctx   context.Context
	parts chan<- part
}

func (w partsWriter) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		piece := b[done:min(len(b), done+streamChunk)]
		next := part{hole: int64(len(piece))}
		if !allZero(piece) {
			next = part{data: bytes.Clone(piece)}
		}
		select {
		case <-w.ctx.Done():
			return done, w.ctx.Err()
		case w.parts <- next:
		}
		done += len(piece)
	}
	return len(b), nil
}
