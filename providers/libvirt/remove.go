package libvirt

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/univirt/univirt/internal/daemon/libvirtd"
	"github.com/univirt/univirt/resource"
)

// Remove ends everything that a managed daemon's folder runs, machines and all,
// and removes the folder. It works after a crash, too, and may be repeated. A folder
// that a provider value is open on, or that this package has not made, is
// FailedPrecondition.
func Remove(ctx context.Context, dir string) error {
	left := endNetworks(ctx, dir)
	err := libvirtd.Destroy(ctx, dir)
	if err == nil {
		// What forwards ports ends with the machines.
		err = awaitForwarders(ctx, filepath.Join(dir, "univirt"))
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(dir, "univirt"))
	}
	return resource.Fail("remove", resource.Ref{Provider: Scheme}, errors.Join(err, left))
}
