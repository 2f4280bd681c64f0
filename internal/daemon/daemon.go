// Package daemon starts and supervises one private backend daemon in a folder,
// for a program that wants no system configuration.
//
// The daemon belongs to the folder, not to the process that started it: it
// survives a kill of its starter, and whoever calls [Start] next on the same
// folder adopts it. Any number of values, in one process or in many, may use a
// folder at once; the last to close shuts the daemon down, and when the daemon
// dies exactly one of them restarts it.
//
// What a folder holds beside the daemon's own files: owner.json marks it as
// made by this package, start.lock is held while somebody starts, stops or
// removes the daemon, use.lock is shared by all open values, process.json says
// which process the daemon is, and daemon.log is its output.
//
// Linux only; elsewhere every function returns [errors.ErrUnsupported].
package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/containerd/errdefs"
)

const (
	defaultStartTimeout = 30 * time.Second
	defaultGrace        = 10 * time.Second
	defaultLogLimit     = 4 << 20
	defaultRestarts     = 5
)

// Config says which daemon to run and where. Dir, Name, Command and Ready are
// required.
type Config struct {
	// Dir is the absolute path of the folder that the daemon owns. It is made
	// with mode 0700 where it is absent; one that exists must be empty or made
	// by this package, belong to the caller and be writable by nobody else, and
	// none of its parents may be replaceable by another user.
	Dir string
	// Name is what messages call the daemon, a DNS label such as "containerd".
	// A folder belongs to one name.
	Name string
	// Command returns the command line, its first element an absolute path. It
	// is called while the folder is locked, right before each start of a new
	// process and never on an adoption, so it is the place to write the
	// daemon's configuration files.
	Command func(ctx context.Context) ([]string, error)
	// Env is the whole environment of the daemon, as KEY=VALUE. Nothing is
	// inherited; one variable that marks the process is added.
	Env []string
	// Ready returns nil once the daemon can be used. It is called again and
	// again while the daemon starts and must end with its context.
	Ready func(ctx context.Context) error
	// StartTimeout bounds each wait for Ready. Zero means 30 seconds.
	StartTimeout time.Duration
	// Grace is the time between SIGTERM and SIGKILL. Zero means 10 seconds.
	Grace time.Duration
	// LogLimit is the size in bytes at which daemon.log is moved to
	// daemon.log.1, so both hold at most about twice that while a value is
	// open. Zero means 4 MiB.
	LogLimit int64
	// Restarts is how many times in a row a daemon that dies is restarted
	// before the value gives up. Zero means 5, negative never.
	Restarts int
}

var namePattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// FieldError is an error at a field of a Config: Dir, or one of the packages that
// run particular daemons, such as Binary.
type FieldError struct {
	Field string
	Err   error
}

// AtField returns an error at a field, with a text as of fmt.Errorf.
func AtField(field, format string, args ...any) error {
	return &FieldError{Field: field, Err: fmt.Errorf(format, args...)}
}

// Error returns the text, which says of itself what it is about.
func (e *FieldError) Error() string { return e.Err.Error() }

// Unwrap returns the error.
func (e *FieldError) Unwrap() error { return e.Err }

// Starting puts before an error of a start, if there is one, what was started.
func Starting(name, dir string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("start managed %s in %q: %w", name, dir, err)
}

// withDefaults fills in what is zero and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	if !namePattern.MatchString(c.Name) {
		return c, AtField("Name", "Name %q is not a DNS label: %w", c.Name, errdefs.ErrInvalidArgument)
	}
	if err := checkPath("Dir", c.Dir); err != nil {
		return c, err
	}
	if c.Command == nil || c.Ready == nil {
		return c, AtField("Command", "Command and Ready are required: %w", errdefs.ErrInvalidArgument)
	}
	if c.StartTimeout < 0 || c.Grace < 0 || c.LogLimit < 0 {
		return c, AtField("StartTimeout", "StartTimeout, Grace and LogLimit must not be negative: %w", errdefs.ErrInvalidArgument)
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = defaultStartTimeout
	}
	if c.Grace == 0 {
		c.Grace = defaultGrace
	}
	if c.LogLimit == 0 {
		c.LogLimit = defaultLogLimit
	}
	if c.Restarts == 0 {
		c.Restarts = defaultRestarts
	}
	return c, nil
}

// checkPath refuses a path that could be misread once it stands in a command
// line, a configuration file or a message.
func checkPath(field, path string) error {
	switch {
	case path == "":
		return AtField(field, "%s is required: %w", field, errdefs.ErrInvalidArgument)
	case !filepath.IsAbs(path) || filepath.Clean(path) != path:
		return AtField(field, "%s %q is not a clean absolute path: %w", field, path, errdefs.ErrInvalidArgument)
	case path == string(filepath.Separator):
		return AtField(field, "%s must not be the root folder: %w", field, errdefs.ErrInvalidArgument)
	case !utf8.ValidString(path):
		return AtField(field, "%s %q is not valid UTF-8: %w", field, path, errdefs.ErrInvalidArgument)
	}
	for _, r := range path {
		if !unicode.IsPrint(r) {
			return AtField(field, "%s %q holds a character that cannot be printed: %w", field, path, errdefs.ErrInvalidArgument)
		}
	}
	return nil
}

// maxSocketPath is what every Unix allows and containerd insists on; Linux
// itself would take three bytes more.
const maxSocketPath = 104

// CheckSocketPath returns InvalidArgument if path is too long for a Unix
// socket. The message names field, the setting that the caller can shorten.
func CheckSocketPath(field, path string) error {
	if over := len(path) - maxSocketPath; over > 0 {
		return AtField(field, "%s is %d bytes too long: the path of the socket %q would have %d bytes, at most %d are possible: %w",
			field, over, path, len(path), maxSocketPath, errdefs.ErrInvalidArgument)
	}
	return nil
}
