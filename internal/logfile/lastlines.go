package logfile

import (
	"context"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"unicode"
)

// maxShown is the number of bytes that LastLines gives of one line.
const maxShown = 1 << 10

// LastLines returns the last lines of a run, at most n, for use in an error
// message: control characters are escaped, and of a long line there is the
// beginning only. An unknown run has none.
func LastLines(ctx context.Context, dir, run string, n int) ([]string, error) {
	if err := CheckRun(run); err != nil {
		return nil, err
	}
	if n <= 0 {
		return nil, nil
	}
	var lines []string
	unfinished := map[Stream]int{} // index of the line that goes on
	for e, err := range Read(ctx, dir, Options{Run: run, Tail: n}) {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		i, goesOn := unfinished[e.Stream]
		if !goesOn {
			i = len(lines)
			lines = append(lines, "")
		}
		delete(unfinished, e.Stream)
		if e.Partial {
			unfinished[e.Stream] = i
		}
		lines[i] = shown(lines[i], e.Line)
	}
	return lines, nil
}

// shown adds content to what is shown of a line.
func shown(line string, content []byte) string {
	if len(line) >= maxShown {
		return line
	}
	var b strings.Builder
	b.WriteString(line)
	for _, c := range strings.TrimSuffix(string(content), "\r") {
		if b.Len() >= maxShown {
			b.WriteString("...")
			break
		}
		if c == '\t' || unicode.IsPrint(c) {
			b.WriteRune(c)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRune(c), "'"))
		}
	}
	return b.String()
}
