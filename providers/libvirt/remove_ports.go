package libvirt

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/univirt/univirt/internal/filelock"
)

// portsSuffix is of the file that the helper holds which forwards the ports of an
// instance. It ends with the run, and the file stays until the instance goes: the
// next run has the same ports, if they are free.
const portsSuffix = ".ports"

// awaitForwarders waits until nothing forwards ports any more for a folder for state.
func awaitForwarders(ctx context.Context, dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*"+portsSuffix))
	for _, file := range files {
		lock, lockErr := filelock.Acquire(ctx, file, filelock.Exclusive)
		lock.Release()
		err = errors.Join(err, lockErr)
	}
	return err
}
