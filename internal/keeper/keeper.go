// Package keeper carries the helper of this module: one small static program
// that does what must outlive the process that asked for it. The program is
// embedded, so that nothing but this module has to be installed; its source is
// in cmd/keeper, and `go generate` builds it.
package keeper

//go:generate go run ./gen

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"unicode"

	"github.com/univirt/univirt/internal/logfile"
)

// Install puts the helper into dir, under a name that holds its digest, and
// returns its path with all symbolic links resolved. A folder that is missing is
// made. What stands there already is used only if it is whole and nobody else
// could have written or could replace it; a file that is not is replaced, a
// folder that is not is an error. It may be called at the same time by any number
// of processes.
//
// The error is [errors.ErrUnsupported] where there is no helper for the platform,
// and [ErrUntrusted] where others could change what would be executed.
func Install(dir string) (path string, err error) {
	if len(binary) == 0 {
		return "", fmt.Errorf("keeper: no helper for %s/%s: %w", runtime.GOOS, runtime.GOARCH, errors.ErrUnsupported)
	}
	return install(dir, binary)
}

// ErrUntrusted says that a folder on the way to the helper can be written by
// others, or is on a file system that does not execute.
var ErrUntrusted = errors.New("not a place to execute the helper from")

// LogOptions describe the log of one run of an instance. See package logfile for
// what is written.
type LogOptions struct {
	// Dir is the folder of the instance's logs; required, absolute.
	Dir string
	// Run is the token of the run; required, see logfile.CheckRun.
	Run string
	// MaxSize and MaxFiles bound what is kept, see logfile.WriterOptions.
	MaxSize  int64
	MaxFiles int
	// Terminal says that the instance has a terminal, thus one output. It must be
	// right: without it the log of such an instance does not end before the shim.
	Terminal bool
}

// LogURI returns the output of a containerd task that makes its shim run the
// helper at path as the writer of a log. The shim has the helper running, and its
// file open, when the task has been created; it cannot tell a helper that failed,
// so ask logfile.Writing then. The shim keeps the outputs open beyond the exit of
// the process: the log ends, and its readers with it, when the task is deleted.
func LogURI(path string, o LogOptions) (string, error) {
	err := errors.Join(checkPath("path", path), checkPath("Dir", o.Dir), logfile.CheckRun(o.Run))
	if o.MaxSize < 0 || o.MaxFiles < 0 {
		err = errors.Join(err, errors.New("MaxSize and MaxFiles: must not be negative"))
	}
	if err != nil {
		return "", fmt.Errorf("keeper: log of run %q: %w", o.Run, err)
	}
	// The shim takes the first value of each key and passes the pairs in any
	// order.
	query := url.Values{"role": {"log"}, "dir": {o.Dir}, "run": {o.Run}}
	if o.MaxSize > 0 {
		query.Set("max-size", strconv.FormatInt(o.MaxSize, 10))
	}
	if o.MaxFiles > 0 {
		query.Set("max-files", strconv.Itoa(o.MaxFiles))
	}
	if o.Terminal {
		query.Set("terminal", "true")
	}
	uri := url.URL{Scheme: "binary", Path: path, RawQuery: query.Encode()}
	return uri.String(), nil
}

func checkPath(field, path string) error {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return fmt.Errorf("%s: %q is not an absolute, clean path", field, path)
	case strings.ContainsFunc(path, unicode.IsControl):
		return fmt.Errorf("%s: %q has control characters", field, path)
	}
	return nil
}
