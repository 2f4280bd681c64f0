package compute

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// RunOptions are the options of Run.
type RunOptions struct {
	// Stdout and Stderr get the main process's output, completely; nil discards
	// it. They may be the same writer: neither is called while the other is.
	Stdout, Stderr io.Writer
	// Keep leaves the stopped instance there instead of deleting it.
	Keep bool
}

// CleanupTimeout is how long an operation may clean up past the end of its
// context.
const CleanupTimeout = 10 * time.Second

// Run creates an instance, starts it, copies its output, waits for the end of
// the run and deletes it. The context bounds the whole: when it is done, the
// run is ended by force, and the error is of the operation "run". However Run
// ends, the instance is deleted unless Keep is set; where that fails the error is
// of the operation "run" too, and its Left names the instance. All that takes
// CleanupTimeout at most, half of which is a deletion's. Sweep finds what a process that was killed left of a spec with the
// lifetime resource.Ephemeral.
//
// Run gives the main process no input: Process.Stdin is InvalidArgument.
//
// An exit code other than 0 is not an error of Run. Where Run fails while the
// main process runs, it returns besides the error how that ended by force, with
// Known false where the backend cannot say.
func Run(ctx context.Context, instances Instances, spec Spec, opts RunOptions) (exit Exit, err error) {
	ref := resource.Ref{Kind: resource.KindInstance, Name: spec.Name}
	left := false
	// What ends with the context, or leaves something, is the run as a whole, not the
	// call that was under way.
	defer func() {
		if err == nil || !left && (ctx.Err() == nil || !errors.Is(err, ctx.Err())) {
			return
		}
		var inner *resource.Error
		if errors.As(err, &inner) {
			ref = inner.Ref
			ref.Name = spec.Name
		}
		err = resource.Fail("run", ref, err)
		if outer, ok := err.(*resource.Error); ok && left {
			outer.Left = append(outer.Left[:len(outer.Left):len(outer.Left)], ref)
		}
	}()
	if spec.Process.Stdin {
		return Exit{}, resource.Fail("run", ref,
			resource.Faults{{Field: "process.stdin", Reason: "must not be set: Run has no input to give"}})
	}
	inst, err := instances.Create(ctx, spec)
	if err != nil {
		return Exit{}, err
	}
	var run string
	defer func() {
		if opts.Keep && err == nil {
			return
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
		defer cancel()
		var failed error
		if opts.Keep || run != "" && err != nil {
			exit, failed = endRun(clean, inst, run)
		}
		if !opts.Keep {
			// What could not be stopped may be deleted all the same.
			failed = inst.Delete(clean, DeleteOptions{Force: true})
		}
		if failed == nil || errdefs.IsNotFound(failed) {
			// Somebody else may have deleted it before: gone is gone.
			return
		}
		left = !opts.Keep
		if err != nil {
			failed = errors.Join(err, failed)
		}
		err = failed
	}()
	if err := inst.Start(ctx, StartOptions{}); err != nil {
		return Exit{}, err
	}
	info, err := inst.Info(ctx)
	if err != nil {
		return Exit{}, err
	}
	run = info.Run
	if opts.Stdout != nil || opts.Stderr != nil {
		// The stream ends with the run, so nothing of it is lost.
		if err := CopyLogs(ctx, inst, LogOptions{Run: run, Follow: true}, opts.Stdout, opts.Stderr); err != nil {
			return Exit{}, err
		}
	}
	return inst.Wait(ctx, WaitOptions{Run: run})
}

// endRun ends a run by force, and returns how it ended; the zero Exit where no run is
// known. One that hangs leaves time for a deletion.
func endRun(ctx context.Context, inst Instance, run string) (Exit, error) {
	ctx, cancel := context.WithTimeout(ctx, CleanupTimeout/2)
	defer cancel()
	if err := inst.Stop(ctx, StopOptions{Force: true}); err != nil || run == "" {
		return Exit{}, err
	}
	return inst.Wait(ctx, WaitOptions{Run: run})
}

// CopyLogs writes an instance's output as its main process wrote it: a newline
// ends each line that had one. A nil writer discards its stream.
func CopyLogs(ctx context.Context, inst Instance, opts LogOptions, stdout, stderr io.Writer) error {
	for line, err := range Logs(ctx, inst, opts) {
		if err != nil {
			return err
		}
		w := stdout
		if line.Stream == Stderr {
			w = stderr
		}
		if w == nil {
			continue
		}
		text := line.Text
		if !line.Partial {
			text = append(text[:len(text):len(text)], '\n')
		}
		if _, err := w.Write(text); err != nil {
			return resource.Fail("copy logs", instanceRef(inst), err)
		}
	}
	return nil
}
