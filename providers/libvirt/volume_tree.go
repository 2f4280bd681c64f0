//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/internal/ext4"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// The kernel of this host never mounts a volume's filesystem, which a guest wrote. It is
// made by mke2fs out of a folder, since neither debugfs takes a name with a line break nor
// tar2ext4 of hcsshim leaves inodes for what comes later; and it is read by internal/ext4.

// treeSuffix is the end of the name of the folder that an archive is unpacked in.
const treeSuffix = ".tree"

func (p *Provider) treePath(id string) string { return filepath.Join(p.opts.StateDir, id+treeSuffix) }

// importTree makes a filesystem of an archive, and then of the volume that one.
func (v *volume) importTree(ctx, asked context.Context, facts volumeFacts, parts <-chan part) error {
	size, err := v.p.sizeOf(ctx, facts.spec.Pool, facts.file())
	if err != nil {
		return err
	}
	image, err := v.p.packTree(asked, facts, &partsReader{ctx: asked, parts: parts}, size)
	if err != nil {
		if asked.Err() != nil {
			return givenUp(ctx)
		}
		return err
	}
	defer image.Close()
	if err := givenUp(ctx); err != nil {
		return err
	}
	packed, stop := partsOf(asked, image)
	defer stop()
	return v.importInto(ctx, asked, facts, packed, size)
}

// packTree makes a filesystem with what an archive holds, in a file without a name. The
// volume is locked, so what is there of an earlier try is nobody's.
func (p *Provider) packTree(ctx context.Context, facts volumeFacts, r io.Reader, size int64) (_ *os.File, err error) {
	dir := p.treePath(facts.ID)
	// What is unpacked has any mode: nobody else gets to it through the folder around it.
	tree := filepath.Join(dir, "tree")
	err = os.RemoveAll(dir)
	for _, folder := range []string{dir, tree} {
		if err == nil {
			err = os.Mkdir(folder, 0o700)
		}
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err != nil {
		return nil, fmt.Errorf("unpack the archive: %w", err)
	}
	root, err := unpackTree(r, tree, size)
	if err != nil {
		return nil, err
	}
	uid, gid := facts.spec.UID, facts.spec.GID
	if root != nil {
		uid, gid = root.Uid, root.Gid
	}
	image, err := makeFilesystem(ctx, size, uid, gid, tree)
	if err == nil && root != nil {
		// What mke2fs takes from the folder itself depends on its version.
		for _, set := range []string{fmt.Sprintf("mode 0%o", 0o40000|root.Mode&0o7777), fmt.Sprintf("mtime @%d", extTime(root.ModTime).Unix())} {
			if err == nil {
				err = extTool(ctx, image, "debugfs", "-w", "-R", "set_inode_field <2> "+set, extFile)
			}
		}
	}
	if err != nil {
		if image != nil {
			_ = image.Close()
		}
		if said := overfull(err); said != "" {
			err = &resource.Error{Kind: errdefs.ErrResourceExhausted, Field: "stream", Err: fmt.Errorf("does not fit into a filesystem of %s: %s", resource.FormatSize(size), said)}
		}
		return nil, err
	}
	return image, nil
}

// exportTree writes what is in a volume's filesystem as an archive. One whose journal was
// not written back, as of a guest that was killed, is copied first, as is one that a
// machine runs with.
func (v *volume) exportTree(ctx context.Context, from content, w io.Writer, report func(done int64)) error {
	asked := outlive.Asked(ctx)
	copied := func() error {
		return v.withCopy(ctx, from, func(file string) error {
			image, _, err := v.p.openFile(asked, from.source, file)
			if err != nil {
				return err
			}
			defer image.Close()
			return writeTree(asked, image, w, report)
		})
	}
	if from.live.disk != "" {
		return copied()
	}
	image, own, err := v.p.openFile(asked, from.source, from.from)
	if err != nil {
		return err
	}
	defer image.Close()
	if tree, err := openTree(image); err != nil || tree.NeedsRecovery() && !own {
		if err != nil {
			return err
		}
		return copied()
	}
	return writeTree(asked, image, w, report)
}

// openFile opens a file of a pool: itself, where that is on this host and may be opened,
// or else a copy of the caller's own.
func (p *Provider) openFile(ctx context.Context, pool, file string) (_ *os.File, own bool, err error) {
	path, err := onVolume(ctx, p, pool, file, func(_ *lv.Connect, v *lv.StorageVol) (string, error) { return v.GetPath() })
	if err != nil {
		return nil, false, err
	}
	if here := p.here(path); here != "" {
		f, err := os.OpenFile(here, os.O_RDWR, 0)
		if err == nil {
			return f, false, nil
		}
		p.opts.Logger.Debug("a volume's file is copied, as it cannot be opened", "file", file, "error", err)
	}
	f, err := os.CreateTemp("", "univirt-*.ext4")
	if err != nil {
		return nil, false, err
	}
	_ = os.Remove(f.Name())
	if err := p.download(ctx, pool, file, f, nil); err != nil {
		_ = f.Close()
		return nil, false, err
	}
	return f, true, nil
}

// openTree reads what a filesystem says of itself.
func openTree(image *os.File) (*ext4.Filesystem, error) {
	info, err := image.Stat()
	if err != nil {
		return nil, err
	}
	tree, err := ext4.Open(image, info.Size())
	return tree, treeError(err)
}

// treeError gives an error of a filesystem its kind.
func treeError(err error) error {
	switch {
	case errors.Is(err, ext4.ErrCorrupt):
		return &resource.Error{Kind: errdefs.ErrDataLoss, Err: err}
	case errors.Is(err, ext4.ErrUnsupported):
		return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Err: err}
	}
	return err
}

// writeTree writes an archive of a filesystem, which is a copy where its journal was not
// written back. It does not wait for a Write of the caller's when the context has ended.
func writeTree(ctx context.Context, image *os.File, w io.Writer, report func(done int64)) error {
	tree, err := openTree(image)
	if err == nil && tree.NeedsRecovery() {
		if err = extTool(ctx, image, "e2fsck", "-y", "-E", "journal_only", extFile); err == nil || mended(err) {
			tree, err = openTree(image)
		}
	}
	if err != nil {
		return err
	}
	bounded, cancel := context.WithCancel(ctx)
	defer cancel()
	parts, written := make(chan part, 4), make(chan error, 1)
	go func() {
		err := writeParts(bounded, w, parts, report)
		written <- err
		if err != nil {
			cancel()
		}
	}()
	err = tree.Archive(bounded, partsWriter{bounded, parts})
	if err == nil {
		close(parts)
	}
	if err != nil && bounded.Err() == nil {
		return treeError(err)
	}
	select {
	case err := <-written:
		if ctx.Err() != nil {
			return ended(ctx)
		}
		return err
	case <-ctx.Done():
		return ended(ctx)
	}
}

// trees takes what was being unpacked when its process died.
func (s *sweep) trees(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for _, id := range s.unpacked {
		if held, err := filelock.Held(s.p.lockPath(id)); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // somebody is at it
		}
		s.Take(ctx, s.p.ref(kindTree, "", id), func() error {
			return s.p.lockedVolume(ctx, id, func() error { return os.RemoveAll(s.p.treePath(id)) })
		})
	}
	return nil
}
