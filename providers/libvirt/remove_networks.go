//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"path/filepath"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/internal/daemon"
)

// endNetworks ends the networks of a managed daemon, which are the host's: bridges and
// rules that nobody else takes away. In a network of the daemon's own they go with it.
func endNetworks(ctx context.Context, dir string) error {
	running, err := filepath.Glob(filepath.Join(dir, "run", "network", "*.xml"))
	if err != nil || len(running) == 0 {
		return err
	}
	if daemon.Unused(dir) != nil {
		return nil // nothing will be removed
	}
	p, err := New(ctx, Options{Managed: &Managed{Dir: dir}, Acceleration: AccelerationNone})
	if err != nil {
		return err
	}
	err = act(ctx, p, func(c *lv.Connect) error {
		all, err := c.ListAllNetworks(lv.CONNECT_LIST_NETWORKS_ACTIVE)
		for i := range all {
			err = errors.Join(err, all[i].Destroy(), all[i].Free())
		}
		return err
	})
	return errors.Join(err, p.Close())
}
