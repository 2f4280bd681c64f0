package logfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// ErrWriting is the error of [Create] when the run has a writer already.
var ErrWriting = errors.New("the run is being written")

// flushSize is the number of bytes of records at which a batch is written
// although more input is at hand.
const flushSize = 128 << 10

// WriterOptions bound what a run may occupy.
type WriterOptions struct {
	// MaxSize is the number of bytes at which a new file is begun. Zero means
	// that a run has one file of any size. A file holds at least one record.
	MaxSize int64
	// MaxFiles is the number of files kept, the one being written included; the
	// oldest are deleted. Zero keeps all.
	MaxFiles int
}

// Writer stores the output of one run. Its methods may be called concurrently.
type Writer struct {
	dir, run string
	options  WriterOptions
	now      func() time.Time

	mu       sync.Mutex
	presence *os.File
	file     file  // nil: begin a new one before the next write
	size     int64 // bytes of whole records in file
	seq      int   // number of file, or of the last one
	oldest   int   // lowest number that may exist
	last     time.Time
	streams  [2]streamState
	batch    []byte // records to write, of which the first markers bytes report losses
	markers  int
	err      error // the first one of the call under way
	closed   bool
	create   func(dir, name string) (file, error)
}

type file interface {
	io.WriteCloser
	Truncate(size int64) error
}

type streamState struct {
	pending []byte // a line whose end was not seen yet
	header  []byte // of records of this call
	lost    int64  // content bytes that are in no file
	reason  string
}

// Create begins to write a run. The folder is made if it is missing, readable
// by the owner alone. A run that was written before is continued in a new file.
// It returns [ErrRun], [ErrWriting], or what the file system says.
func Create(dir, run string, options WriterOptions) (*Writer, error) {
	if err := CheckRun(run); err != nil {
		return nil, err
	}
	if options.MaxSize < 0 || options.MaxFiles < 0 {
		return nil, errors.New("logfile: a negative limit")
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	presence, err := takePresence(dir, run)
	if err != nil {
		return nil, err
	}
	w := &Writer{
		dir: dir, run: run, options: options, now: time.Now, presence: presence,
		create: func(dir, name string) (file, error) { return createLog(dir, name) },
	}
	if err := w.open(); err != nil {
		_ = presence.Close()
		return nil, err
	}
	return w, nil
}

// open continues after what is there and makes the first file, so that a run
// that has a writer has a file.
func (w *Writer) open() error {
	seqs, err := listSeqs(w.dir, w.run)
	if err != nil {
		return err
	}
	w.oldest = 1
	if len(seqs) > 0 {
		w.oldest, w.seq = seqs[0], seqs[len(seqs)-1]
		w.last = lastTime(w.dir, w.run, w.seq)
	}
	return w.rotate()
}

// Write stores p as output of the stream, at once but for a line whose end is
// not known yet. An error says that output was lost for now; the writer goes on,
// and reports the loss in the file when it can write again.
func (w *Writer) Write(s Stream, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return os.ErrClosed
	}
	if s != Stdout && s != Stderr {
		return errors.New("logfile: " + s.String() + " is no stream")
	}
	w.tick()
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, []byte{'\n'})
		w.line(s, line, ended)
		p = rest
	}
	w.flush()
	return w.takeErr()
}

// Close stores what is left of the last lines and ends the run. Closing twice
// is nil.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed = true
	w.tick()
	for _, s := range [...]Stream{Stdout, Stderr} {
		if state := &w.streams[s-1]; len(state.pending) > 0 {
			w.record(s, 'P', state.pending, nil)
			state.pending = nil
		}
	}
	w.markLosses()
	w.flush()
	err := w.takeErr()
	if w.file != nil {
		err = errors.Join(err, w.file.Close())
	}
	// Last, so that whoever sees the end finds everything in the file.
	return errors.Join(err, w.presence.Close())
}

// tick takes the time for the records that follow.
func (w *Writer) tick() {
	if now := w.now().UTC(); now.After(w.last) {
		w.last = now
	}
	for i := range w.streams {
		w.streams[i].header = appendHeader(w.streams[i].header[:0], w.last, Stream(i+1))
	}
}

// failed keeps the first error of a call; a full disk fails in every batch.
func (w *Writer) failed(err error) {
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) takeErr() error {
	err := w.err
	w.err = nil
	return err
}

func (w *Writer) line(s Stream, b []byte, ended bool) {
	state := &w.streams[s-1]
	for len(state.pending)+len(b) > MaxRecord {
		n := MaxRecord - len(state.pending)
		w.record(s, 'P', state.pending, b[:n])
		state.pending, b = state.pending[:0], b[n:]
	}
	if !ended {
		state.pending = append(state.pending, b...)
		return
	}
	w.record(s, 'F', state.pending, b)
	state.pending = state.pending[:0]
}

// record adds one record to the batch; its content is a and b.
func (w *Writer) record(s Stream, tag byte, a, b []byte) {
	w.markLosses()
	n := int64(headerSize + len(a) + len(b) + 1)
	if used := w.size + int64(len(w.batch)); w.options.MaxSize > 0 && used > 0 && used+n > w.options.MaxSize {
		w.flush()
		if err := w.rotate(); err != nil {
			w.failed(err)
		}
		w.markLosses()
	}
	w.batch = append(w.batch, w.streams[s-1].header...)
	w.batch = append(w.batch, tag, ' ')
	w.batch = append(w.batch, a...)
	w.batch = append(w.batch, b...)
	w.batch = append(w.batch, '\n')
	if len(w.batch) >= flushSize {
		w.flush()
	}
}

// headerSize is what appendHeader and a tag occupy: both names of streams have
// six letters.
const headerSize = len("2006-01-02T15:04:05.000000000Z stdout F ")

// markLosses starts a batch with what was lost before it.
func (w *Writer) markLosses() {
	if len(w.batch) > 0 {
		return
	}
	for i := range w.streams {
		if state := &w.streams[i]; state.lost > 0 {
			w.batch = appendLost(w.batch, w.last, Stream(i+1), state.lost, state.reason)
		}
	}
	w.markers = len(w.batch)
}

// flush writes the batch. Whatever happens, the batch is empty afterwards: the
// instance must not wait for a disk to have room again.
func (w *Writer) flush() {
	if len(w.batch) == 0 {
		return
	}
	written, err := w.write(w.batch)
	if written >= w.markers {
		for i := range w.streams {
			w.streams[i].lost = 0
		}
	}
	if err != nil {
		w.failed(err)
		w.lose(w.batch[max(written, w.markers):], cause(err))
	}
	w.batch, w.markers = w.batch[:0], 0
}

// write appends whole records of b, all markers or none, and returns their size.
func (w *Writer) write(b []byte) (int, error) {
	if w.file == nil {
		if err := w.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := w.file.Write(b)
	whole := n
	if err != nil {
		whole = bytes.LastIndexByte(b[:n], '\n') + 1
		if whole < w.markers {
			whole = 0
		}
	}
	w.size += int64(whole)
	if whole < n && w.file.Truncate(w.size) != nil {
		// A torn record is harmless at the end of a file, so this must be the
		// end.
		_ = w.file.Close()
		w.file, w.size = nil, 0
	}
	return whole, err
}

// lose counts the content of records that were not written.
func (w *Writer) lose(records []byte, reason string) {
	for len(records) > 0 {
		record, rest, _ := bytes.Cut(records, []byte{'\n'})
		records = rest
		state := &w.streams[Stdout-1]
		if record[headerSize-len("err F ")] == 'e' {
			state = &w.streams[Stderr-1]
		}
		state.lost += int64(len(record) - headerSize)
		if record[headerSize-len("F ")] == 'F' {
			state.lost++
		}
		state.reason = reason
	}
}

// cause is the innermost text of an error: paths do not belong in what a user
// reads as output.
func cause(err error) string {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return string(bytes.ReplaceAll([]byte(err.Error()), []byte{'\n'}, []byte{' '}))
		}
		err = inner
	}
}

// rotate begins the next file and deletes what is too old. It leaves file nil if
// that fails, so that the next write tries again.
func (w *Writer) rotate() error {
	if w.file != nil {
		_ = w.file.Close()
		w.file, w.size = nil, 0
	}
	if w.options.MaxFiles > 0 {
		// First, because it may be what makes the room.
		for ; w.oldest <= w.seq+1-w.options.MaxFiles; w.oldest++ {
			err := os.Remove(filepath.Join(w.dir, logName(w.run, w.oldest)))
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
		}
	}
	f, err := w.create(w.dir, logName(w.run, w.seq+1))
	if err != nil {
		return err
	}
	w.file = f
	w.seq++
	return nil
}

// lastTime is the time of the last record in a file of the run, or zero.
func lastTime(dir, run string, seq int) time.Time {
	f, err := openLog(dir, logName(run, seq))
	if err != nil {
		return time.Time{}
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return time.Time{}
	}
	e, _ := lastRecord(f, info.Size())
	return e.Time
}
