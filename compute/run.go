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
	// it.
	Stdout, Stderr io.Writer
	// Keep leaves the stopped instance there instead of deleting it.
	Keep bool
}

// CleanupTimeout is how long an operation may clean up past the end of its
// context.
const CleanupTimeout = 10 * time.Second

// Run creates an instance, starts it, copies its output, waits for the end of
// the run and deletes it. The context bounds the whole: when it is done, the
// run is ended by force. However Run ends, the instance is deleted unless Keep
// is set; where that fails the error says so.
//
// An exit code other than 0 is not an error of Run.
func Run(ctx context.Context, instances Instances, spec Spec, opts RunOptions) (exit Exit, err error) {
	inst, err := instances.Create(ctx, spec)
	if err != nil {
		return Exit{}, err
	}
	defer func() {
		if opts.Keep && err == nil {
			return
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), CleanupTimeout)
		defer cancel()
		var left error
		if opts.Keep {
			left = inst.Stop(clean, StopOptions{Force: true})
		} else {
			left = inst.Delete(clean, DeleteOptions{Force: true})
		}
		switch {
		case left == nil || errdefs.IsNotFound(left):
			// Somebody else may have deleted it before: gone is gone.
		case err == nil:
			err = left
		default:
			err = errors.Join(err, left)
		}
	}()
	if err := inst.Start(ctx, StartOptions{}); err != nil {
		return Exit{}, err
	}
	info, err := inst.Info(ctx)
	if err != nil {
		return Exit{}, err
	}
	if opts.Stdout != nil || opts.Stderr != nil {
		// The stream ends with the run, so nothing of it is lost.
		if err := CopyLogs(ctx, inst, LogOptions{Run: info.Run, Follow: true}, opts.Stdout, opts.Stderr); err != nil {
			return Exit{}, err
		}
	}
	return inst.Wait(ctx, WaitOptions{Run: info.Run})
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
