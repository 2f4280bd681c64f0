//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func makeVolume(t *testing.T, p *Provider, spec storage.Spec) storage.Volume {
	t.Helper()
	began := time.Now()
	v, err := p.Volumes().Create(t.Context(), spec)
	require.NoError(t, err)
	t.Logf("create %s in %s", spec.Name, time.Since(began))
	return v
}

func volumeInfo(t *testing.T, v storage.Volume) storage.Info {
	t.Helper()
	info, err := v.Info(t.Context())
	require.NoError(t, err)
	return info
}

// volumeFiles lists the files of a volume in the pool, and its records.
func volumeFiles(t *testing.T, p *Provider, id string) []string {
	t.Helper()
	files, err := p.filesIn(t.Context(), p.opts.Pool)
	require.NoError(t, err)
	var out []string
	for _, file := range files {
		if strings.Contains(file, id) {
			out = append(out, file)
		}
	}
	return out
}

func TestVolumesOfEachForm(t *testing.T) {
	p := open(t, "forms")
	ctx := t.Context()
	for name, c := range map[string]struct {
		spec storage.Spec
		disk string
		most int64 // that is occupied of the pool
		size int64
	}{
		"raw":       {storage.Spec{Mode: storage.Block, Size: 64 * resource.MiB}, "raw", 65 * resource.MiB, 64 * resource.MiB},
		"qcow2":     {storage.Spec{Mode: storage.Block, Size: 64 * resource.MiB, Format: "qcow2"}, "qcow2", resource.MiB, 64 * resource.MiB},
		"tree":      {storage.Spec{Size: 64 * resource.MiB, UID: 7, GID: 8}, "raw", 65 * resource.MiB, 64 * resource.MiB},
		"boundless": {storage.Spec{}, "raw", 20 * resource.MiB, mostUnasked},
	} {
		c.spec.Name = name
		v := makeVolume(t, p, c.spec)
		info := volumeInfo(t, v)
		assert.Equal(t, c.size, info.Capacity, name)
		assert.True(t, info.UsedKnown, name)
		assert.Less(t, info.Used, c.most, name)
		assert.FileExists(t, info.Path, name)
		assert.Equal(t, v.ID()+"."+c.disk, filepath.Base(info.Path), name)
		if info.Mode == storage.Filesystem {
			f, err := os.Open(info.Path)
			require.NoError(t, err)
			assert.NoError(t, extTool(ctx, f, "e2fsck", "-f", "-n", extFile), name)
			assert.NoError(t, f.Close())
		}
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
		assert.Empty(t, volumeFiles(t, p, v.ID()), name)
	}
}

func TestAVolumeThatCannotBe(t *testing.T) {
	p := open(t, "cannot")
	for name, c := range map[string]struct {
		spec  storage.Spec
		kind  error
		field string
	}{
		"another filesystem":       {storage.Spec{Format: "xfs"}, errors.ErrUnsupported, "format"},
		"another format of a disk": {storage.Spec{Mode: storage.Block, Size: 1 << 20, Format: "vmdk"}, errors.ErrUnsupported, "format"},
		"a filesystem for many":    {storage.Spec{Access: storage.ReadWriteMany}, errors.ErrUnsupported, "access"},
		"a qcow2 for many":         {storage.Spec{Mode: storage.Block, Size: 1 << 20, Format: "qcow2", Access: storage.ReadWriteMany}, errors.ErrUnsupported, "access"},
		"an owner of a device":     {storage.Spec{Mode: storage.Block, Size: 1 << 20, UID: 1}, errdefs.ErrInvalidArgument, "uid"},
		"a tiny filesystem":        {storage.Spec{Size: 1 << 10}, errdefs.ErrInvalidArgument, "size"},
		"no such pool":             {storage.Spec{Pool: "none"}, errdefs.ErrNotFound, "pool"},
		"no such source":           {storage.Spec{Source: storage.Source{Volume: "none"}}, errdefs.ErrNotFound, "source.volume"},
		"more than there is":       {storage.Spec{Mode: storage.Block, Size: 1 << 59}, errdefs.ErrResourceExhausted, "size"},
	} {
		c.spec.Name = "data"
		_, err := p.Volumes().Create(t.Context(), c.spec)
		require.ErrorIs(t, err, c.kind, name)
		var own *resource.Error
		require.ErrorAs(t, err, &own, name)
		assert.Equal(t, c.field, own.Field, name)
	}
	files, err := p.filesIn(t.Context(), p.opts.Pool)
	require.NoError(t, err)
	for _, file := range files {
		assert.NotContains(t, file, ".cannot.")
	}
}

func TestAVolumeIsImportedAndExported(t *testing.T) {
	p := open(t, "transfer")
	ctx := t.Context()
	data := make([]byte, 3<<20)
	_, _ = rand.Read(data[:1<<20])
	copy(data[2<<20:], data[:100])
	for _, format := range []string{"raw", "qcow2"} {
		v := makeVolume(t, p, storage.Spec{Name: format, Mode: storage.Block, Size: 8 * resource.MiB, Format: format})
		var last resource.Progress
		require.NoError(t, storage.Import(ctx, v, bytes.NewReader(data), storage.TransferOptions{Format: storage.Raw, Size: int64(len(data)), Progress: func(p resource.Progress) { last = p }}))
		assert.Equal(t, "done", last.Phase)
		assert.Equal(t, int64(len(data)), last.Done)
		var out bytes.Buffer
		require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
		require.Equal(t, 8<<20, out.Len(), format)
		assert.True(t, bytes.Equal(data, out.Bytes()[:len(data)]), format)
		assert.True(t, bytes.Equal(make([]byte, 5<<20), out.Bytes()[len(data):]), format)

		clone := makeVolume(t, p, storage.Spec{Name: format + "-clone", Size: 16 * resource.MiB, Source: storage.Source{Volume: format}})
		assert.Equal(t, 16*resource.MiB, volumeInfo(t, clone).Capacity)
		out.Reset()
		require.NoError(t, storage.Export(ctx, clone, &out, storage.TransferOptions{Format: storage.Raw}))
		require.Equal(t, 16<<20, out.Len(), format)
		assert.True(t, bytes.Equal(data, out.Bytes()[:len(data)]), format)

		s, err := storage.Snapshots(v)
		require.NoError(t, err)
		_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
		require.NoError(t, err)
		err = storage.Import(ctx, v, bytes.NewReader(make([]byte, 9<<20)), storage.TransferOptions{Format: storage.Raw})
		require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
		failure := errors.New("no more")
		err = storage.Import(ctx, v, io.MultiReader(bytes.NewReader(data), readerFunc(func([]byte) (int, error) { return 0, failure })), storage.TransferOptions{Format: storage.Raw})
		require.ErrorIs(t, err, failure)
		out.Reset()
		require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
		held := out.Bytes()[:len(data)]
		assert.True(t, bytes.Equal(make([]byte, len(data)), held) || bytes.Equal(data, held), "%s is empty or as it was", format)
		require.NoError(t, s.RevertSnapshot(ctx, "one"))
		out.Reset()
		require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
		require.Equal(t, 8<<20, out.Len(), format)
		assert.True(t, bytes.Equal(data, out.Bytes()[:len(data)]), format)
		require.ErrorIs(t, v.Delete(ctx, storage.DeleteOptions{}), errdefs.ErrFailedPrecondition)
		require.NoError(t, s.DeleteSnapshot(ctx, "one"))
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
		require.NoError(t, clone.Delete(ctx, storage.DeleteOptions{}))
		assert.Empty(t, volumeFiles(t, p, v.ID()))
		assert.Empty(t, volumeFiles(t, p, clone.ID()))
	}
}

func TestAVolumeIsResized(t *testing.T) {
	p := open(t, "resize")
	ctx := t.Context()
	for _, spec := range []storage.Spec{
		{Name: "raw", Mode: storage.Block, Size: 8 * resource.MiB},
		{Name: "qcow2", Mode: storage.Block, Size: 8 * resource.MiB, Format: "qcow2"},
		{Name: "tree", Size: 8 * resource.MiB},
	} {
		v := makeVolume(t, p, spec)
		require.NoError(t, storage.Resize(ctx, v, 32*resource.MiB, storage.ResizeOptions{}), spec.Name)
		require.ErrorIs(t, storage.Resize(ctx, v, 16*resource.MiB, storage.ResizeOptions{}), errdefs.ErrFailedPrecondition, spec.Name)
		err := storage.Resize(ctx, v, 16*resource.MiB, storage.ResizeOptions{Shrink: true})
		info := volumeInfo(t, v)
		if spec.Format == "qcow2" {
			require.ErrorIs(t, err, errors.ErrUnsupported)
			assert.Equal(t, 32*resource.MiB, info.Capacity)
		} else {
			require.NoError(t, err, spec.Name)
			assert.Equal(t, 16*resource.MiB, info.Capacity)
			file, err := os.Stat(info.Path)
			require.NoError(t, err)
			assert.Equal(t, 16*resource.MiB, file.Size(), spec.Name)
		}
		if spec.Name == "raw" {
			full := bytes.Repeat([]byte{1}, 16<<20)
			require.NoError(t, storage.Import(ctx, v, bytes.NewReader(full), storage.TransferOptions{Format: storage.Raw}))
			require.ErrorIs(t, storage.Resize(ctx, v, 8*resource.MiB, storage.ResizeOptions{Shrink: true}), errdefs.ErrFailedPrecondition)
		}
		if spec.Mode != storage.Block {
			f, err := os.Open(info.Path)
			require.NoError(t, err)
			assert.NoError(t, extTool(ctx, f, "e2fsck", "-f", "-n", extFile))
			assert.NoError(t, f.Close())
		}
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
	}
}

func TestAVolumeOfAMachine(t *testing.T) {
	p := open(t, "used")
	ctx := t.Context()
	disk := makeVolume(t, p, storage.Spec{Name: "disk", Mode: storage.Block, Size: 8 * resource.MiB})
	spec := machine("web")
	spec.Mounts = []compute.Mount{{Type: compute.MountDevice, Source: "disk", Path: "/dev/data"}}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, []resource.Ref{info.Ref}, volumeInfo(t, disk).UsedBy)
	require.ErrorIs(t, disk.Delete(ctx, storage.DeleteOptions{Force: true}), errdefs.ErrFailedPrecondition)
	spec.Name = "other"
	_, err = p.Instances().Create(ctx, spec)
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)

	data := bytes.Repeat([]byte("data"), 1000)
	require.NoError(t, storage.Import(ctx, disk, bytes.NewReader(data), storage.TransferOptions{Format: storage.Raw}))
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.ErrorIs(t, storage.Import(ctx, disk, bytes.NewReader(data), storage.TransferOptions{Format: storage.Raw}), errdefs.ErrFailedPrecondition)
	s, err := storage.Snapshots(disk)
	require.NoError(t, err)
	began := time.Now()
	_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
	require.NoError(t, err)
	t.Logf("snapshot of a running one %s", time.Since(began))
	require.ErrorIs(t, s.RevertSnapshot(ctx, "one"), errdefs.ErrFailedPrecondition)
	var out bytes.Buffer
	require.NoError(t, storage.Export(ctx, disk, &out, storage.TransferOptions{Format: storage.Raw}))
	assert.True(t, bytes.Equal(data, out.Bytes()[:len(data)]))
	require.NoError(t, storage.Resize(ctx, disk, 16*resource.MiB, storage.ResizeOptions{}))
	assert.Equal(t, 16*resource.MiB, volumeInfo(t, disk).Capacity)

	more := makeVolume(t, p, storage.Spec{Name: "more"})
	mount := compute.Mount{Type: compute.MountVolume, Source: more.ID(), Path: "/data"}
	awaitReady(t, p, inst)
	began = time.Now()
	require.NoError(t, compute.AttachVolume(ctx, inst, mount))
	t.Logf("attach %s", time.Since(began))
	require.ErrorIs(t, compute.AttachVolume(ctx, inst, mount), errdefs.ErrAlreadyExists)
	require.ErrorIs(t, more.Delete(ctx, storage.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	began = time.Now()
	require.NoError(t, compute.DetachVolume(ctx, inst, "/data"))
	t.Logf("detach %s", time.Since(began))
	require.ErrorIs(t, compute.DetachVolume(ctx, inst, "/data"), errdefs.ErrNotFound)
	require.NoError(t, more.Delete(ctx, storage.DeleteOptions{}))

	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	assert.Empty(t, volumeInfo(t, disk).UsedBy)
	require.NoError(t, s.RevertSnapshot(ctx, "one"))
	require.NoError(t, s.DeleteSnapshot(ctx, "one"))
	require.NoError(t, disk.Delete(ctx, storage.DeleteOptions{}))
}

// awaitReady waits until a machine's guest says that it is ready.
func awaitReady(t *testing.T, p *Provider, inst compute.Instance) {
	t.Helper()
	require.Eventually(t, func() bool {
		text, _ := os.ReadFile(p.consoleLog(inst.ID()))
		return strings.Contains(string(text), testguest.Ready)
	}, 30*time.Second, 20*time.Millisecond)
}

func TestAnImportThatDiedLeavesTheVolumeEmpty(t *testing.T) {
	p := open(t, "died")
	ctx := t.Context()
	v := makeVolume(t, p, storage.Spec{Name: "data", Mode: storage.Block, Size: resource.MiB}).(*volume)
	require.NoError(t, storage.Import(ctx, v, strings.NewReader("half"), storage.TransferOptions{Format: storage.Raw}))
	facts, err := v.load(ctx)
	require.NoError(t, err)
	_, err = v.records().revise(ctx, facts.begun(filling, "dead", time.Hour))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, storage.Export(ctx, v, &out, storage.TransferOptions{Format: storage.Raw}))
	assert.Equal(t, make([]byte, 1<<20), out.Bytes())
	require.NoError(t, v.Delete(context.WithoutCancel(ctx), storage.DeleteOptions{}))
}

func TestASweepTakesWhatDiedOfVolumes(t *testing.T) {
	p := open(t, "swept")
	ctx := t.Context()
	v := makeVolume(t, p, storage.Spec{Name: "kept", Mode: storage.Block, Size: resource.MiB}).(*volume)
	stray := v.id + "." + resource.NewID() + exportSuffix
	require.NoError(t, p.makeRoom(ctx, p.opts.Pool, rawFile(stray, 10)))

	half := makeVolume(t, p, storage.Spec{Name: "half", Mode: storage.Block, Size: resource.MiB}).(*volume)
	facts, err := half.load(ctx)
	require.NoError(t, err)
	_, err = half.records().revise(ctx, facts.begun(making, resource.NewID(), time.Hour))
	require.NoError(t, err)
	going := makeVolume(t, p, storage.Spec{Name: "going", Mode: storage.Block, Size: resource.MiB}).(*volume)
	facts, err = going.load(ctx)
	require.NoError(t, err)
	_, err = going.records().revise(ctx, facts.begun(removing, p.owner.Generation, time.Hour))
	require.NoError(t, err)

	_, err = p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, volumeFiles(t, p, half.id))
	assert.NotEmpty(t, volumeFiles(t, p, going.id), "its maker lives")
	assert.NotContains(t, volumeFiles(t, p, v.id), stray)
	assert.Contains(t, volumeFiles(t, p, v.id), v.id+".raw")
	s, err := storage.Snapshots(v)
	require.NoError(t, err)
	_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
	require.NoError(t, err)
	_, err = p.Sweep(ctx, univirt.SweepOptions{All: true})
	require.NoError(t, err)
	assert.Empty(t, volumeFiles(t, p, v.id))
}

func TestAWatchTellsOfVolumesThatOthersMade(t *testing.T) {
	one, other := open(t, "watched"), open(t, "watched")
	seen := func() (names []string) {
		for event, err := range other.Watch(t.Context(), resource.WatchOptions{Kinds: []resource.Kind{resource.KindVolume}}) {
			require.NoError(t, err)
			if event.Type == resource.EventSynced {
				break
			}
			names = append(names, event.Ref.Name)
		}
		return names
	}
	v := makeVolume(t, one, storage.Spec{Name: "data", Mode: storage.Block, Size: resource.MiB})
	assert.Equal(t, []string{"data"}, seen())
	require.NoError(t, v.Delete(t.Context(), storage.DeleteOptions{}))
	assert.Empty(t, seen())
}

// interruption is a line on which something happens in front of a call.
type interruption struct {
	calls, at atomic.Int32
	happens   func()
}

func (i *interruption) do(call func()) (answered bool) {
	if i.calls.Add(1) == i.at.Load() {
		i.happens()
	}
	call()
	return true
}

func TestAVolumeIsThereWhileItIsChanged(t *testing.T) {
	p := open(t, "changing")
	v := makeVolume(t, p, storage.Spec{Name: "data", Mode: storage.Block, Size: resource.MiB})
	var look interruption
	other, err := newProvider(t.Context(), Options{Managed: p.opts.Managed, Namespace: "changing"}, &look)
	require.NoError(t, err)
	defer func() { require.NoError(t, other.Close()) }()
	changes := 0
	look.happens = func() {
		changes++
		text := strconv.Itoa(changes)
		assert.NoError(t, v.Update(t.Context(), storage.Change{Labels: resource.LabelPatch{"n": &text}}))
	}
	for at := int32(1); at < 5; at++ {
		other.shelf.forget(nil)
		look.calls.Store(0)
		look.at.Store(at)
		_, err := records{other, resource.KindVolume}.find(t.Context(), "data")
		require.NoError(t, err, "changed in front of call %d", at)
	}
	require.GreaterOrEqual(t, changes, 2)
	require.NoError(t, v.Delete(t.Context(), storage.DeleteOptions{}))
}
