package containerd

import (
	"context"
	"errors"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// ingester is the content store for writing, without two traps that the client
// has where the daemon is gone: it takes that for content that another process
// is writing, and waits for ever; or it says no more than EOF.
type ingester struct{ content.Store }

func (s *imageStore) ingester() ingester { return ingester{s.blobs()} }

// Writer opens a writer. AlreadyExists means that the content is there, and
// under the context's lease.
func (i ingester) Writer(ctx context.Context, opts ...content.WriterOpt) (content.Writer, error) {
	w, err := i.Store.Writer(ctx, opts...)
	if err == nil {
		return ingestWriter{w}, nil
	}
	err = brokenOff(err)
	if !errdefs.IsUnavailable(err) {
		return nil, err
	}
	var wanted content.WriterOpts
	for _, opt := range opts {
		if optErr := opt(&wanted); optErr != nil {
			return nil, optErr
		}
	}
	// Being asked for the content's status is what a living daemon can do.
	if _, statusErr := i.Store.Status(ctx, wanted.Ref); statusErr != nil && !errdefs.IsNotFound(statusErr) {
		return nil, lost{err}
	}
	return nil, err
}

type ingestWriter struct{ content.Writer }

func (w ingestWriter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	return n, brokenOff(err)
}

func (w ingestWriter) Status() (content.Status, error) {
	status, err := w.Writer.Status()
	return status, brokenOff(err)
}

func (w ingestWriter) Commit(ctx context.Context, size int64, expected digest.Digest, opts ...content.Opt) error {
	return brokenOff(w.Writer.Commit(ctx, size, expected, opts...))
}

// lost hides that an error is Unavailable from the client, which would take it
// for a lock that somebody holds.
type lost struct{ err error }

// Error returns the text of the error.
func (l lost) Error() string { return l.err.Error() }

// revealed undoes what lost does.
func revealed(err error) error {
	var l lost
	if errors.As(err, &l) {
		return l.err
	}
	return err
}
