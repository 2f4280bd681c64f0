package daemon

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"
)

// State is what a [Daemon] value knows about its daemon.
type State int

const (
	// Running means that the daemon was ready and has not exited since.
	Running State = iota
	// Restarting means that it has exited and is being started again.
	Restarting
	// Stopped means that another user of the folder shut it down on purpose.
	Stopped
	// Failed means that restarting was given up; Status.Err says why.
	Failed
	// Closed means that the value was closed, whatever the daemon does.
	Closed
)

// String returns the state in lower case.
func (s State) String() string {
	switch s {
	case Running:
		return "running"
	case Restarting:
		return "restarting"
	case Stopped:
		return "stopped"
	case Failed:
		return "failed"
	case Closed:
		return "closed"
	}
	return fmt.Sprintf("state(%d)", int(s))
}

// Status is a snapshot of a [Daemon].
type Status struct {
	// State is what the daemon is doing.
	State State
	// PID is the process of the daemon, zero while there is none.
	PID int
	// Adopted says that another process, or another value, started it.
	Adopted bool
	// Restarts counts how often a new process replaced one that died while
	// this value was open, whoever started it.
	Restarts int
	// Err is the last failure: why the daemon was restarted, is not up again
	// yet, or was given up. It carries the last lines of the log.
	Err error
}

// health is the error that a user of the daemon should see.
func (s Status) health(name string) error {
	switch s.State {
	case Running:
		return nil
	case Closed:
		return fmt.Errorf("%s: %w", name, fs.ErrClosed)
	case Stopped:
		return fmt.Errorf("%s was shut down by another user of its folder: %w", name, errdefs.ErrUnavailable)
	}
	if s.Err == nil {
		return fmt.Errorf("%s is %s: %w", name, s.State, errdefs.ErrUnavailable)
	}
	if errors.Is(s.Err, errdefs.ErrUnavailable) {
		return fmt.Errorf("%s is %s: %w", name, s.State, s.Err)
	}
	return fmt.Errorf("%s is %s: %w: %w", name, s.State, errdefs.ErrUnavailable, s.Err)
}
