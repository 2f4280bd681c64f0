//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var asTar = storage.TransferOptions{Format: storage.Tar}

// exported returns what an export of a volume has, by the names.
func exported(t *testing.T, v storage.Volume) map[string]archived {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, storage.Export(t.Context(), v, &out, asTar))
	all := map[string]archived{}
	for r := tar.NewReader(&out); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		all[path.Clean(h.Name)] = archived{*h, string(content)}
	}
}

func onImage(t *testing.T, v storage.Volume, do func(*os.File)) {
	t.Helper()
	f, err := os.OpenFile(volumeInfo(t, v).Path, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	do(f)
}

func TestTreesAreTransferred(t *testing.T) {
	p := open(t, "trees")
	ctx := t.Context()
	for name, size := range map[string]int64{"bounded": 64 * resource.MiB, "boundless": 0} {
		v := makeVolume(t, p, storage.Spec{Name: name, Size: size})
		before := volumeInfo(t, v).Capacity
		special := func(kind byte, name string) archived {
			return archived{tar.Header{Name: name, Typeflag: kind, Mode: 0o640, Devmajor: 8, Devminor: 300}, ""}
		}
		attributes := map[string]string{
			attributeKey + "user.k": strings.Repeat("v", 500), attributeKey + "trusted.x": "y",
			attributeKey + "security.capability": "\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		}
		var last resource.Progress
		archive := pack(t,
			archived{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o1770, Uid: 70000, Gid: 8}, ""},
			special(tar.TypeChar, "char"), special(tar.TypeBlock, "block"), special(tar.TypeFifo, "fifo"),
			archived{tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o640, PAXRecords: attributes}, "here"},
			regular("sparse", strings.Repeat("\x00", 8<<20)+"end"),
		)
		opts := storage.TransferOptions{Format: storage.Tar, Size: int64(len(archive)), Progress: func(p resource.Progress) { last = p }}
		require.NoError(t, storage.Import(ctx, v, bytes.NewReader(archive), opts))
		assert.Equal(t, "done", last.Phase)
		all := exported(t, v)
		require.Len(t, all, 6)
		root := all["."].header
		assert.Equal(t, []int64{0o1770, 70000, 8}, []int64{root.Mode, int64(root.Uid), int64(root.Gid)})
		for _, name := range []string{"char", "block"} {
			assert.Equal(t, []int64{8, 300, 0o640}, []int64{all[name].header.Devmajor, all[name].header.Devminor, all[name].header.Mode}, name)
		}
		assert.Equal(t, byte(tar.TypeFifo), all["fifo"].header.Typeflag)
		for key, value := range attributes {
			assert.Equal(t, value, all["x"].header.PAXRecords[key], key)
		}
		assert.Equal(t, strings.Repeat("\x00", 8<<20)+"end", all["sparse"].content)
		info := volumeInfo(t, v)
		assert.Equal(t, before, info.Capacity)
		if size == 0 {
			assert.Less(t, info.Used, 20*resource.MiB, "a hole stays one")
		}
		onImage(t, v, func(f *os.File) { assert.NoError(t, extTool(ctx, f, "e2fsck", "-f", "-n", extFile)) })
		assert.Len(t, volumeFiles(t, p, v.ID()), 2, "a file and a record")
		assert.NoDirExists(t, p.treePath(v.ID()))
	}
}

// TestTreesThatDoNotFit has mke2fs say so.
func TestTreesThatDoNotFit(t *testing.T) {
	p := open(t, "misfits")
	v := makeVolume(t, p, storage.Spec{Name: "data", Size: resource.MiB})
	require.NoError(t, storage.Import(t.Context(), v, bytes.NewReader(pack(t, regular("old", "before"))), asTar))
	var many []archived
	for n := range 500 {
		many = append(many, regular(fmt.Sprint(n), ""))
	}
	attribute := func(size int) archived {
		return archived{tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{
			attributeKey + "user.a": strings.Repeat("a", size), attributeKey + "user.b": strings.Repeat("b", size)}}, ""}
	}
	for name, archive := range map[string][]byte{
		"blocks":     pack(t, regular("x", strings.Repeat("x", 1<<20-1))),
		"inodes":     pack(t, many...),
		"attributes": pack(t, attribute(3000)),
	} {
		err := storage.Import(t.Context(), v, bytes.NewReader(archive), asTar)
		require.ErrorIs(t, err, errdefs.ErrResourceExhausted, name)
		var own *resource.Error
		require.ErrorAs(t, err, &own, name)
		require.Equal(t, "stream", own.Field, name)
		require.Equal(t, "before", exported(t, v)["old"].content, name)
	}
}

func TestAFilesystemThatAGuestWroteIsExported(t *testing.T) {
	p := open(t, "written")
	ctx := t.Context()
	archive := pack(t, archived{tar.Header{Name: "folder/", Typeflag: tar.TypeDir}, ""}, regular("folder/x", "here"))
	for name, c := range map[string]struct {
		spoil func(f *os.File)
		kind  error
	}{
		"a dirty journal": {func(f *os.File) {
			require.NoError(t, extTool(ctx, f, "debugfs", "-w", "-R", "feature needs_recovery", extFile))
		}, nil},
		"a folder inside of itself": {func(f *os.File) {
			require.NoError(t, extTool(ctx, f, "debugfs", "-w", "-R", "link folder folder/again", extFile))
		}, errdefs.ErrDataLoss},
		"no filesystem": {func(f *os.File) {
			_, err := f.WriteAt(make([]byte, 64<<10), 0)
			require.NoError(t, err)
		}, errdefs.ErrFailedPrecondition},
	} {
		v := makeVolume(t, p, storage.Spec{Name: "data", Size: 16 * resource.MiB})
		require.NoError(t, storage.Import(ctx, v, bytes.NewReader(archive), asTar))
		onImage(t, v, c.spoil)
		before, err := os.ReadFile(volumeInfo(t, v).Path)
		require.NoError(t, err)
		if c.kind == nil {
			require.Equal(t, "here", exported(t, v)["folder/x"].content, name)
		} else {
			require.ErrorIs(t, storage.Export(ctx, v, io.Discard, asTar), c.kind, name)
		}
		after, err := os.ReadFile(volumeInfo(t, v).Path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after), "%s: an export changes nothing", name)
		require.Len(t, volumeFiles(t, p, v.ID()), 2, name)
		require.NoError(t, storage.Import(ctx, v, bytes.NewReader(archive), asTar), name)
		require.Equal(t, "here", exported(t, v)["folder/x"].content, name)
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
	}
}

func TestASnapshotOutlivesAnImport(t *testing.T) {
	p := open(t, "kept")
	ctx := t.Context()
	v := makeVolume(t, p, storage.Spec{Name: "data", Size: 16 * resource.MiB})
	require.NoError(t, storage.Import(ctx, v, bytes.NewReader(pack(t, regular("old", "before"))), asTar))
	s, err := storage.Snapshots(v)
	require.NoError(t, err)
	_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "kept"})
	require.NoError(t, err)
	require.NoError(t, storage.Import(ctx, v, bytes.NewReader(pack(t, regular("new", "after"))), asTar))
	require.NotContains(t, exported(t, v), "old")
	require.NoError(t, s.RevertSnapshot(ctx, "kept"))
	require.Equal(t, "before", exported(t, v)["old"].content)
	require.NotContains(t, exported(t, v), "new")
	err = storage.Export(ctx, v, io.Discard, storage.TransferOptions{Format: storage.Raw})
	require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	require.ErrorContains(t, err, "format")
}

func TestASweepTakesATreeThatWasBeingUnpacked(t *testing.T) {
	p := open(t, "unpacked")
	ctx := context.WithoutCancel(t.Context())
	id := resource.NewID()
	require.NoError(t, os.MkdirAll(filepath.Join(p.treePath(id), "tree", "folder"), 0o700))
	require.NoError(t, p.lockedVolume(ctx, id, func() error {
		_, err := p.Sweep(ctx, univirt.SweepOptions{})
		require.DirExists(t, p.treePath(id), "while somebody is at it")
		return err
	}))
	_, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	require.NoDirExists(t, p.treePath(id))
}
