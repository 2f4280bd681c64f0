package compute

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Migrator is an instance that can move to another host.
type Migrator interface {
	Instance
	// Migrate moves the instance. Its identity stays. A failed or cancelled call
	// leaves it where it was.
	Migrate(ctx context.Context, opts MigrateOptions) error
}

// MigrateOptions say where to and how.
type MigrateOptions struct {
	// Host names the host to move to, in the provider's words; empty lets the
	// provider choose.
	Host string
	// Live keeps the instance running meanwhile.
	Live bool
	// Progress, if not nil, is called with reports.
	Progress resource.ProgressFunc
}

// Migrate moves an instance to another host; errors.ErrUnsupported where that
// cannot be.
func Migrate(ctx context.Context, inst Instance, opts MigrateOptions) error {
	m, err := extension[Migrator](inst, "migrate")
	if err != nil {
		return err
	}
	return m.Migrate(ctx, opts)
}
