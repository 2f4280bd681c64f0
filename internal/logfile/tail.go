package logfile

import (
	"context"
	"errors"
	"io"
	"io/fs"
)

// skipTo drops from places what comes before the entries that Tail asks for. It
// reads no more of the files than that, from the end.
func (r *reader) skipTo(ctx context.Context, places []place) ([]place, error) {
	if r.Tail == 0 {
		return places, nil
	}
	left := max(r.Tail, 0)
	for i := len(places) - 1; i >= 0; i-- {
		off, done, err := r.tail(ctx, places[i], &left)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if done {
			places = places[i:]
			places[0].off = off
			return places, nil
		}
	}
	return places, nil
}

// tail counts entries of one file down from its end. When none is left to be
// counted it is done, and off is where the last one begins.
func (r *reader) tail(ctx context.Context, p place, left *int) (off int64, done bool, err error) {
	f, err := openLog(r.dir, logName(p.run, p.seq))
	if err != nil {
		return 0, false, err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return 0, false, err
	}
	lines, err := newBackward(endable{ctx, f}, info.Size())
	if err != nil {
		return 0, false, err
	}
	off = lines.off + int64(len(lines.buf))
	if *left == 0 {
		return off, true, nil
	}
	for {
		line, at, err := lines.prev()
		if errors.Is(err, io.EOF) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		e, ok := parseRecord(line)
		if !ok {
			continue
		}
		if e.Time.Before(r.Since) {
			return off, true, nil
		}
		off = at
		if !r.wants(e) || !r.Until.IsZero() && e.Time.After(r.Until) {
			continue
		}
		if *left--; *left == 0 {
			return off, true, nil
		}
	}
}
