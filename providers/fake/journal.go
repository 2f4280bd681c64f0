package fake

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// maxLine is where a line of output is cut.
const maxLine = 64 << 10

// journal is the kept output of an instance's main processes. Its own lock guards
// it: writing never waits for the backend.
type journal struct {
	mu    sync.Mutex
	lines []compute.LogLine
	// first is the number of the first line that is kept.
	first int
	// size is the length of all texts, and limit what it may be.
	size, limit int64
	// open are the lines that have no newline yet; nil until there is one.
	open map[lineKey][]byte
	// taps are where output goes besides.
	taps map[*run][]*tap
	// changed is closed at the next line; nil where nobody waits.
	changed chan struct{}
}

type lineKey struct {
	run    *run
	stream compute.Stream
}

// journalOf returns the instance's journal, made on first use. The backend is
// locked.
func (i *instance) journalOf() *journal {
	if i.journal == nil {
		i.journal = &journal{limit: i.space.backend.opts.LogSize}
	}
	return i.journal
}

// output is a stream of a main process: it is kept, and told to whoever is
// attached. Writing to it never waits.
type output struct {
	journal *journal
	run     *run
	stream  compute.Stream
}

var _ sink = (*output)(nil)

func (o *output) join()  {}
func (o *output) leave() {}

func (o *output) write(b []byte, _ <-chan struct{}) (int, error) {
	j := o.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, t := range j.taps[o.run] {
		t.offer(o.stream, b)
	}
	key := lineKey{o.run, o.stream}
	now := time.Now()
	held := j.open[key]
	for rest := b; len(rest) > 0; {
		line, after, complete := bytes.Cut(rest, []byte{'\n'})
		if most := maxLine - len(held); len(line) > most {
			line, after, complete = rest[:most], rest[most:], false
		}
		held = append(held, line...)
		rest = after
		if complete || len(held) == maxLine {
			j.add(o.run, o.stream, held, !complete, now)
			held = nil
		}
	}
	j.hold(key, held)
	j.notify()
	return len(b), nil
}

// hold keeps the beginning of a line. The journal is locked.
func (j *journal) hold(key lineKey, text []byte) {
	switch {
	case len(text) == 0:
		delete(j.open, key)
	case j.open == nil:
		j.open = map[lineKey][]byte{key: text}
	default:
		j.open[key] = text
	}
}

// add appends a line, and drops the oldest where there are too many. The journal
// is locked.
func (j *journal) add(r *run, stream compute.Stream, text []byte, partial bool, now time.Time) {
	text = text[:len(text):len(text)]
	j.lines = append(j.lines, compute.LogLine{Time: now, Stream: stream, Text: text, Partial: partial, Run: r.exit.Run})
	j.size += cost(text)
	for j.size > j.limit && len(j.lines) > 0 {
		j.size -= cost(j.lines[0].Text)
		j.lines[0] = compute.LogLine{}
		j.lines = j.lines[1:]
		j.first++
	}
}

// cost is what a line counts against the bound: an empty one is not free.
func cost(text []byte) int64 { return int64(len(text)) + 1 }

func (j *journal) notify() {
	if j.changed != nil {
		close(j.changed)
		j.changed = nil
	}
}

// flush keeps what a run left without a newline when it ended, and ends its taps.
func (j *journal) flush(r *run) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	for _, stream := range []compute.Stream{compute.Stdout, compute.Stderr} {
		key := lineKey{r, stream}
		if text := j.open[key]; len(text) > 0 {
			j.add(r, stream, text, true, now)
		}
		delete(j.open, key)
	}
	for _, t := range j.taps[r] {
		t.finish()
	}
	delete(j.taps, r)
	j.notify()
}

// has reports whether a line of a run is kept.
func (j *journal) has(run string) bool {
	if j == nil {
		return false
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	return slices.ContainsFunc(j.lines, func(line compute.LogLine) bool { return line.Run == run })
}

// gone is the end of a run that is over, or no longer known.
var gone = func() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

var _ compute.Logger = (*handle)(nil)

// Logs yields the kept output of a run's main process.
func (h *handle) Logs(ctx context.Context, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) {
		v := logView{opts: opts}
		err := opts.Validate().Err()
		if err != nil {
			err = h.fail(OpLogs, err)
		} else {
			err = h.look(ctx, OpLogs, func(i *instance) error {
				v.has = i.features()
				if err := firstOf(
					without(v.has, compute.FeatureLogsTimes, "since", !opts.Since.IsZero()),
					without(v.has, compute.FeatureLogsTimes, "until", !opts.Until.IsZero()),
				); err != nil {
					return err
				}
				v.journal, v.run, v.ended = i.journal, opts.Run, gone
				if r := i.runOf(opts.Run); r != nil {
					v.run, v.ended, v.journal = r.exit.Run, r.ended(), i.journalOf()
				} else if opts.Run != "" && !i.journal.has(opts.Run) {
					return &resource.Error{Kind: errdefs.ErrNotFound, Field: "run", Err: errors.New("there is no output of that run")}
				}
				return nil
			})
		}
		if err == nil && v.journal != nil {
			var more bool
			if more, err = v.tell(ctx, h.p, yield); !more {
				return
			}
			err = h.fail(OpLogs, err)
		}
		if err != nil {
			yield(compute.LogLine{}, err)
		}
	}
}

// logView is one range over a journal.
type logView struct {
	opts compute.LogOptions
	// has are the features of the instance.
	has     resource.Features
	journal *journal
	run     string
	// ended is closed when the run has ended.
	ended <-chan struct{}
}

// stream is the one that a line is told to be of.
func (v *logView) stream(line *compute.LogLine) compute.Stream {
	if v.has.Has(compute.FeatureLogsSplit) {
		return line.Stream
	}
	return compute.Stdout
}

func (v *logView) matches(line *compute.LogLine) bool {
	return line.Run == v.run &&
		(v.opts.Since.IsZero() || !line.Time.Before(v.opts.Since)) &&
		(v.opts.Until.IsZero() || line.Time.Before(v.opts.Until)) &&
		(len(v.opts.Streams) == 0 || slices.Contains(v.opts.Streams, v.stream(line)))
}

// tell yields the lines. It returns false where the reader has left.
func (v *logView) tell(ctx context.Context, p *Provider, yield func(compute.LogLine, error) bool) (bool, error) {
	next := v.start()
	var until <-chan time.Time
	if v.opts.Follow && !v.opts.Until.IsZero() {
		t := time.NewTimer(time.Until(v.opts.Until))
		defer t.Stop()
		until = t.C
	}
	for {
		// Whether the run has ended must be known before what it wrote is read.
		over := !v.opts.Follow
		select {
		case <-v.ended:
			over = true
		default:
		}
		batch, changed := v.batch(&next)
		for i := range batch {
			if err := p.open(ctx); err != nil {
				return true, err
			}
			if !yield(batch[i], nil) {
				return false, nil
			}
		}
		switch {
		case len(batch) > 0:
			continue
		case over:
			return true, nil
		}
		select {
		case <-changed:
		case <-v.ended:
		case <-until:
			return true, nil
		case <-ctx.Done():
			return true, ctx.Err()
		case <-p.over:
			return true, errClosed
		}
	}
}

// start is the number of the first line to look at.
func (v *logView) start() int {
	j := v.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	if v.opts.Tail == 0 {
		return j.first
	}
	left := v.opts.Tail
	for at := len(j.lines) - 1; at >= 0; at-- {
		if !v.matches(&j.lines[at]) {
			continue
		}
		if left--; left == 0 {
			return j.first + at
		}
	}
	return j.first
}

// batch returns further lines that match, and a channel that is closed when there
// are new ones.
func (v *logView) batch(next *int) ([]compute.LogLine, <-chan struct{}) {
	const most = 128
	j := v.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	*next = max(*next, j.first)
	var out []compute.LogLine
	for *next < j.first+len(j.lines) && len(out) < most {
		if line := &j.lines[*next-j.first]; v.matches(line) {
			told := *line
			if told.Stream = v.stream(line); !v.has.Has(compute.FeatureLogsTimes) {
				told.Time = time.Time{}
			}
			out = append(out, told)
		}
		*next++
	}
	if j.changed == nil {
		j.changed = make(chan struct{})
	}
	return out, j.changed
}
