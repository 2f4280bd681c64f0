package logfile

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// Options say what [Read] yields. The zero value is everything that is there.
type Options struct {
	// Run is the token of the run to read; empty means all, the oldest first.
	Run string
	// Since and Until are the first and the last time wanted; zero is no limit.
	Since, Until time.Time
	// Tail is the number of entries wanted from the end of what is there; zero
	// means all, less than zero none.
	Tail int
	// Follow waits for what is written later, until the writer is gone. Of
	// several runs the last is followed; one that begins later is not.
	Follow bool
	// Streams are those wanted; none means all.
	Streams []Stream
	// Watcher is shared by those who follow at the same time; without one each
	// takes an inotify instance of its own.
	Watcher *Watcher
}

// Read yields the entries of an instance in the order in which they were
// written. Each range reads anew. An error is yielded once, last: what the file
// system says, [ErrRun], an error that is [fs.ErrNotExist] for a named run that
// is not there, or the context's.
//
// Files that a rotation deletes before they are reached are passed over, and so
// is whatever is not a record.
func Read(ctx context.Context, dir string, options Options) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		r := reader{dir: dir, Options: options, yield: yield}
		defer r.close()
		if err := r.read(ctx); err != nil && !errors.Is(err, errBreak) {
			yield(Entry{}, err)
		}
	}
}

// errBreak says that no more is wanted: the loop was left, or Until reached.
var errBreak = errors.New("no more is wanted")

// place is a file of a run, and how far it was read.
type place struct {
	run string
	seq int
	off int64
}

type reader struct {
	Options
	dir   string
	yield func(Entry, error) bool

	file  *os.File
	lines *forward
	at    place

	follow *follower // nil: do not wait
}

func (r *reader) close() {
	if r.file != nil {
		_ = r.file.Close()
	}
	if r.follow != nil {
		r.follow.close()
	}
}

func (r *reader) read(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if r.Run != "" {
		if err := CheckRun(r.Run); err != nil {
			return err
		}
	}
	places, err := r.places()
	if err != nil || len(places) == 0 {
		return err
	}
	if r.Follow {
		// Before anything is read, so that nothing comes unnoticed between.
		last := places[len(places)-1].run
		if r.follow, err = newFollower(cmp.Or(r.Watcher, new(Watcher)), r.dir, last, r.Until); err != nil {
			return err
		}
	}
	if places, err = r.skipTo(ctx, places); err != nil {
		return err
	}
	for i, p := range places {
		last := i == len(places)-1
		if err := r.open(ctx, p, last && r.Follow); errors.Is(err, fs.ErrNotExist) {
			if last && r.Follow {
				return r.followFrom(ctx, p)
			}
			continue // deleted by a rotation
		} else if err != nil {
			return err
		}
		if last && r.Follow {
			return r.followOpen(ctx)
		}
		if err := r.drain(ctx); err != nil {
			return err
		}
	}
	return nil
}

// places lists the files to read, in order.
func (r *reader) places() ([]place, error) {
	runs, err := Runs(r.dir)
	if err != nil {
		return nil, err
	}
	var places []place
	for _, run := range runs {
		if r.Run != "" && r.Run != run.Token {
			continue
		}
		for _, seq := range run.seqs {
			places = append(places, place{run: run.Token, seq: seq})
		}
	}
	if len(places) == 0 && r.Run != "" {
		return nil, fmt.Errorf("logfile: run %s in %s: %w", r.Run, r.dir, fs.ErrNotExist)
	}
	return places, nil
}

// open begins to read a file, to its present end unless it may grow.
func (r *reader) open(ctx context.Context, p place, grows bool) error {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
	f, err := openLog(r.dir, logName(p.run, p.seq))
	if err != nil {
		return err
	}
	r.file = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if p.off == 0 && !r.Since.IsZero() {
		p.off, err = seek(endable{ctx, f}, info.Size(), func(e Entry) bool { return e.Time.Before(r.Since) })
		if err != nil {
			return err
		}
	}
	r.at = p
	var src io.ReaderAt = endable{ctx, f}
	if !grows {
		// A writer that is faster than the reader must not keep it for ever.
		src = io.NewSectionReader(src, 0, info.Size())
	}
	r.lines = newForward(src, p.off)
	return nil
}

// endable ends with its context, even where gigabytes hold no record.
type endable struct {
	ctx context.Context
	io.ReaderAt
}

func (e endable) ReadAt(p []byte, off int64) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	return e.ReaderAt.ReadAt(p, off)
}

// drain yields what is in the file that is open.
func (r *reader) drain(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err // and not when what was read already is used up
		}
		line, err := r.lines.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		e, ok := parseRecord(line)
		if !ok || !r.wants(e) {
			continue
		}
		if !r.Until.IsZero() && e.Time.After(r.Until) {
			return errBreak
		}
		e.Run = r.at.run
		e.Line = bytes.Clone(e.Line)
		if !r.yield(e, nil) {
			return errBreak
		}
	}
}

func (r *reader) wants(e Entry) bool {
	return !e.Time.Before(r.Since) && (len(r.Streams) == 0 || slices.Contains(r.Streams, e.Stream))
}

// followFrom goes on with the first file after p that exists, when it does.
func (r *reader) followFrom(ctx context.Context, p place) error {
	for {
		over := r.follow.isOver()
		next, err := r.next(p)
		if err == nil {
			err = r.open(ctx, next, true)
			if err == nil {
				return r.followOpen(ctx)
			}
			p = next
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if over {
			return nil
		}
		if err := r.follow.wait(ctx); err != nil {
			return err
		}
	}
}

// followOpen yields what is and comes in the open file and those after it.
func (r *reader) followOpen(ctx context.Context) error {
	for {
		// Asked before the file is read: what was written before the writer
		// went, or before the next file was begun, is then seen.
		over := r.follow.isOver()
		next, nextErr := r.next(r.at)
		if nextErr != nil && !errors.Is(nextErr, fs.ErrNotExist) {
			return nextErr
		}
		if err := r.drain(ctx); err != nil {
			return err
		}
		if nextErr == nil {
			err := r.open(ctx, next, true)
			if errors.Is(err, fs.ErrNotExist) {
				return r.followFrom(ctx, next)
			}
			if err != nil {
				return err
			}
			continue
		}
		if over {
			return nil
		}
		if err := r.follow.wait(ctx); err != nil {
			return err
		}
	}
}

// next is the file after p, or [fs.ErrNotExist] while there is none.
func (r *reader) next(p place) (place, error) {
	next := place{run: p.run, seq: p.seq + 1}
	_, err := os.Lstat(filepath.Join(r.dir, logName(next.run, next.seq)))
	if !errors.Is(err, fs.ErrNotExist) {
		return next, err
	}
	if _, gone := os.Lstat(filepath.Join(r.dir, logName(p.run, p.seq))); !errors.Is(gone, fs.ErrNotExist) {
		return next, err
	}
	// A rotation that has deleted this file may have deleted some after it.
	seqs, listErr := listSeqs(r.dir, p.run)
	if listErr != nil {
		return next, listErr
	}
	for _, seq := range seqs {
		if seq > p.seq {
			next.seq = seq
			return next, nil
		}
	}
	return next, err
}
