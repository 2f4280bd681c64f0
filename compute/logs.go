package compute

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/resource"
)

// Logger is an instance whose output is kept.
type Logger interface {
	Instance
	// Logs yields lines of the main process's output, oldest first. Output is
	// kept whether or not the creating process lives, until the instance is
	// deleted or the provider's bound on its size is reached. Each range starts
	// anew; an error is yielded once, last. With Follow the stream ends when the
	// run does and everything has been yielded, or with its context.
	Logs(ctx context.Context, opts LogOptions) iter.Seq2[LogLine, error]
}

// Stream is one of the two output streams.
type Stream string

// The streams. A terminal's output is Stdout.
const (
	Stdout Stream = "stdout"
	Stderr Stream = "stderr"
)

// LogLine is one line of output.
type LogLine struct {
	// Time is when the line was written, by the clock of the host; zero where the
	// provider has not FeatureLogsTimes.
	Time time.Time
	// Stream says which stream it was written to.
	Stream Stream
	// Text is the line without its newline. It is the guest's: any bytes at all.
	Text []byte
	// Partial says that no newline follows: the line was cut for its length, or
	// the output ended in the middle of it.
	Partial bool
	// Run is the run that wrote it.
	Run string
}

// LogOptions are the options of Logs. The zero value yields everything kept of
// the run under way, or of the last.
type LogOptions struct {
	// Run names a run; empty means the one under way, or the last. A run that is
	// not known, or not any more, is NotFound.
	Run string
	// Since and Until bound the lines' times, if not zero: from Since on, before
	// Until. Without FeatureLogsTimes they are Unsupported.
	Since, Until time.Time
	// Tail limits to the last so many lines of what would be yielded; 0 means all.
	Tail int
	// Follow goes on with new lines until the run ends.
	Follow bool
	// Streams limits to these; empty means both.
	Streams []Stream
}

// Validate reports every fault of the options.
func (o LogOptions) Validate() resource.Faults {
	var f resource.Faults
	if o.Tail < 0 {
		f.Add("tail", "must not be negative")
	}
	for i, s := range o.Streams {
		if s != Stdout && s != Stderr {
			f.Add(at("streams", i), "must be %q or %q", Stdout, Stderr)
		}
	}
	return f
}

// Logs yields an instance's output; errors.ErrUnsupported where none is kept.
func Logs(ctx context.Context, inst Instance, opts LogOptions) iter.Seq2[LogLine, error] {
	l, err := extension[Logger](inst, "logs")
	if err != nil {
		return func(yield func(LogLine, error) bool) { yield(LogLine{}, err) }
	}
	return l.Logs(ctx, opts)
}
