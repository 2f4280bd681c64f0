package guest

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// streamCommands read and write the standard streams.
var streamCommands = map[string]command{
	"echo": {args: "[TEXT...]", max: -1, run: echo,
		help: "prints its arguments, separated by spaces, and a newline"},
	"printf": {args: "TEXT", min: 1, max: 1, run: printf,
		help: "prints TEXT as it is, without a newline"},
	"both": {args: "N", min: 1, max: 1, run: both,
		help: `prints "out 1".."out N" to standard output, "err 1".."err N" to standard error, in turn`},
	"lines": {args: "N INTERVAL", min: 2, max: 2, run: lines,
		help: `prints "line 1".."line N" with a pause before each but the first`},
	"cat": {args: "", max: 0, run: cat,
		help: "copies standard input to standard output"},
	"flood": {args: "BYTES [stdout|stderr|both]", min: 1, max: 2, run: flood,
		help: "writes BYTES of a known pattern to each"},
}

func echo(_ context.Context, p *process, args []string) int {
	p.printf("%s\n", strings.Join(args, " "))
	return 0
}

func printf(_ context.Context, p *process, args []string) int {
	p.printf("%s", args[0])
	return 0
}

func both(_ context.Context, p *process, args []string) int {
	n, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return p.misused("number", args[0])
	}
	for i := range n {
		if _, err := fmt.Fprintf(p.stderr, "err %d\n", i+1); err != nil || !p.printf("out %d\n", i+1) {
			return 1
		}
	}
	return 0
}

func lines(ctx context.Context, p *process, args []string) int {
	n, err := strconv.ParseUint(args[0], 10, 31)
	if err != nil {
		return p.misused("number", args[0])
	}
	interval, err := time.ParseDuration(args[1])
	if err != nil {
		return p.misused("duration", args[1])
	}
	for i := range n {
		if i > 0 && !pause(ctx, interval) || !p.printf("line %d\n", i+1) {
			return 1
		}
	}
	return 0
}

func cat(_ context.Context, p *process, _ []string) int {
	if _, err := io.Copy(p.stdout, p.stdin); err != nil {
		return p.fail(err)
	}
	return 0
}

func flood(_ context.Context, p *process, args []string) int {
	size, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || size < 0 {
		return p.misused("size", args[0])
	}
	var out, errs io.Reader = Flood("stdout", size), Flood("stderr", size)
	if len(args) == 2 {
		switch args[1] {
		case "both":
		case "stdout":
			errs = nil
		case "stderr":
			out = nil
		default:
			return p.misused("stream", args[1])
		}
	} else {
		errs = nil
	}
	// The streams take turns in small pieces, so that a reader of only one of
	// them stalls the program as it would any other.
	const piece = 32 << 10
	for out != nil || errs != nil {
		for _, s := range []struct {
			from *io.Reader
			to   io.Writer
		}{{&out, p.stdout}, {&errs, p.stderr}} {
			if *s.from == nil {
				continue
			}
			switch _, err := io.CopyN(s.to, *s.from, piece); err {
			case nil:
			case io.EOF:
				*s.from = nil
			default:
				return p.fail(err)
			}
		}
	}
	return 0
}

// floodLine is the length of a line of the pattern with its newline.
const floodLine = 64

// Flood returns what "flood" writes to a stream ("stdout" or "stderr"), for
// comparison or for its checksum. It is text in lines of 64 bytes, each unlike
// all others of both streams; the last one may be cut.
func Flood(stream string, size int64) io.Reader {
	return io.LimitReader(&floodReader{stream: stream}, size)
}

type floodReader struct {
	stream string
	next   int64
	rest   []byte
	line   [floodLine]byte
}

func (f *floodReader) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(f.rest) == 0 {
			f.rest = f.compose()
		}
		k := copy(b[n:], f.rest)
		f.rest = f.rest[k:]
		n += k
	}
	return n, nil
}

// compose writes the next line: stream, number, and letters that depend on the
// number, so that a lost, doubled or moved piece shows at any size.
func (f *floodReader) compose() []byte {
	line := append(f.line[:0], f.stream...)
	line = fmt.Appendf(line, " %016d ", f.next)
	for i := len(line); i < floodLine-1; i++ {
		line = append(line, 'a'+byte((f.next+int64(i)*(f.next%7+1))%26))
	}
	f.next++
	return append(line, '\n')
}
