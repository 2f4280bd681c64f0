package daemon

import (
	"context"
	"time"
)

// RemoveOptions says what [Remove] removes.
type RemoveOptions struct {
	// Dir and Name are those of the [Config] that the daemon was started with.
	Dir, Name string
	// Grace is the time between SIGTERM and SIGKILL. Zero means 10 seconds.
	Grace time.Duration
	// Clean, where set, ends what the daemon left behind outside of the folder,
	// such as processes that outlive it. It runs after the daemon is gone and
	// before mounts and files are removed; if it fails, they stay.
	Clean func(ctx context.Context) error
}
