package containerd

import (
	"context"
	"errors"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// translate is the one place where an error of containerd becomes one of ours.
// It gives it a kind and, where it can, a field, and leaves operation and
// resource to resource.Fail.
//
// The context is the one of the call, from Provider.begin: what it ended with is
// the error where it has ended, whatever the backend made of it.
func translate(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if done := ended(ctx); done != nil {
		return done
	}
	if at, ok := ctx.Deadline(); ok && time.Until(at) < aboutNow && late(err) {
		return context.DeadlineExceeded
	}
	var own *resource.Error
	if errors.As(err, &own) || resource.FaultsOf(err) != nil {
		return err
	}
	if _, raw := status.FromError(err); raw {
		err = errgrpc.ToNative(err)
	}
	if e := translateImage(err); e != nil {
		return e
	}
	if e := translateText(err); e != nil {
		return e
	}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		if done := givenUp(ctx); done != nil {
			return done
		}
		// Our context has not ended: it was the daemon that gave up.
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: withoutKind{err}}
	case errdefs.IsNotImplemented(err):
		return &resource.Error{Kind: errors.ErrUnsupported, Err: err}
	case errdefs.IsConflict(err):
		return &resource.Error{Kind: errdefs.ErrAborted, Err: err}
	case errdefs.IsOutOfRange(err):
		return &resource.Error{Kind: errdefs.ErrInvalidArgument, Err: err}
	}
	return err
}

// aboutNow is how much earlier than our clock the daemon's may see a deadline.
const aboutNow = 100 * time.Millisecond

// late reports whether the deadline was passed, by the clock of whoever made the
// error. A shim that sees it reports no code, only the text (seen on 1.6.20).
func late(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || status.Code(err) == codes.DeadlineExceeded ||
		strings.HasSuffix(strings.TrimSuffix(err.Error(), ": unknown"), context.DeadlineExceeded.Error())
}

// ended returns what the context ended with, as callers should see it.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), resource.ErrClosed) {
		return resource.Errorf(resource.ErrClosed, "provider is closed")
	}
	return outlive.Err(ctx)
}

// text is a message of containerd, its shim or runc that says more than its
// kind. Each is provoked for real by a case of TestErrorTexts.
type text struct {
	match *regexp.Regexp
	kind  error
	field string
}

// texts were seen on containerd 1.6.20 and 2.4.2 with runc 1.1.5. The first that matches
// counts.
var texts = []text{
	// Tasks.Create, and Tasks.Start of an exec: the program is not there or may not
	// be executed. That it has no format of the kernel's shows only as an exit.
	{regexp.MustCompile(`OCI runtime (create|exec) failed: .*exec: "`), errdefs.ErrInvalidArgument, "process.command"},
	{regexp.MustCompile(`OCI runtime (create|exec) failed: .*(chdir to cwd|mkdir .* not a directory)`), errdefs.ErrInvalidArgument, "process.dir"},
	// Tasks.Create while another call is still deleting the task before.
	{regexp.MustCompile(`mkdir .*/io\.containerd\.runtime\.v2\.task/.*: file exists`), errdefs.ErrAlreadyExists, ""},
	// Tasks.Pause on a host that is busy, and Tasks.Resume of what was thawed to be
	// killed.
	{regexp.MustCompile(`OCI runtime pause failed: unable to freeze`), errdefs.ErrUnavailable, ""},
	{regexp.MustCompile(`OCI runtime resume failed: (container not paused|cannot resume)`), errdefs.ErrFailedPrecondition, ""},
	{regexp.MustCompile(`cannot delete a (running|paused) process`), errdefs.ErrFailedPrecondition, ""},
	{regexp.MustCompile(`unable to set memory limit to`), errdefs.ErrInvalidArgument, "resources.memory"},
	{regexp.MustCompile(`cpuset\.(cpus|mems).*(invalid argument|numerical result out of range|permission denied)`), errdefs.ErrInvalidArgument, "resources.cpuSet"},
	{regexp.MustCompile(`error mounting .* no such file or directory`), errdefs.ErrInvalidArgument, "mounts"},
	{regexp.MustCompile(`error setting rlimit`), errdefs.ErrInvalidArgument, "rlimits"},
	{regexp.MustCompile(`no space left on device`), errdefs.ErrResourceExhausted, ""},
}

func translateText(err error) error {
	message := err.Error()
	for _, t := range texts {
		if t.match.MatchString(message) {
			return &resource.Error{Kind: t.kind, Field: t.field, Err: errors.New(shorten(message))}
		}
	}
	return nil
}

// shorten takes away what runc and the shim put around what went wrong.
func shorten(message string) string {
	for _, prefix := range []string{"failed to create shim task: ", "failed to start shim: ", "OCI runtime create failed: ", "OCI runtime start failed: ", "OCI runtime exec failed: ", "runc create failed: ", "exec failed: ", "unable to start container process: "} {
		message = strings.TrimPrefix(message, prefix)
	}
	message = strings.TrimSuffix(message, ": "+errdefs.ErrUnknown.Error())
	return strings.TrimSuffix(message, ": unknown")
}

// atField names the field at fault, where the error does not already.
func atField(field string, err error) error {
	if err == nil || resource.KindOf(err) == nil && errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var own *resource.Error
	if errors.As(err, &own) && own.Field != "" {
		return err
	}
	out := &resource.Error{Kind: resource.KindOf(err), Field: field, Err: err}
	if own, ok := err.(*resource.Error); ok {
		out.Err = own.Err
	}
	return out
}

// withoutKind keeps an error's text and hides its kind.
type withoutKind struct{ error }
