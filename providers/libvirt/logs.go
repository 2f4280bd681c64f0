//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

var _ compute.Logger = (*instance)(nil)

// flushTime is how much later than the end of a run libvirt's log daemon may write
// down the last that its guest has said.
const flushTime = 500 * time.Millisecond

// Logs implements compute.Logger: the lines are those of the serial console, which
// libvirt's log daemon writes into a file, whoever made the instance.
func (i *instance) Logs(ctx context.Context, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) {
		left, err := i.logs(ctx, opts, yield)
		if err != nil && !left {
			yield(compute.LogLine{}, i.fail("logs", err))
		}
	}
}

// noLogs says why there are none; empty where there are.
func (p *Provider) noLogs() string {
	switch {
	case p.inProcess():
		return noGuests
	case !p.opts.local():
		return "the file with the console's output is on the hypervisor's host"
	case p.hyper.consoles == "":
		return "no folder for the output of consoles was named (Options.ConsoleDir)"
	}
	return ""
}

// machines is Machines of the provider's hypervisor.
func (p *Provider) machines() univirt.KindDescription {
	d := p.hyper.machines()
	if reason := p.noLogs(); reason != "" {
		for _, feature := range []resource.Feature{compute.FeatureLogs, compute.FeatureLogsDurable, compute.FeatureLogsTimes} {
			d.Features[feature] = resource.Support{Reason: reason}
		}
	}
	return d
}

// checkLogs finds what is wrong with the options, and what no console can do.
func (p *Provider) checkLogs(opts compute.LogOptions) error {
	if reason := p.noLogs(); reason != "" {
		return resource.Unsupported("logs", reason)
	}
	if err := opts.Validate().Err(); err != nil {
		return err
	}
	field := ""
	switch {
	case !opts.Since.IsZero():
		field = "since"
	case !opts.Until.IsZero():
		field = "until"
	default:
		return nil
	}
	return &resource.Error{Kind: errors.ErrUnsupported, Field: field, Err: errors.New(noTimes)}
}

// within returns a context that ends when the provider is closed, too.
func (p *Provider) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.alive, func() { cancel(resource.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }
}

// logs reports whether the loop was left.
func (i *instance) logs(ctx context.Context, opts compute.LogOptions, yield func(compute.LogLine, error) bool) (left bool, err error) {
	_, done, err := i.p.begin(ctx)
	if err != nil {
		return false, err
	}
	// The caller's code is not waited for by Close.
	done()
	if err := i.p.checkLogs(opts); err != nil {
		return false, err
	}
	ctx, cancel := i.p.within(ctx)
	defer cancel()
	changed, stop := i.p.board.Await(watching.Key{Kind: resource.KindInstance, ID: i.id})
	defer stop()
	d, err := i.load(ctx)
	if err != nil {
		return false, err
	}
	run, part, err := d.console(opts.Run)
	if err != nil || run == 0 {
		return false, err
	}
	path := i.p.consoleLog(i.id)
	written, unwatch, err := i.p.consoles.Changes(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer unwatch()
	r := &consoleReader{path: path, from: part.from, until: part.until}
	defer r.close()
	lines := lineCutter{run: strconv.Itoa(run)}
	wanted := len(opts.Streams) == 0 || slices.Contains(opts.Streams, compute.Stdout)
	var last *tailOf
	if opts.Tail > 0 {
		last = &tailOf{most: opts.Tail}
	}
	give := func(batch []compute.LogLine) bool {
		for _, line := range batch {
			switch {
			case !wanted:
			case last != nil:
				last.add(line)
			case !yield(line, nil):
				return false
			}
		}
		return true
	}
	flush := func() bool {
		if last == nil {
			return true
		}
		all := last.all()
		last = nil
		return give(all)
	}
	buffer := make([]byte, 64<<10)
	for {
		// Asked before what is there is read, so that nothing is missed.
		over, settled := d.runOver(run)
		n, err := 0, error(nil)
		for err == nil {
			if err = ctx.Err(); err != nil {
				return false, ended(ctx)
			}
			n, err = r.read(buffer)
			if !give(lines.cut(buffer[:n])) {
				return true, nil
			}
		}
		if !errors.Is(err, io.EOF) {
			return false, err
		}
		if settled || !opts.Follow && !over {
			return !give(lines.rest()) || !flush(), nil
		}
		if !over && !flush() {
			return true, nil
		}
		var late <-chan time.Time
		if over {
			late = time.After(flushTime / 4)
		}
		select {
		case <-written:
		case <-late:
		case <-changed:
			if d, err = i.load(ctx); isNotFound(err) {
				return !give(lines.rest()) || !flush(), nil
			} else if err != nil {
				return false, err
			}
		case <-ctx.Done():
			return false, ended(ctx)
		}
	}
}

// runOver reports whether a run is over, and whether that was so long ago that all
// of its output is there.
func (d *domain) runOver(run int) (over, settled bool) {
	if run == d.lastRun() && (d.state.Active() || d.state == compute.Suspended) {
		return false, false
	}
	if e := d.facts.exit; run == d.lastRun() && e != nil && e.Run == run {
		return true, time.Since(e.Finished) > flushTime || time.Until(e.Finished) > flushTime
	}
	return true, run != d.lastRun() || !d.unnoted()
}

// consolePart is where the output of a run is.
type consolePart struct{ from, until *consoleMark }

// console finds a run and its output; run 0: there was none.
func (d *domain) console(name string) (run int, part consolePart, err error) {
	last := d.lastRun()
	run = last
	if name != "" {
		n, err := strconv.Atoi(name)
		if err != nil || n < 1 || n > last || strconv.Itoa(n) != name {
			return 0, part, &resource.Error{Kind: errdefs.ErrNotFound, Field: "run", Err: errors.New("no such run: " + resource.Quote(name))}
		}
		run = n
	}
	marks := d.facts.run.Consoles
	at := slices.IndexFunc(marks, func(m consoleMark) bool { return m.Run == run })
	switch {
	case at >= 0:
		part.from = &marks[at]
		if at+1 < len(marks) {
			part.until = &marks[at+1]
		}
	case run < last:
		return 0, part, &resource.Error{Kind: errdefs.ErrNotFound, Field: "run", Err: errors.New("the output of run " + name + " is not told apart any more")}
	}
	return run, part, nil
}
