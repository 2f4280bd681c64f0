package containerd

import (
	"context"
	"io"
	"time"
)

// streamGrace is how long the end of an operation waits for a reader or writer
// of the caller's that is in the middle of a call.
const streamGrace = time.Second

// streamBuffer is what one call moves; each is one exchange with the daemon.
const streamBuffer = 1 << 20

// readFrom returns a reader of what r yields, whose calls end with the context
// although those of r may not. After stop r is left alone, unless a call of it
// blocks for longer than the grace.
func readFrom(ctx context.Context, r io.Reader) (_ io.Reader, stop func()) {
	out, in := io.Pipe()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := io.CopyBuffer(in, onlyReader{r}, make([]byte, streamBuffer))
		in.CloseWithError(err)
	}()
	unhook := context.AfterFunc(ctx, func() { in.CloseWithError(ctx.Err()) })
	return out, func() {
		unhook()
		out.Close()
		briefly(ended)
	}
}

// writeTo returns a writer into w, whose calls end with the context although
// those of w may not. Finish waits until all is written and returns the error
// of w; then w is left alone, unless a call of it blocks for longer than the
// grace past the context's end.
func writeTo(ctx context.Context, w io.Writer) (_ io.Writer, finish func() error) {
	out, in := io.Pipe()
	ended := make(chan struct{})
	var failed error // once ended
	go func() {
		defer close(ended)
		_, failed = io.CopyBuffer(onlyWriter{w}, onlyReader{out}, make([]byte, streamBuffer))
		out.CloseWithError(failed)
	}()
	unhook := context.AfterFunc(ctx, func() { out.CloseWithError(ctx.Err()) })
	return in, func() error {
		in.Close()
		select {
		case <-ended:
		case <-ctx.Done():
			briefly(ended)
			return ctx.Err()
		}
		unhook()
		return failed
	}
}

func briefly(ended <-chan struct{}) {
	timer := time.NewTimer(streamGrace)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	}
}

// onlyReader and onlyWriter hide methods by which io.Copy would do without the
// buffer.
type onlyReader struct{ io.Reader }

type onlyWriter struct{ io.Writer }
