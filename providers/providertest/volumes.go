package providertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func volumeCases() []testCase {
	volumes := hasVolumes(storage.FeatureVolumes)
	used := all(volumes, has(compute.FeatureExec), fields("mounts[].type", "mounts[].source"))
	cases := []testCase{
		{"Create makes a volume, and Info tells of it", volumes, volumeCreate},
		{"A volume's name is unique, and its handle is bound to its ID", volumes, volumeIdentity},
		{"Volumes are listed by name, ID, pool and labels", volumes, volumeList},
		{"Update of a volume patches its labels, at a revision", volumes, volumeUpdate},
		{"Of many Creates of one volume one succeeds", volumes, volumeRace},
		{"Ensure of a volume creates it once", volumes, volumeEnsure},
		{"Each field of a volume's spec is honoured or refused as declared", volumes, volumeFields},
		{"What is written to a volume is there for another instance", used, volumeContent},
		{"A volume in use cannot be deleted, and tells who uses it", used, volumeInUse},
		{"A volume that is not there is NotFound at Create and named", used, volumeMissing},
		{"A pool that is not there is NotFound at Create of a volume and named", volumes, volumePoolMissing},
		{"A volume or a snapshot to clone that is not there is NotFound and named", hasVolumes(storage.FeatureClone), volumeSourceMissing},
		{"Faults of a volume's spec come before what is not supported or not there", volumes, volumeFaultsFirst},
		{"A volume that a running instance has is exported, grows, and does not shrink", all(used, hasVolumes(storage.FeatureResize, storage.FeatureTransfer)), volumeBusy},
		{"A read-only mount cannot be written to", all(used, fields("mounts[].readOnly")), volumeReadOnly},
		{"A volume of two instances at once needs to be shared", all(used, hasVolumes(storage.FeatureShared)), volumeShared},
		{"A filesystem volume is the default", hasVolumes(storage.FeatureFilesystem), volumeFilesystem},
		{"A block volume has a size", hasVolumes(storage.FeatureBlock), volumeBlock},
		{"A volume's bound is enforced", all(used, hasVolumes(storage.FeatureQuota)), volumeQuota},
		{"A volume's use is told", all(used, hasVolumes(storage.FeatureUsage)), volumeUsage},
		{"Resize grows, and shrinks only where that is asked for", hasVolumes(storage.FeatureResize), volumeResize},
		{"A snapshot of a volume keeps its content", all(used, hasVolumes(storage.FeatureSnapshot)), volumeSnapshot},
		{"A volume may be a clone of another", all(used, hasVolumes(storage.FeatureClone)), volumeClone},
		{"A volume's content is exported and imported as a stream", all(used, hasVolumes(storage.FeatureTransfer)), volumeTransfer},
		{"An import replaces a volume's content, and an export tells what the archive said of it", hasVolumes(storage.FeatureTransfer), volumeTransferWhole},
		{"An import that fails leaves a volume empty or as it was, and writes nothing outside of it", hasVolumes(storage.FeatureTransfer), volumeTransferFailing},
		{"An import of more than a volume has room for is ResourceExhausted", hasVolumes(storage.FeatureTransfer, storage.FeatureQuota), volumeTransferTooLarge},
		{"A volume whose operation is cancelled in its middle is as it was or as it was to be", volumes, volumeCancelled},
		{"A transfer that is cancelled in its middle ends, and the volume can be used on", hasVolumes(storage.FeatureTransfer), volumeTransferCancelled},
		{"A transfer whose stream blocks ends with its context, and the volume can be used on", hasVolumes(storage.FeatureTransfer), volumeTransferStuck},
		{"A pool that is full is ResourceExhausted and left as it was, until there is room again",
			all(hasVolumes(storage.FeaturePools, storage.FeatureQuota), hook("SmallPool")), volumePoolFull},
		{"There is a default pool", hasVolumes(storage.FeaturePools), volumePools},
		{"An ephemeral volume goes with its maker", volumes, volumeEphemeral},
	}
	for _, b := range badVolumes {
		cases = append(cases, testCase{
			name:  fmt.Sprintf("Create of a volume with %s is InvalidArgument and names %s", b.says, b.field),
			needs: volumes,
			run: func(e *env) {
				spec := storage.Spec{Name: "data"}
				b.spoil(&spec)
				_, err := e.p.Volumes().Create(e.ctx, spec)
				e.failsField(err, errdefs.ErrInvalidArgument, b.field)
				require.Empty(e, e.volumeNames(storage.Filter{}))
			},
		})
	}
	return cases
}

var badVolumes = []struct {
	says, field string
	spoil       func(*storage.Spec)
}{
	{"a malformed name", "name", func(s *storage.Spec) { s.Name = "../data" }},
	{"a malformed pool", "pool", func(s *storage.Spec) { s.Pool = "a/b" }},
	{"an unknown mode", "mode", func(s *storage.Spec) { s.Mode = "tape" }},
	{"a block without a size", "size", func(s *storage.Spec) { s.Mode = storage.Block }},
	{"a negative size", "size", func(s *storage.Spec) { s.Size = -1 }},
	{"an unknown access", "access", func(s *storage.Spec) { s.Access = "all" }},
	{"a snapshot of nothing", "source.snapshot", func(s *storage.Spec) { s.Source.Snapshot = "one" }},
	{"a negative user", "uid", func(s *storage.Spec) { s.UID = -1 }},
	{"a malformed label", "labels[tier]", func(s *storage.Spec) { s.Labels = resource.Labels{"tier": "a b"} }},
}

// volume makes a volume.
func (e *env) volume(spec storage.Spec) storage.Volume {
	e.Helper()
	v, err := e.p.Volumes().Create(e.ctx, spec)
	require.NoError(e, err, "create the volume %s", spec.Name)
	return v
}

func (e *env) volumeInfo(v storage.Volume) storage.Info {
	e.Helper()
	info, err := v.Info(e.ctx)
	require.NoError(e, err)
	return info
}

func (e *env) volumeNames(filter storage.Filter) []string {
	e.Helper()
	infos, err := resource.Collect(e.p.Volumes().List(e.ctx, filter))
	require.NoError(e, err)
	names := []string{}
	for _, info := range infos {
		names = append(names, info.Ref.Name)
	}
	return sorted(names)
}

// mounting makes a running instance with a volume at /data.
func (e *env) mounting(name, volume string, readOnly bool) compute.Instance {
	e.Helper()
	inst := e.create(e.withMount(name, compute.Mount{Type: compute.MountVolume, Source: volume, Path: "/data", ReadOnly: readOnly}))
	e.start(inst)
	return inst
}

// withMount is the spec of an instance that has a volume.
func (e *env) withMount(name string, mount compute.Mount) compute.Spec {
	spec := e.spec(name, "sleep", "1h")
	spec.Mounts = []compute.Mount{mount}
	return spec
}

func volumeCreate(e *env) {
	spec := storage.Spec{Name: "data", Labels: resource.Labels{"tier": "db"}}
	info := e.volumeInfo(e.volume(spec))
	e.wellFormedRef(info.Ref, resource.KindVolume)
	require.True(e, info.Managed)
	require.Equal(e, owner, info.Owner.Name)
	require.Equal(e, spec.Labels, info.Labels)
	require.Empty(e, resource.Unmet(*info.Spec, spec))
	require.Equal(e, storage.Filesystem, info.Mode)
	require.Empty(e, info.UsedBy)
	require.NotEmpty(e, info.Revision)
	require.NotEmpty(e, info.Pool)
}

func volumeIdentity(e *env) {
	v := e.volume(storage.Spec{Name: "data"})
	require.True(e, resource.IsID(v.ID()))
	_, err := e.p.Volumes().Create(e.ctx, storage.Spec{Name: "data"})
	e.failsField(err, errdefs.ErrAlreadyExists, "name")
	for _, idOrName := range []string{"data", v.ID()} {
		got, err := e.p.Volumes().Get(e.ctx, idOrName)
		require.NoError(e, err)
		require.Equal(e, v.ID(), got.ID())
	}
	require.NoError(e, v.Delete(e.ctx, storage.DeleteOptions{}))
	again := e.volume(storage.Spec{Name: "data"})
	require.NotEqual(e, v.ID(), again.ID())
	_, err = v.Info(e.ctx)
	e.fails(err, errdefs.ErrNotFound)
	e.fails(v.Delete(e.ctx, storage.DeleteOptions{}), errdefs.ErrNotFound)
	_, err = e.p.Volumes().Get(e.ctx, "nobody")
	e.fails(err, errdefs.ErrNotFound)
	_, err = e.p.Volumes().Get(e.ctx, "../data")
	e.failsField(err, errdefs.ErrInvalidArgument, "idOrName")
}

func volumeList(e *env) {
	a := e.volume(storage.Spec{Name: "a", Labels: resource.Labels{"tier": "db"}})
	e.volume(storage.Spec{Name: "b"})
	require.Equal(e, []string{"a", "b"}, e.volumeNames(storage.Filter{}))
	require.Equal(e, []string{"b"}, e.volumeNames(storage.Filter{Names: []string{"b"}}))
	require.Equal(e, []string{"a"}, e.volumeNames(storage.Filter{IDs: []string{a.ID()}}))
	require.Equal(e, []string{"a", "b"}, e.volumeNames(storage.Filter{Pools: []string{e.volumeInfo(a).Pool}}))
	require.Empty(e, e.volumeNames(storage.Filter{Pools: []string{"none"}}))
	require.Equal(e, []string{"a"}, e.volumeNames(storage.Filter{Selector: resource.Select(resource.Exists("tier"))}))
}

func volumeUpdate(e *env) {
	v := e.volume(storage.Spec{Name: "data"})
	revision := e.volumeInfo(v).Revision
	require.NoError(e, v.Update(e.ctx, storage.Change{Labels: labelsOf("tier", "db"), IfRevision: revision}))
	info := e.volumeInfo(v)
	require.Equal(e, resource.Labels{"tier": "db"}, info.Labels)
	require.NotEqual(e, revision, info.Revision)
	e.fails(v.Update(e.ctx, storage.Change{Labels: labelsOf("tier", "web"), IfRevision: revision}), errdefs.ErrAborted)
	e.fails(v.Delete(e.ctx, storage.DeleteOptions{IfRevision: revision}), errdefs.ErrAborted)
	e.failsField(v.Update(e.ctx, storage.Change{Labels: labelsOf("tier", "a b")}), errdefs.ErrInvalidArgument, "labels[tier]")
	require.Equal(e, info, e.volumeInfo(v))
}

func volumeRace(e *env) {
	other := e.open(OpenOptions{})
	made := 0
	for _, err := range e.together(crowd, func(i int) error {
		volumes := e.p.Volumes()
		if i%2 == 1 {
			volumes = other.Volumes()
		}
		_, err := volumes.Create(e.ctx, storage.Spec{Name: "data"})
		return err
	}) {
		if err == nil {
			made++
			continue
		}
		e.fails(err, errdefs.ErrAlreadyExists)
	}
	require.Equal(e, 1, made)
}

func volumeEnsure(e *env) {
	first, err := storage.Ensure(e.ctx, e.p.Volumes(), storage.Spec{Name: "data"})
	require.NoError(e, err)
	second, err := storage.Ensure(e.ctx, e.p.Volumes(), storage.Spec{Name: "data", Labels: resource.Labels{"tier": "db"}})
	require.NoError(e, err)
	require.Equal(e, first.ID(), second.ID())
	require.Equal(e, resource.Labels{"tier": "db"}, e.volumeInfo(second).Labels)
	_, err = storage.Ensure(e.ctx, e.p.Volumes(), storage.Spec{Name: "data", UID: 7})
	e.failsField(err, errdefs.ErrFailedPrecondition, "uid")
}

func volumeFields(e *env) {
	table := e.s.offer.desc.Volumes.Fields
	for path, set := range map[string]func(*storage.Spec){
		"pool":               func(s *storage.Spec) { s.Pool = "none-such" },
		"mode":               func(s *storage.Spec) { s.Mode = storage.Filesystem },
		"size":               func(s *storage.Spec) { s.Size = resource.MiB },
		"access":             func(s *storage.Spec) { s.Access = storage.ReadWriteOnce },
		"source.volume":      func(s *storage.Spec) { s.Source.Volume = "none-such" },
		"source.snapshot":    func(s *storage.Spec) { s.Source = storage.Source{Volume: "none-such", Snapshot: "none"} },
		"format":             func(s *storage.Spec) { s.Format = "ext4" },
		"uid":                func(s *storage.Spec) { s.UID = GuestUserID },
		"gid":                func(s *storage.Spec) { s.GID = GuestUserID },
		"lifetime.ephemeral": func(s *storage.Spec) { s.Lifetime = resource.Ephemeral },
		"lifetime.until":     func(s *storage.Spec) { s.Lifetime = resource.Until(time.Now().Add(time.Hour)) },
		"labels":             func(s *storage.Spec) { s.Labels = resource.Labels{"tier": "db"} },
		"annotations":        func(s *storage.Spec) { s.Annotations = resource.Annotations{"note": "text"} },
	} {
		spec := storage.Spec{Name: "field-" + strings.ReplaceAll(path, ".", "-")}
		set(&spec)
		_, err := e.p.Volumes().Create(e.ctx, spec)
		if refused := refusals(table, spec); len(refused) > 0 {
			e.failsField(err, errors.ErrUnsupported, refused[0])
			continue
		}
		require.False(e, isUnsupported(err), "%s is declared: %v", path, err)
		if err != nil {
			e.wellFormed(err)
		}
	}
}

func volumeContent(e *env) {
	e.visit()
	v := e.volume(storage.Spec{Name: "data"})
	a := e.holding("a", "data", "/data", false)
	e.output(a, "write", "/data/x", "here")
	e.letsGo(a, "/data")
	require.Equal(e, "here", e.output(e.mounting("b", v.ID(), false), "read", "/data/x"))
}

func volumeInUse(e *env) {
	e.idle = true // as nothing looks at the volume
	v := e.volume(storage.Spec{Name: "data"})
	inst := e.mounting("web", "data", false)
	for _, force := range []bool{false, true} {
		e.fails(v.Delete(e.ctx, storage.DeleteOptions{Force: force}), errdefs.ErrFailedPrecondition)
	}
	require.Equal(e, []resource.Ref{e.info(inst).Ref}, e.volumeInfo(v).UsedBy)
	e.kill(inst)
	e.fails(v.Delete(e.ctx, storage.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	e.delete(inst)
	require.Empty(e, e.volumeInfo(v).UsedBy)
	require.NoError(e, v.Delete(e.ctx, storage.DeleteOptions{}))
}

func volumeMissing(e *env) {
	spec := e.spec("web", "exit", "0")
	spec.Mounts = []compute.Mount{{Type: compute.MountVolume, Source: "none-such", Path: "/data"}}
	_, err := e.instances().Create(e.ctx, spec)
	e.failsField(err, errdefs.ErrNotFound, "mounts[0].source")
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}

func volumeReadOnly(e *env) {
	e.visit()
	e.volume(storage.Spec{Name: "data"})
	inst := e.holding("web", "data", "/data", true)
	require.Equal(e, 1, e.exec(inst, "write", "/data/x", "here").exit.Code)
}

func volumeShared(e *env) {
	e.volume(storage.Spec{Name: "own", Access: storage.ReadWriteOnce})
	e.volume(storage.Spec{Name: "shared", Access: storage.ReadWriteMany})
	e.mounting("a", "own", false)
	spec := e.spec("b", "sleep", "1h")
	spec.Mounts = []compute.Mount{{Type: compute.MountVolume, Source: "own", Path: "/data"}}
	inst, err := e.instances().Create(e.ctx, spec)
	if err == nil {
		// Create may be too early to tell.
		err = inst.Start(e.ctx, compute.StartOptions{})
	}
	e.fails(err, errdefs.ErrFailedPrecondition)
	c, d := e.mounting("c", "shared", false), e.mounting("d", "shared", false)
	e.output(c, "write", "/data/x", "here")
	require.Equal(e, "here", e.output(d, "read", "/data/x"))
}

func volumeFilesystem(e *env) {
	require.Equal(e, storage.Filesystem, e.volumeInfo(e.volume(storage.Spec{Name: "data"})).Mode)
}

func volumeBlock(e *env) {
	info := e.volumeInfo(e.volume(storage.Spec{Name: "disk", Mode: storage.Block, Size: 8 * resource.MiB}))
	require.Equal(e, storage.Block, info.Mode)
	require.Equal(e, 8*resource.MiB, info.Capacity)
}

func volumeQuota(e *env) {
	e.visit()
	// A filesystem takes something for itself, and a program's argument has its bounds.
	e.volume(storage.Spec{Name: "data", Size: resource.MiB})
	inst := e.holding("web", "data", "/data", false)
	text := strings.Repeat("x", 32<<10)
	refused := 0
	for n := 0; n < 2<<20/len(text) && refused == 0; n++ {
		refused = e.exec(inst, "write", fmt.Sprintf("/data/%d", n), text).exit.Code
	}
	require.Equal(e, 1, refused, "the exit code of a program that writes beyond the bound")
	e.output(inst, "read", "/data/0")
}

func volumeUsage(e *env) {
	e.visit()
	v := e.volume(storage.Spec{Name: "data"})
	before := e.volumeInfo(v)
	require.True(e, before.UsedKnown)
	e.output(e.holding("web", "data", "/data", false), "write", "/data/x", strings.Repeat("x", 32<<10))
	require.GreaterOrEqual(e, e.volumeInfo(v).Used, before.Used+32<<10)
}

func volumeResize(e *env) {
	v := e.volume(storage.Spec{Name: "data", Size: 8 * resource.MiB})
	for range 2 {
		require.NoError(e, storage.Resize(e.ctx, v, 16*resource.MiB, storage.ResizeOptions{}))
		require.Equal(e, 16*resource.MiB, e.volumeInfo(v).Capacity)
	}
	e.fails(storage.Resize(e.ctx, v, 4*resource.MiB, storage.ResizeOptions{}), errdefs.ErrFailedPrecondition)
	e.failsField(storage.Resize(e.ctx, v, 0, storage.ResizeOptions{}), errdefs.ErrInvalidArgument, "size")
	e.fails(storage.Resize(e.ctx, v, 32*resource.MiB, storage.ResizeOptions{IfRevision: "none"}), errdefs.ErrAborted)
	require.Equal(e, 16*resource.MiB, e.volumeInfo(v).Capacity)
}

func volumeSnapshot(e *env) {
	e.visit()
	v := e.volume(storage.Spec{Name: "data"})
	inst := e.holding("web", "data", "/data", false)
	e.output(inst, "write", "/data/x", "first")
	s, err := storage.Snapshots(v)
	require.NoError(e, err)
	info, err := s.CreateSnapshot(e.ctx, storage.SnapshotSpec{Name: "one"})
	require.NoError(e, err)
	require.Equal(e, "one", info.Ref.Name)
	_, err = s.CreateSnapshot(e.ctx, storage.SnapshotSpec{Name: "one"})
	e.fails(err, errdefs.ErrAlreadyExists)
	e.output(inst, "write", "/data/x", "second")
	e.fails(s.RevertSnapshot(e.ctx, "one"), errdefs.ErrFailedPrecondition)
	e.letsGo(inst, "/data")
	// One that does not run may have the volume.
	rests := e.create(e.withMount("rests", compute.Mount{Type: compute.MountVolume, Source: "data", Path: "/data"}))
	e.fails(s.RevertSnapshot(e.ctx, "none"), errdefs.ErrNotFound)
	require.NoError(e, s.RevertSnapshot(e.ctx, "one"))
	e.delete(rests)
	inst = e.holding("web", "data", "/data", false)
	require.Equal(e, "first", e.output(inst, "read", "/data/x"))
	all, err := resource.Collect(s.Snapshots(e.ctx))
	require.NoError(e, err)
	require.Len(e, all, 1)
	require.NoError(e, s.DeleteSnapshot(e.ctx, "one"))
	e.forgets(inst)
	require.Equal(e, "first", e.output(inst, "read", "/data/x"))
}

func volumeClone(e *env) {
	e.visit()
	e.volume(storage.Spec{Name: "data"})
	inst := e.holding("a", "data", "/data", false)
	e.output(inst, "write", "/data/x", "first")
	e.volume(storage.Spec{Name: "copy", Source: storage.Source{Volume: "data"}})
	other := e.holding("b", "copy", "/copy", false)
	require.Equal(e, "first", e.output(other, "read", "/copy/x"))
	e.output(other, "write", "/copy/x", "second")
	e.forgets(inst)
	require.Equal(e, "first", e.output(inst, "read", "/data/x"))
}

func volumeTransfer(e *env) {
	v := e.volume(storage.Spec{Name: "data"})
	archive := tarOf([]tarEntry{
		{tar.Header{Name: "folder/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		file("folder/x", "here"),
	})
	require.NoError(e, storage.Import(e.ctx, v, bytes.NewReader(archive), storage.TransferOptions{Format: storage.Tar}))
	inst := e.mounting("web", "data", false)
	require.Equal(e, "here", e.output(inst, "read", "/data/folder/x"))
	e.fails(storage.Import(e.ctx, v, bytes.NewReader(archive), storage.TransferOptions{Format: storage.Tar}), errdefs.ErrFailedPrecondition)
	e.delete(inst)
	var out bytes.Buffer
	require.NoError(e, storage.Export(e.ctx, v, &out, storage.TransferOptions{Format: storage.Tar}))
	other := e.volume(storage.Spec{Name: "other"})
	require.NoError(e, storage.Import(e.ctx, other, &out, storage.TransferOptions{Format: storage.Tar}))
	require.Equal(e, "here", e.output(e.mounting("reader", "other", false), "read", "/data/folder/x"))
	e.failsField(storage.Export(e.ctx, v, &out, storage.TransferOptions{}), errdefs.ErrInvalidArgument, "format")
}

// volumeShapes tells everything of all volumes that an operation may change.
func (e *env) volumeShapes() string {
	e.Helper()
	infos, err := resource.Collect(e.p.Volumes().List(e.ctx, storage.Filter{}))
	require.NoError(e, err)
	var all []string
	for _, info := range infos {
		shape := fmt.Sprint(info.Ref.Name, info.Labels, info.Capacity)
		if s, err := storage.Snapshots(e.p.Volumes().Handle(info.Ref.ID)); err == nil {
			snapshots, err := resource.Collect(s.Snapshots(e.ctx))
			require.NoError(e, err)
			for _, snapshot := range snapshots {
				shape += " " + snapshot.Ref.Name
			}
		}
		all = append(all, shape)
	}
	return strings.Join(sorted(all), "; ")
}

func volumeCancelled(e *env) {
	var v storage.Volume
	for _, o := range []cutting{
		{"create", nil, true, func(ctx context.Context) error {
			_, err := e.p.Volumes().Create(ctx, storage.Spec{Name: "new"})
			return err
		}},
		{"clone", hasVolumes(storage.FeatureClone), true, func(ctx context.Context) error {
			_, err := e.p.Volumes().Create(ctx, storage.Spec{Name: "copy", Source: storage.Source{Volume: "data"}})
			return err
		}},
		{"update", nil, false, func(ctx context.Context) error {
			return v.Update(ctx, storage.Change{Labels: labelsOf("a", "x", "b", "x")})
		}},
		{"resize", hasVolumes(storage.FeatureResize), false, func(ctx context.Context) error {
			return storage.Resize(ctx, v, 16*resource.MiB, storage.ResizeOptions{})
		}},
		{"snapshot", hasVolumes(storage.FeatureSnapshot), true, func(ctx context.Context) error {
			s, err := storage.Snapshots(v)
			if err == nil {
				_, err = s.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "one"})
			}
			return err
		}},
		{"delete", nil, false, func(ctx context.Context) error { return v.Delete(ctx, storage.DeleteOptions{}) }},
	} {
		e.wholeOrNot(o, e.volumeShapes, func() { v = e.volume(storage.Spec{Name: "data", Size: 8 * resource.MiB}) })
	}
}

func volumeTransferCancelled(e *env) {
	archive := tarOf([]tarEntry{file("x", strings.Repeat("x", 1<<16)), file("y", "here")})
	opts := storage.TransferOptions{Format: storage.Tar}
	v := e.volume(storage.Spec{Name: "data"})
	for name, transfer := range map[string]func(context.Context, context.CancelFunc) error{
		"import": func(ctx context.Context, cancel context.CancelFunc) error {
			return storage.Import(ctx, v, cancelling{Reader: bytes.NewReader(archive), cancel: cancel}, opts)
		},
		"export": func(ctx context.Context, cancel context.CancelFunc) error {
			return storage.Export(ctx, v, cancelling{Writer: io.Discard, cancel: cancel}, opts)
		},
	} {
		err := e.returns("a cancelled "+name, func() error {
			ctx, cancel := context.WithCancel(e.ctx)
			defer cancel()
			return transfer(ctx, cancel)
		})
		e.cancelled(err, context.Canceled)
		require.NoError(e, storage.Import(e.ctx, v, bytes.NewReader(archive), opts), "after a cancelled %s", name)
	}
	require.NoError(e, v.Delete(e.ctx, storage.DeleteOptions{}))
}

func volumeTransferStuck(e *env) {
	archive := tarOf([]tarEntry{file("x", strings.Repeat("x", 1<<16))})
	opts := storage.TransferOptions{Format: storage.Tar}
	v := e.volume(storage.Spec{Name: "data"})
	e.endsThoughStuck("an Import", func(ctx context.Context, s stuckStream) error {
		return storage.Import(ctx, v, io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), s), opts)
	})
	e.endsThoughStuck("an Export", func(ctx context.Context, s stuckStream) error {
		return storage.Export(ctx, v, s, opts)
	})
	require.NoError(e, storage.Import(e.ctx, v, bytes.NewReader(archive), opts))
	require.NoError(e, v.Delete(e.ctx, storage.DeleteOptions{}))
}

// importTar imports an archive of entries into a volume.
func (e *env) importTar(v storage.Volume, entries ...tarEntry) error {
	e.Helper()
	return e.returns("Import", func() error {
		return storage.Import(e.ctx, v, bytes.NewReader(tarOf(entries)), storage.TransferOptions{Format: storage.Tar})
	})
}

// exportTar returns what an export of a volume has, by its names, without the folder that
// it is itself.
func (e *env) exportTar(v storage.Volume) map[string]tarEntry {
	e.Helper()
	var out bytes.Buffer
	require.NoError(e, storage.Export(e.ctx, v, &out, storage.TransferOptions{Format: storage.Tar}))
	all := map[string]tarEntry{}
	for archive := tar.NewReader(&out); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(e, err)
		content, err := io.ReadAll(archive)
		require.NoError(e, err)
		if name := path.Clean(header.Name); name != "." {
			all[name] = tarEntry{*header, string(content)}
		}
	}
}

func volumeTransferWhole(e *env) {
	v := e.volume(storage.Spec{Name: "data"})
	require.Empty(e, e.exportTar(v), "a new volume")
	require.NoError(e, e.importTar(v, file("old", "before")))
	when := time.Unix(1_000_000_000, 0)
	own := func(kind byte, name, to string, mode int64, content string) tarEntry {
		return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: to, Mode: mode, Uid: GuestUserID, Gid: GuestUserID + 1, ModTime: when}, content}
	}
	entries := []tarEntry{
		own(tar.TypeDir, "folder/", "", 0o2750, ""), own(tar.TypeReg, "folder/x", "", 0o4711, "here"), own(tar.TypeReg, "line\nbreak", "", 0o600, ""),
		own(tar.TypeLink, "folder/y", "folder/x", 0o4711, ""), own(tar.TypeSymlink, "link", "/etc/passwd", 0o777, ""),
	}
	require.NoError(e, e.importTar(v, entries...))
	all := e.exportTar(v)
	require.Len(e, all, len(entries))
	for _, want := range entries {
		name := path.Clean(want.header.Name)
		got, ok := all[name]
		require.True(e, ok, "%q is missing", name)
		require.Equal(e, want.header.Typeflag, got.header.Typeflag, "the type of %q", name)
		require.Equal(e, want.header.Linkname, got.header.Linkname, "where %q leads", name)
		require.Equal(e, want.content, got.content, "the content of %q", name)
		require.Equal(e, []int{want.header.Uid, want.header.Gid}, []int{got.header.Uid, got.header.Gid}, "the owners of %q", name)
		require.True(e, when.Equal(got.header.ModTime), "the time of %q is %s", name, got.header.ModTime)
		if want.header.Typeflag != tar.TypeSymlink {
			require.Equal(e, want.header.Mode, got.header.Mode, "the mode of %q", name)
		}
	}
	require.NoError(e, e.importTar(v))
	require.Empty(e, e.exportTar(v), "after an archive of nothing")
}

func volumeTransferFailing(e *env) {
	v := e.volume(storage.Spec{Name: "data"})
	link := func(kind byte, name, to string) tarEntry {
		return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: to}, ""}
	}
	whole := tarOf([]tarEntry{file("new", strings.Repeat("x", 4096))})
	for i, archive := range [][]byte{
		whole[:1000], whole[:len(whole)-1024], bytes.Repeat([]byte("no archive "), 100),
		tarOf([]tarEntry{file("new", "x"), file("../escaped", "x")}),
		tarOf([]tarEntry{file("new", "x"), file("/escaped", "x")}),
		tarOf([]tarEntry{file("new", "x"), file("a/../../escaped", "x")}),
		tarOf([]tarEntry{file("new", "x"), link(tar.TypeSymlink, "out", "../.."), file("out/escaped", "x")}),
		tarOf([]tarEntry{file("new", "x"), link(tar.TypeSymlink, "out", "/etc"), file("out/escaped", "x")}),
		tarOf([]tarEntry{file("new", "x"), link(tar.TypeLink, "hard", "../../etc/passwd")}),
		tarOf([]tarEntry{file("new", "x"), link(tar.TypeLink, "hard", "none-such")}),
	} {
		require.NoError(e, e.importTar(v, file("old", "before")))
		err := e.returns("Import", func() error {
			return storage.Import(e.ctx, v, bytes.NewReader(archive), storage.TransferOptions{Format: storage.Tar})
		})
		all := e.exportTar(v)
		if err == nil && all["out"].header.Typeflag == tar.TypeSymlink {
			continue // The volume's root is what the link leads to.
		}
		e.fails(err, errdefs.ErrInvalidArgument)
		if len(all) > 0 {
			require.Len(e, all, 1, "after the archive %d", i)
			require.Equal(e, "before", all["old"].content, "after the archive %d", i)
		}
	}
}

func volumeTransferTooLarge(e *env) {
	v := e.volume(storage.Spec{Name: "data", Size: resource.MiB})
	e.fails(e.importTar(v, file("x", strings.Repeat("x", 2<<20))), errdefs.ErrResourceExhausted)
	require.Empty(e, e.exportTar(v))
	require.Equal(e, resource.MiB, e.volumeInfo(v).Capacity)
	require.NoError(e, e.importTar(v, file("x", strings.Repeat("x", 64<<10))))
	require.Len(e, e.exportTar(v), 1)
}

func volumePools(e *env) {
	pools, err := resource.Collect(storage.Pools(e.ctx, e.p.Volumes()))
	require.NoError(e, err)
	defaults := 0
	for _, p := range pools {
		require.NotEmpty(e, p.Name)
		if p.Default {
			defaults++
			require.Equal(e, p.Name, e.volumeInfo(e.volume(storage.Spec{Name: "data"})).Pool)
		}
	}
	require.Equal(e, 1, defaults, "the number of default pools")
}

func volumePoolFull(e *env) {
	pool := func() storage.Pool {
		e.Helper()
		pools, err := resource.Collect(storage.Pools(e.ctx, e.p.Volumes()))
		require.NoError(e, err)
		for _, p := range pools {
			if p.Name == e.s.h.SmallPool {
				return p
			}
		}
		require.Fail(e, "the pool is not listed", e.s.h.SmallPool)
		return storage.Pool{}
	}
	before := pool()
	require.Positive(e, before.Available, "the room that is left")
	size := before.Available / 16 * 15 &^ 4095 // a file system has some need of its own
	all := e.volume(storage.Spec{Name: "all", Pool: before.Name, Size: size})
	full := pool()
	more := storage.Spec{Name: "more", Pool: before.Name, Size: size}
	_, err := e.p.Volumes().Create(e.ctx, more)
	e.fails(err, errdefs.ErrResourceExhausted)
	require.Equal(e, []string{"all"}, e.volumeNames(storage.Filter{}))
	if e.missing(hasVolumes(storage.FeatureResize)[0]) == "" {
		err := storage.Resize(e.ctx, all, 2*size, storage.ResizeOptions{})
		e.fails(err, errdefs.ErrResourceExhausted)
		require.Equal(e, size, e.volumeInfo(all).Spec.Size)
	}
	require.Equal(e, full, pool(), "what failed took nothing")
	require.NoError(e, all.Delete(e.ctx, storage.DeleteOptions{}))
	e.volume(more)
}

func volumeEphemeral(e *env) {
	if e.s.offer.desc.Volumes.Fields.Rule("lifetime.ephemeral").Level != resource.FieldHonored {
		return
	}
	maker := e.open(OpenOptions{})
	_, err := maker.Volumes().Create(e.ctx, storage.Spec{Name: "short", Lifetime: resource.Ephemeral})
	require.NoError(e, err)
	_, err = maker.Volumes().Create(e.ctx, storage.Spec{Name: "long"})
	require.NoError(e, err)
	require.NoError(e, maker.Close())
	require.Equal(e, []string{"long"}, e.volumeNames(storage.Filter{}))
}
