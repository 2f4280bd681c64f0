//go:build !linux

package libvirtd

import (
	"context"
	"errors"
	"fmt"

	"github.com/univirt/univirt/internal/daemon"
)

// Daemon is one use of a private libvirtd.
type Daemon struct{ *daemon.Daemon }

func unsupported() error {
	return fmt.Errorf("managed libvirtd: needs Linux: %w", errors.ErrUnsupported)
}

// Start returns [errors.ErrUnsupported].
func Start(context.Context, Config) (*Daemon, error) { return nil, unsupported() }

// Destroy returns [errors.ErrUnsupported].
func Destroy(context.Context, string) error { return unsupported() }

// Socket returns "".
func (d *Daemon) Socket() string { return "" }

// URI returns "".
func (d *Daemon) URI() string { return "" }

// Version returns "".
func (d *Daemon) Version() string { return "" }

// Inside returns path.
func (d *Daemon) Inside(path string) string { return path }

// Outside returns path.
func (d *Daemon) Outside(path string) string { return path }

// NetworkNamespace returns "".
func (d *Daemon) NetworkNamespace() string { return "" }

// Destroy returns [errors.ErrUnsupported].
func (d *Daemon) Destroy(context.Context) error { return unsupported() }
