// Command testreport reads what "go test -json" writes and says in a few lines
// what became of the tests: the output of those that failed, the packages and
// tests that took long, how many passed, and which were skipped.
//
// A skip is a failure unless it says that the provider under test declares that
// it has not got what the case is about: a suite that skips its real backends
// for want of a daemon must not look green.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// declared begins the reason of a skip that is not a failure. It is followed by
// what is not declared.
const declared = "not offered: "

// short begins the reason of a skip that the caller of go test asked for.
const short = "short: "

type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64
	Output  string
}

type report struct {
	passed, failed, skipped int
	unexpected              []string
	// failures are the names of what failed.
	failures []string
	// slow is how long packages and tests took that took long.
	slow map[string]time.Duration
	// races are what the race detector said. It writes into the output of whichever
	// test is at work, which may pass.
	races []string
	// racing says that the last of them is not complete.
	racing bool
}

func main() {
	r, err := read(os.Stdin, os.Stdout)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.print(os.Stdout) {
		os.Exit(1)
	}
}

// read takes in the events, and writes the output of what failed as it comes.
func read(in io.Reader, out io.Writer) (*report, error) {
	r := &report{slow: map[string]time.Duration{}}
	output := map[string][]string{}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) != nil {
				// What is no event is the go command's own complaint.
				fmt.Fprintf(out, "%s", line)
			} else {
				r.take(e, output, out)
			}
		}
		if err == io.EOF {
			return r, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (r *report) take(e event, output map[string][]string, out io.Writer) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		output[key] = append(output[key], e.Output)
		r.listen(e.Output)
		return
	case "build-output":
		fmt.Fprint(out, e.Output)
		return
	case "pass":
		if e.Test != "" {
			r.passed++
		}
		if took := time.Duration(e.Elapsed * float64(time.Second)); took >= long {
			r.slow[strings.TrimSpace(key)] = took
		}
	case "skip":
		if e.Test != "" {
			r.skipped++
			if text := strings.Join(output[key], ""); !strings.Contains(text, declared) && !strings.Contains(text, short) {
				r.unexpected = append(r.unexpected, key+"\n"+text)
			}
		}
	case "fail":
		r.failed++
		r.failures = append(r.failures, strings.TrimSpace(key))
		fmt.Fprintf(out, "--- FAIL: %s\n%s", key, strings.Join(output[key], ""))
	default:
		return
	}
	delete(output, key)
}

// long is how long a package or a test takes that is told.
const long = 20 * time.Second

// mostRaces bounds what is told of races.
const mostRaces = 3

// listen takes in a line of output, which may be of the race detector's.
func (r *report) listen(line string) {
	switch {
	case strings.HasPrefix(line, "WARNING: DATA RACE"):
		r.races, r.racing = append(r.races, ""), true
	case strings.HasPrefix(line, "=================="):
		r.racing = false
	}
	if r.racing {
		r.races[len(r.races)-1] += line
	}
}

// print writes the summary and reports whether all is well.
func (r *report) print(out io.Writer) bool {
	for _, s := range r.unexpected {
		fmt.Fprintf(out, "skipped, and nobody declared why: %s", s)
	}
	for _, race := range r.races[:min(len(r.races), mostRaces)] {
		fmt.Fprint(out, race)
	}
	names := slices.SortedFunc(maps.Keys(r.slow), func(a, b string) int { return cmp.Compare(r.slow[b], r.slow[a]) })
	for _, name := range names {
		fmt.Fprintf(out, "ok: %s took %s\n", name, r.slow[name].Round(time.Second))
	}
	for _, name := range r.failures {
		fmt.Fprintf(out, "failed: %s\n", name)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", r.passed, r.failed+len(r.unexpected), r.skipped-len(r.unexpected))
	return r.failed == 0 && len(r.unexpected) == 0 && r.passed > 0
}
