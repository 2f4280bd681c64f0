//go:build !linux

package containerd

import (
	"context"
	"errors"
	"fmt"

	"github.com/univirt/univirt/internal/daemon"
)

// Daemon is one use of a private containerd.
type Daemon struct{ *daemon.Daemon }

func unsupported() error {
	return fmt.Errorf("managed containerd: needs Linux: %w", errors.ErrUnsupported)
}

// Start returns [errors.ErrUnsupported].
func Start(context.Context, Config) (*Daemon, error) { return nil, unsupported() }

// Destroy returns [errors.ErrUnsupported].
func Destroy(context.Context, string) error { return unsupported() }

// Address returns "".
func (d *Daemon) Address() string { return "" }

// Version returns "".
func (d *Daemon) Version() string { return "" }

// Destroy returns [errors.ErrUnsupported].
func (d *Daemon) Destroy(context.Context) error { return unsupported() }
