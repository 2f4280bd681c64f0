package fake

import (
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// initStorage makes the host's files and bounds the disk.
func (b *Backend) initStorage() {
	b.used.disk.limit.Store(b.opts.Capacity.Disk)
	b.initPools()
	root := newFolder(0o755, 0, 0)
	root.put("tmp", newFolder(fs.ModeSticky|0o777, 0, 0))
	b.host = &view{root: &mounted{fs: newFilesystem(root, &quota{}), root: root}}
}

// store takes bytes out of the disk's capacity.
func (b *Backend) store(bytes int64) error {
	if !b.used.disk.take(bytes) {
		return resource.Errorf(errdefs.ErrResourceExhausted, "the disk has %s left", resource.FormatSize(b.used.disk.room()))
	}
	return nil
}

// unstore gives them back.
func (b *Backend) unstore(bytes int64) { b.used.disk.give(bytes) }
