//go:build !linux

package daemon

import (
	"context"
	"errors"
	"fmt"
)

// Daemon is one use of a running daemon.
type Daemon struct{}

func unsupported() error {
	return fmt.Errorf("daemon: needs Linux: %w", errors.ErrUnsupported)
}

// Start returns [errors.ErrUnsupported].
func Start(context.Context, Config) (*Daemon, error) { return nil, unsupported() }

// Remove returns [errors.ErrUnsupported].
func Remove(context.Context, RemoveOptions) error { return unsupported() }

// Unused returns [errors.ErrUnsupported].
func Unused(string) error { return unsupported() }

// Made returns false.
func Made(string, string) bool { return false }

// Status returns the zero value with State Closed.
func (d *Daemon) Status() (Status, <-chan struct{}) { return Status{State: Closed}, nil }

// Health returns [errors.ErrUnsupported].
func (d *Daemon) Health() error { return unsupported() }

// Close returns [errors.ErrUnsupported].
func (d *Daemon) Close(context.Context, bool) error { return unsupported() }

// Stop returns [errors.ErrUnsupported].
func (d *Daemon) Stop(context.Context) error { return unsupported() }
