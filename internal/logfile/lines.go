package logfile

import (
	"bytes"
	"errors"
	"io"
)

const blockSize = 64 << 10

// forward reads the lines of a growing file one after the other.
type forward struct {
	r          io.ReaderAt
	off        int64 // where in the file buf ends
	buf        []byte
	start      int  // of the unread part of buf
	scanned    int  // no newline stands between start and here
	discarding bool // within a line that is longer than any record
}

func newForward(r io.ReaderAt, off int64) *forward {
	return &forward{r: r, off: off, buf: make([]byte, 0, blockSize)}
}

// next returns a line without its newline, valid until the next call, or io.EOF
// while the file has no further whole line. Over-long lines are passed over.
func (f *forward) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(f.buf[f.scanned:], '\n'); i >= 0 {
			line := f.buf[f.start : f.scanned+i]
			f.start = f.scanned + i + 1
			f.scanned = f.start
			if f.discarding || len(line) > maxRecordLine {
				f.discarding = false
				continue
			}
			return line, nil
		}
		f.scanned = len(f.buf)
		if f.scanned-f.start > maxRecordLine {
			f.discarding = true
			f.start = f.scanned
		}
		if f.start > 0 {
			f.buf = f.buf[:copy(f.buf, f.buf[f.start:])]
			f.start, f.scanned = 0, len(f.buf)
		}
		n, err := f.r.ReadAt(f.buf[len(f.buf):cap(f.buf)], f.off)
		f.buf = f.buf[:len(f.buf)+n]
		f.off += int64(n)
		if n == 0 {
			if err == nil {
				err = io.ErrNoProgress
			}
			return nil, err
		}
	}
}

// backward reads the lines of a file from its end.
type backward struct {
	r   io.ReaderAt
	off int64  // where in the file buf begins
	buf []byte // whole lines, but for the first
	mem []byte
	cut bool // buf's last line was longer than any record
}

// newBackward begins before end. What follows the last newline is no record.
func newBackward(r io.ReaderAt, end int64) (*backward, error) {
	b := &backward{r: r, off: end, mem: make([]byte, blockSize+maxRecordLine+1)}
	for b.off > 0 {
		if err := b.fill(); err != nil {
			return nil, err
		}
		if i := bytes.LastIndexByte(b.buf, '\n'); i >= 0 {
			b.buf = b.buf[:i+1]
			return b, nil
		}
		b.buf = nil
	}
	return b, nil
}

// fill puts the block before buf in front of it.
func (b *backward) fill() error {
	n := int(min(b.off, blockSize))
	copy(b.mem[n:], b.buf)
	got, err := b.r.ReadAt(b.mem[:n], b.off-int64(n))
	if got < n {
		if err == nil || errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF // the file shrank
		}
		return err
	}
	b.off -= int64(n)
	b.buf = b.mem[:n+len(b.buf)]
	return nil
}

// prev returns the line before and where it begins; io.EOF at the beginning of
// the file. The line is valid until the next call and is nil if it is over-long.
func (b *backward) prev() (line []byte, at int64, err error) {
	for {
		if len(b.buf) == 0 && b.off == 0 {
			return nil, 0, io.EOF
		}
		if end := len(b.buf) - 1; end >= 0 {
			start := bytes.LastIndexByte(b.buf[:end], '\n') + 1
			if start > 0 || b.off == 0 {
				line, at = b.buf[start:end], b.off+int64(start)
				b.buf = b.buf[:start]
				if b.cut || len(line) > maxRecordLine {
					line = nil
				}
				b.cut = false
				return line, at, nil
			}
			if len(b.buf) > maxRecordLine {
				// Only the newline is kept: it stands for the line.
				b.buf = b.buf[end:]
				b.cut = true
			}
		}
		if err := b.fill(); err != nil {
			return nil, 0, err
		}
	}
}

// lastRecord is the last record of a file, if it has any.
func lastRecord(r io.ReaderAt, size int64) (Entry, bool) {
	b, err := newBackward(r, size)
	if err != nil {
		return Entry{}, false
	}
	for {
		line, _, err := b.prev()
		if err != nil {
			return Entry{}, false
		}
		if e, ok := parseRecord(line); ok {
			return e, true
		}
	}
}

// seek returns the beginning of a line such that no record before it has a time
// before that of cut. It relies on times that do not decrease and is merely
// early or late where they do.
func seek(r io.ReaderAt, size int64, before func(Entry) bool) (int64, error) {
	low, high := int64(0), size
	for high-low > blockSize {
		mid := low + (high-low)/2
		f := newForward(r, mid)
		// The first line is the rest of the one that mid is within.
		_, err := f.next()
		var e Entry
		var at int64
		found := false
		for err == nil && !found {
			at = f.off - int64(len(f.buf)-f.start)
			if at >= high {
				break
			}
			var line []byte
			if line, err = f.next(); err == nil {
				e, found = parseRecord(line)
			}
		}
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return 0, err
		case found && before(e):
			low = at
		default:
			high = mid
		}
	}
	return low, nil
}
