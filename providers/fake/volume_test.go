package fake_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// createVolume makes a volume.
func createVolume(t *testing.T, p *fake.Provider, spec storage.Spec) storage.Volume {
	t.Helper()
	v, err := p.Volumes().Create(t.Context(), spec)
	require.NoError(t, err)
	return v
}

func volumeInfo(t *testing.T, v storage.Volume) storage.Info {
	t.Helper()
	info, err := v.Info(t.Context())
	require.NoError(t, err)
	return info
}

// failsAs requires an error of a kind that names a field.
func failsAs(t *testing.T, err, kind error, field string) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, field, e.Field, "%v", err)
}

func TestVolumeCreate(t *testing.T) {
	p := fake.Test(t, fake.Options{Pools: map[string]int64{"fast": 10 * resource.MiB, "slow": 0}})
	ctx := t.Context()
	createVolume(t, p, storage.Spec{Name: "data", Size: resource.MiB, Labels: resource.Labels{"tier": "db"}})
	createVolume(t, p, storage.Spec{Name: "disk", Mode: storage.Block, Size: resource.MiB, Pool: "slow"})
	for name, c := range map[string]struct {
		spec  storage.Spec
		kind  error
		field string
	}{
		"a name that exists":               {storage.Spec{Name: "data", Pool: "no"}, errdefs.ErrAlreadyExists, "name"},
		"no name":                          {storage.Spec{}, errdefs.ErrInvalidArgument, "name"},
		"a pool that is not there":         {storage.Spec{Name: "x", Pool: "no"}, errdefs.ErrNotFound, "pool"},
		"more than the pool has":           {storage.Spec{Name: "x", Size: 10 * resource.MiB}, errdefs.ErrResourceExhausted, "size"},
		"a source that is not there":       {storage.Spec{Name: "x", Source: storage.Source{Volume: "no"}}, errdefs.ErrNotFound, "source.volume"},
		"a snapshot that is not there":     {storage.Spec{Name: "x", Source: storage.Source{Volume: "data", Snapshot: "no"}}, errdefs.ErrNotFound, "source.snapshot"},
		"a clone of another mode":          {storage.Spec{Name: "x", Mode: storage.Filesystem, Source: storage.Source{Volume: "disk"}}, errdefs.ErrInvalidArgument, "mode"},
		"a device smaller than its source": {storage.Spec{Name: "x", Size: 5, Source: storage.Source{Volume: "disk"}}, errdefs.ErrInvalidArgument, "size"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := p.Volumes().Create(ctx, c.spec)
			failsAs(t, err, c.kind, c.field)
		})
	}
	infos, err := resource.Collect(p.Volumes().List(ctx, storage.Filter{Selector: resource.Select(resource.Equals("tier", "db"))}))
	require.NoError(t, err)
	require.Len(t, infos, 1)
	assert.Equal(t, storage.Info{
		Ref: infos[0].Ref, Managed: true, Owner: infos[0].Owner, Pool: "fast", Mode: storage.Filesystem,
		Capacity: resource.MiB, UsedKnown: true, Created: infos[0].Created, Revision: "1",
		Labels: resource.Labels{"tier": "db"}, Annotations: infos[0].Annotations,
		Spec: &storage.Spec{
			Name: "data", Pool: "fast", Mode: storage.Filesystem, Access: storage.ReadWriteOnce,
			Size: resource.MiB, Labels: resource.Labels{"tier": "db"},
		},
	}, infos[0])
	pools, err := resource.Collect(storage.Pools(ctx, p.Volumes()))
	require.NoError(t, err)
	assert.Equal(t, []storage.Pool{
		{Name: "fast", Type: "memory", Default: true, Capacity: 10 * resource.MiB, Allocated: resource.MiB, Available: 9 * resource.MiB},
		{Name: "slow", Type: "memory", Capacity: -1, Allocated: resource.MiB, Available: -1},
	}, pools)
	got, err := p.Volumes().Get(ctx, "data")
	require.NoError(t, err)
	require.NoError(t, got.Delete(ctx, storage.DeleteOptions{}))
	assert.ErrorIs(t, got.Delete(ctx, storage.DeleteOptions{}), errdefs.ErrNotFound)
	_, err = p.Volumes().Get(ctx, "data")
	assert.ErrorIs(t, err, errdefs.ErrNotFound)
	pools, err = resource.Collect(storage.Pools(ctx, p.Volumes()))
	require.NoError(t, err)
	assert.Zero(t, pools[0].Allocated, "what a volume had of its pool is given back")
}

func TestVolumeFailedCreateLeavesNothing(t *testing.T) {
	p := fake.Test(t, fake.Options{Pools: map[string]int64{"default": resource.MiB}, RequireFaults: true})
	p.Fail(fake.On(fake.OpCreateVolume).With(errdefs.ErrUnavailable))
	_, err := p.Volumes().Create(t.Context(), storage.Spec{Name: "data", Size: resource.MiB})
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	pools, err := resource.Collect(storage.Pools(t.Context(), p.Volumes()))
	require.NoError(t, err)
	assert.Zero(t, pools[0].Allocated)
	assert.Empty(t, p.Dump())
}

func TestVolumeEnsure(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx := t.Context()
	spec := storage.Spec{Name: "data", Size: resource.MiB, Labels: resource.Labels{"a": "1"}}
	for range 2 {
		_, err := storage.Ensure(ctx, p.Volumes(), spec)
		require.NoError(t, err)
	}
	spec.Size, spec.Labels = 2*resource.MiB, resource.Labels{"b": "2"}
	v, err := storage.Ensure(ctx, p.Volumes(), spec)
	require.NoError(t, err)
	info := volumeInfo(t, v)
	assert.Equal(t, 2*resource.MiB, info.Capacity)
	assert.Equal(t, resource.Labels{"a": "1", "b": "2"}, info.Labels)
	assert.Equal(t, info.Labels, info.Spec.Labels)
	spec.Mode = storage.Block
	_, err = storage.Ensure(ctx, p.Volumes(), spec)
	failsAs(t, err, errdefs.ErrFailedPrecondition, "mode")
}

func TestVolumeUpdateAndEvents(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	v := createVolume(t, p, storage.Spec{Name: "data"})
	var told []string
	for e, err := range p.Watch(ctx, resource.WatchOptions{Kinds: []resource.Kind{resource.KindVolume}}) {
		require.NoError(t, err)
		told = append(told, string(e.Type)+" "+e.Reason)
		if e.Type == resource.EventSynced {
			one := "1"
			require.NoError(t, v.Update(ctx, storage.Change{Labels: resource.LabelPatch{"a": &one}}))
			assert.ErrorIs(t, v.Update(ctx, storage.Change{IfRevision: "1"}), errdefs.ErrAborted)
			require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
		}
		if e.Type == resource.EventDeleted {
			break
		}
	}
	assert.Equal(t, []string{"added ", "synced ", "changed update", "deleted "}, told)
}

// withPrograms makes a provider whose instances run these.
func withPrograms(t *testing.T, programs map[string]fake.Program) *fake.Provider {
	t.Helper()
	return fake.Test(t, fake.Options{Programs: programs})
}

// runProgram runs a program in a new instance until it ends.
func runProgram(t *testing.T, p *fake.Provider, spec compute.Spec) compute.Exit {
	t.Helper()
	spec.Image = "alpine"
	exit, err := compute.Run(t.Context(), p.Instances(), spec, compute.RunOptions{})
	require.NoError(t, err)
	return exit
}

func mountOf(volume, path string) []compute.Mount {
	return []compute.Mount{{Type: compute.MountVolume, Source: volume, Path: path}}
}

func TestVolumeOutlivesInstances(t *testing.T) {
	p := withPrograms(t, map[string]fake.Program{
		"writer": func(_ context.Context, p *fake.Process) int {
			if p.Files().WriteFile("/data/note", []byte("kept"), 0o644) != nil {
				return 1
			}
			return 0
		},
		"reader": func(_ context.Context, p *fake.Process) int {
			if text, err := p.Files().ReadFile("/srv/data/note"); err != nil || string(text) != "kept" {
				return 1
			}
			return 0
		},
	})
	v := createVolume(t, p, storage.Spec{Name: "data"})
	assert.Zero(t, runProgram(t, p, compute.Spec{Name: "a", Process: compute.Process{Command: []string{"writer"}}, Mounts: mountOf("data", "/data")}).Code)
	assert.Zero(t, runProgram(t, p, compute.Spec{Name: "b", Process: compute.Process{Command: []string{"reader"}}, Mounts: mountOf("data", "/srv/data")}).Code)
	info := volumeInfo(t, v)
	assert.EqualValues(t, 4, info.Used)
	assert.Empty(t, info.UsedBy)
}

func TestVolumeQuota(t *testing.T) {
	p := withPrograms(t, map[string]fake.Program{
		"fill": func(_ context.Context, p *fake.Process) int {
			f, err := p.Files().Create("/data/big")
			if err != nil {
				return 1
			}
			n, err := f.Write(make([]byte, 2*resource.MiB))
			if !errors.Is(err, syscall.ENOSPC) || int64(n) > resource.MiB {
				return 2
			}
			if p.Files().Remove("/data/big") != nil {
				return 3
			}
			return 0
		},
	})
	v := createVolume(t, p, storage.Spec{Name: "data", Size: resource.MiB})
	assert.Zero(t, runProgram(t, p, compute.Spec{Name: "a", Process: compute.Process{Command: []string{"fill"}}, Mounts: mountOf("data", "/data")}).Code)
	// The file was open when its name went, and nothing of it counts any more.
	assert.Zero(t, volumeInfo(t, v).Used)
}

func TestVolumeAccess(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx := t.Context()
	instance := func(name string, m ...compute.Mount) (compute.Instance, error) {
		return p.Instances().Create(ctx, compute.Spec{Name: name, Image: "alpine", Mounts: m})
	}
	for _, spec := range []storage.Spec{
		{Name: "once"}, {Name: "many", Access: storage.ReadWriteMany}, {Name: "shown", Access: storage.ReadOnlyMany},
		{Name: "disk", Mode: storage.Block, Size: resource.MiB},
	} {
		createVolume(t, p, spec)
	}
	first, err := instance("first", append(append(mountOf("once", "/a"), mountOf("once", "/b")...), mountOf("many", "/c")...)...)
	require.NoError(t, err)
	once, err := p.Volumes().Get(ctx, "once")
	require.NoError(t, err)
	assert.Len(t, volumeInfo(t, once).UsedBy, 1)
	_, err = instance("second", mountOf("once", "/a")...)
	failsAs(t, err, errdefs.ErrFailedPrecondition, "mounts[0].source")
	_, err = instance("second", mountOf("shown", "/a")...)
	failsAs(t, err, errdefs.ErrFailedPrecondition, "mounts[0].readOnly")
	_, err = instance("second", mountOf("disk", "/a")...)
	failsAs(t, err, errdefs.ErrInvalidArgument, "mounts[0].type")
	_, err = instance("second", mountOf("none", "/a")...)
	failsAs(t, err, errdefs.ErrNotFound, "mounts[0].source")
	second, err := instance("second", mountOf("many", "/a")...)
	require.NoError(t, err)
	failsAs(t, compute.AttachVolume(ctx, second, mountOf("once", "/x")[0]), errdefs.ErrFailedPrecondition, "source")

	err = once.Delete(ctx, storage.DeleteOptions{Force: true})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.ErrorContains(t, err, `in use by instance "first"`)
	require.NoError(t, compute.DetachVolume(ctx, first, "/a"))
	assert.Len(t, volumeInfo(t, once).UsedBy, 1, "another mount of the instance shows it")
	require.NoError(t, compute.DetachVolume(ctx, first, "/b"))
	require.NoError(t, compute.AttachVolume(ctx, second, mountOf("once", "/x")[0]))
	require.NoError(t, second.Delete(ctx, compute.DeleteOptions{}))
	require.NoError(t, once.Delete(ctx, storage.DeleteOptions{}))
}

func TestVolumeBlock(t *testing.T) {
	p := withPrograms(t, map[string]fake.Program{
		"disk": func(_ context.Context, p *fake.Process) int {
			f, err := p.Files().OpenFile("/dev/vdb", 2 /* os.O_RDWR */, 0)
			if err != nil {
				return 1
			}
			defer f.Close()
			if info, _ := f.Stat(); info.Size() != 1<<40 || info.Mode()&fs.ModeDevice == 0 {
				return 2
			}
			if _, err := f.WriteAt([]byte("end"), 1<<40-3); err != nil {
				return 3
			}
			if _, err := f.WriteAt([]byte("over"), 1<<40-3); !errors.Is(err, syscall.ENOSPC) {
				return 4
			}
			return 0
		},
	})
	ctx := t.Context()
	v := createVolume(t, p, storage.Spec{Name: "disk", Mode: storage.Block, Size: 1 << 40})
	mounts := []compute.Mount{{Type: compute.MountDevice, Source: "disk", Path: "/dev/vdb"}}
	assert.Zero(t, runProgram(t, p, compute.Spec{Name: "a", Process: compute.Process{Command: []string{"disk"}}, Mounts: mounts}).Code)
	assert.Less(t, volumeInfo(t, v).Used, int64(1<<20), "what was not written holds nothing")
	failsAs(t, storage.Resize(ctx, v, 1<<30, storage.ResizeOptions{}), errdefs.ErrFailedPrecondition, "size")
	failsAs(t, storage.Resize(ctx, v, 1<<30, storage.ResizeOptions{Shrink: true}), errdefs.ErrFailedPrecondition, "size")
	require.NoError(t, storage.Resize(ctx, v, 1<<41, storage.ResizeOptions{}))
	require.NoError(t, storage.Resize(ctx, v, 1<<41, storage.ResizeOptions{}))
	assert.EqualValues(t, 1<<41, volumeInfo(t, v).Capacity)

	small := createVolume(t, p, storage.Spec{Name: "small", Mode: storage.Block, Size: 8})
	require.NoError(t, storage.Import(ctx, small, strings.NewReader("abc"), storage.TransferOptions{Format: storage.Raw}))
	err := storage.Import(ctx, small, strings.NewReader("123456789"), storage.TransferOptions{Format: storage.Raw})
	require.ErrorIs(t, err, errdefs.ErrResourceExhausted)
	failsAs(t, storage.Import(ctx, small, strings.NewReader(""), storage.TransferOptions{Format: storage.Tar}), errdefs.ErrInvalidArgument, "format")
	var b bytes.Buffer
	require.NoError(t, storage.Export(ctx, small, &b, storage.TransferOptions{Format: storage.Raw}))
	assert.Equal(t, "abc\x00\x00\x00\x00\x00", b.String())
}

// archiveOf writes a tar archive.
func archiveOf(t *testing.T, headers ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content = "content of " + h.Name
		}
		h.Size = int64(len(content))
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		require.NoError(t, w.WriteHeader(&h))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// names lists what an archive holds.
func names(t *testing.T, archive []byte) []string {
	t.Helper()
	var out []string
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		require.NoError(t, err)
		out = append(out, strings.TrimSpace(fmt.Sprintf("%c %s %s", h.Typeflag, h.Name, h.Linkname)))
	}
}

func exported(t *testing.T, v storage.Volume) []string {
	t.Helper()
	var b bytes.Buffer
	require.NoError(t, storage.Export(t.Context(), v, &b, storage.TransferOptions{Format: storage.Tar}))
	return names(t, b.Bytes())
}

func TestVolumeTransfer(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx := t.Context()
	v := createVolume(t, p, storage.Spec{Name: "data", Size: 4 * resource.KiB})
	good := archiveOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeReg, Name: "a/b", Uid: 7},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "out", Linkname: "/etc"},
		tar.Header{Typeflag: tar.TypeLink, Name: "same", Linkname: "a/b"},
	)
	want := []string{"5 ./", "5 a/", "0 a/b", "2 out /etc", "1 same a/b"}
	var reports []resource.Progress
	require.NoError(t, storage.Import(ctx, v, bytes.NewReader(good), storage.TransferOptions{
		Format: storage.Tar, Progress: func(p resource.Progress) { reports = append(reports, p) },
	}))
	assert.Equal(t, want, exported(t, v))
	require.NotEmpty(t, reports)
	assert.Equal(t, "done", reports[len(reports)-1].Phase)

	file := tar.Header{Typeflag: tar.TypeReg, Name: "first"}
	for name, c := range map[string]struct {
		stream io.Reader
		kind   error
	}{
		"a name that leads upwards": {bytes.NewReader(archiveOf(t, file, tar.Header{Typeflag: tar.TypeReg, Name: "../evil"})), errdefs.ErrInvalidArgument},
		"an absolute name":          {bytes.NewReader(archiveOf(t, file, tar.Header{Typeflag: tar.TypeReg, Name: "/evil"})), errdefs.ErrInvalidArgument},
		"a device":                  {bytes.NewReader(archiveOf(t, file, tar.Header{Typeflag: tar.TypeBlock, Name: "dev"})), errdefs.ErrInvalidArgument},
		"a fifo":                    {bytes.NewReader(archiveOf(t, file, tar.Header{Typeflag: tar.TypeFifo, Name: "fifo"})), errdefs.ErrInvalidArgument},
		"a hard link out":           {bytes.NewReader(archiveOf(t, file, tar.Header{Typeflag: tar.TypeLink, Name: "l", Linkname: "../../etc/passwd"})), errdefs.ErrInvalidArgument},
		"a path through a link out": {bytes.NewReader(archiveOf(t, file,
			tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/../../etc"}, tar.Header{Typeflag: tar.TypeReg, Name: "l/evil"})), errdefs.ErrInvalidArgument},
		"no archive":              {strings.NewReader(strings.Repeat("x", 600)), errdefs.ErrInvalidArgument},
		"half an archive":         {bytes.NewReader(good[:1200]), errdefs.ErrInvalidArgument},
		"more than there is room": {bytes.NewReader(archiveOfSize(t, 5*resource.KiB)), errdefs.ErrResourceExhausted},
		"a reader that fails":     {io.MultiReader(bytes.NewReader(good[:1000]), failing{}), io.ErrNoProgress},
	} {
		t.Run(name, func(t *testing.T) {
			err := storage.Import(ctx, v, c.stream, storage.TransferOptions{Format: storage.Tar})
			require.ErrorIs(t, err, c.kind)
			assert.Equal(t, want, exported(t, v), "the volume is as it was")
		})
	}
	assert.Equal(t, int64(len("content of a/b")), volumeInfo(t, v).Used)
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrNoProgress }

func archiveOfSize(t *testing.T, size int64) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "big", Size: size, Mode: 0o644}))
	_, err := w.Write(make([]byte, size))
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestVolumeSnapshotsAndClones(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	ctx := t.Context()
	fill := func(v storage.Volume, name string) {
		t.Helper()
		stream := bytes.NewReader(archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: name}))
		require.NoError(t, storage.Import(ctx, v, stream, storage.TransferOptions{Format: storage.Tar}))
	}
	v := createVolume(t, p, storage.Spec{Name: "data"})
	fill(v, "old")
	s, err := storage.Snapshots(v)
	require.NoError(t, err)
	kept, err := s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "kept", Labels: resource.Labels{"a": "1"}})
	require.NoError(t, err)
	assert.Equal(t, "kept", kept.Ref.Name)
	_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "kept"})
	failsAs(t, err, errdefs.ErrAlreadyExists, "name")
	fill(v, "new")
	clone := createVolume(t, p, storage.Spec{Name: "clone", Source: storage.Source{Volume: "data"}})
	older := createVolume(t, p, storage.Spec{Name: "older", Source: storage.Source{Volume: v.ID(), Snapshot: "kept"}})
	fill(v, "newer")
	assert.Equal(t, []string{"5 ./", "0 new"}, exported(t, clone))
	assert.Equal(t, []string{"5 ./", "0 old"}, exported(t, older))

	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "user", Image: "alpine", Mounts: mountOf("data", "/data")})
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.ErrorIs(t, s.RevertSnapshot(ctx, "kept"), errdefs.ErrFailedPrecondition)
	err = storage.Import(ctx, v, bytes.NewReader(archiveOf(t)), storage.TransferOptions{Format: storage.Tar})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	require.NoError(t, s.RevertSnapshot(ctx, "kept"))
	assert.Equal(t, []string{"5 ./", "0 old"}, exported(t, v))
	require.ErrorIs(t, s.RevertSnapshot(ctx, "none"), errdefs.ErrNotFound)

	all, err := resource.Collect(s.Snapshots(ctx))
	require.NoError(t, err)
	assert.Equal(t, []storage.SnapshotInfo{kept}, all)
	require.ErrorIs(t, v.Delete(ctx, storage.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, s.DeleteSnapshot(ctx, "kept"))
	require.ErrorIs(t, s.DeleteSnapshot(ctx, "kept"), errdefs.ErrNotFound)
	assert.Equal(t, []string{"5 ./", "0 old"}, exported(t, v))
	for _, v := range []storage.Volume{v, clone, older} {
		require.NoError(t, v.Delete(ctx, storage.DeleteOptions{}))
	}
	pools, err := resource.Collect(storage.Pools(ctx, p.Volumes()))
	require.NoError(t, err)
	assert.Zero(t, pools[0].Allocated, "nothing is counted any more")
}
