package containerd

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/logfile"
	"github.com/univirt/univirt/resource"
)

var _ compute.Logger = (*instance)(nil)

// Logs implements compute.Logger. Output of any run is kept until the instance
// is deleted.
func (i *instance) Logs(ctx context.Context, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) {
		left, err := i.logs(ctx, opts, yield)
		if err != nil && !left {
			yield(compute.LogLine{}, i.fail("logs", err))
		}
	}
}

// logs yields lines; left says that the loop was left.
func (i *instance) logs(ctx context.Context, opts compute.LogOptions, yield func(compute.LogLine, error) bool) (left bool, err error) {
	ctx, free, done, err := i.p.beginWith(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if err := opts.Validate().Err(); err != nil {
		return false, err
	}
	if _, err := i.load(ctx); err != nil {
		return false, err
	}
	run := opts.Run
	if run == "" || opts.Follow {
		t, err := i.p.loadTask(ctx, i.id)
		if err != nil {
			return false, err
		}
		if run == "" {
			run = runOf(t)
		}
		if run == "" {
			run = i.p.lastRun(i.id)
		}
		if run == "" {
			return false, nil // it never ran, and wrote nothing
		}
		if runOf(t) == run && opts.Follow {
			defer i.endLog(ctx, run)()
		}
	}
	options := logfile.Options{Run: run, Since: opts.Since, Until: opts.Until, Tail: opts.Tail, Follow: opts.Follow, Watcher: &i.p.follow}
	if !opts.Until.IsZero() {
		options.Until = opts.Until.Add(-time.Nanosecond) // it is the last time wanted there
	}
	for _, s := range opts.Streams {
		options.Streams = append(options.Streams, streams[s])
	}
	free()
	for entry, err := range logfile.Read(ctx, i.p.state.logs(i.id), options) {
		if err != nil {
			return false, i.logError(ctx, run, err)
		}
		line := compute.LogLine{Time: entry.Time, Stream: compute.Stream(entry.Stream.String()), Text: entry.Line, Partial: entry.Partial, Run: entry.Run}
		if !yield(line, nil) {
			return true, nil
		}
	}
	return false, nil
}

var streams = map[compute.Stream]logfile.Stream{compute.Stdout: logfile.Stdout, compute.Stderr: logfile.Stderr}

func (i *instance) logError(ctx context.Context, run string, err error) error {
	if done := ended(ctx); done != nil {
		return done
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, logfile.ErrRun) {
		return &resource.Error{Kind: errdefs.ErrNotFound, Field: "run", Err: errors.New("there is no output of that run")}
	}
	return err
}

// endLog sees to it that the log of the run ends when the run does: the shim
// holds the writer's pipes open until the task is deleted. The function that it
// returns ends the watch.
func (i *instance) endLog(ctx context.Context, run string) func() {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	i.p.detached.Go(func() {
		defer close(over)
		for ctx.Err() == nil {
			_, err := i.p.client.TaskService().Wait(ctx, &tasksapi.WaitRequest{ContainerID: i.id})
			if err == nil || errdefs.IsNotFound(translate(ctx, err)) {
				// The log ends in the middle of it, and with it this stream. Whoever read
				// to the end may then start the instance again.
				through, cancel := i.p.cleanup(ctx)
				over, err := i.p.collect(through, i.id, run)
				cancel()
				if err == nil && over {
					return
				}
			}
			// The daemon may be away for a moment.
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() { cancel(); <-over }
}
