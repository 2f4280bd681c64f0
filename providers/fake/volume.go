package fake

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

var (
	volumeFeatures = func() resource.Features {
		features := resource.Features{}
		for _, feature := range storage.Features() {
			features[feature] = resource.Support{Supported: true}
		}
		return features
	}()
	volumeFields = resource.FieldTable{}.
			Honored(resource.FieldPaths(storage.Spec{})...).
			Hint("a tree in memory has no format", "format")
)

// volume is the record of a volume. The backend's lock guards it; what is in it
// the lock of the files does.
type volume struct {
	object
	// spec is never changed in place: infos that were given out share it.
	spec *storage.Spec
	pool *pool
	// fs has a folder as its root, or the device of a Block volume.
	fs *filesystem
	// users are the instances that have the volume attached, in that order.
	users     []*instance
	snapshots []*volumeSnapshot
}

var _ stored = (*volume)(nil)

func (v *volume) lifetime() resource.Lifetime { return v.spec.Lifetime }

// volumes are the volumes of a value's namespace.
type volumes struct{ collection[*volume] }

var _ storage.Volumes = volumes{}

func (p *Provider) volumesAccessor() storage.Volumes {
	if has := p.backend.offers.Volumes[storage.FeatureVolumes]; !has.Supported {
		return storage.Absent(has.Reason)
	}
	return volumes{collection[*volume]{p: p, kind: resource.KindVolume, table: &p.space.volumes}}
}

// Create makes a volume. One of a given size takes it out of its pool as a whole;
// one without takes what is written to it.
func (s volumes) Create(ctx context.Context, spec storage.Spec) (storage.Volume, error) {
	ref := s.p.ref(resource.KindVolume, spec.Name, "")
	err := s.p.open(ctx)
	if err == nil {
		err = spec.Validate().Err()
	}
	if err == nil {
		err = firstOf(volumeFields.Refuse(&spec), s.p.backend.checkVolume(spec))
	}
	if err != nil {
		return nil, s.fail(OpCreateVolume, ref, err)
	}
	own := spec.Clone()
	v, err := s.create(ctx, OpCreateVolume, spec.Name,
		func() (*volume, error) { return s.begin(&own) },
		func(v *volume) error { return v.fill(s) },
		func(v *volume) { v.free() })
	if err != nil {
		return nil, err
	}
	return s.handle(v), nil
}

// checkVolume refuses what needs a feature that is not offered.
func (b *Backend) checkVolume(spec storage.Spec) error {
	has := b.offers.Volumes
	return firstOf(
		without(has, storage.FeatureClone, "source", spec.Source != storage.Source{}),
		without(has, storage.FeatureBlock, "mode", spec.Mode == storage.Block),
		without(has, storage.FeatureFilesystem, "mode", spec.Mode == storage.Filesystem),
		without(has, storage.FeatureShared, "access", spec.Access == storage.ReadWriteMany || spec.Access == storage.ReadOnlyMany),
	)
}

// begin makes the record of a volume, and takes its size out of the pool. The
// backend is locked.
func (s volumes) begin(spec *storage.Spec) (*volume, error) {
	b := s.p.backend
	if most := b.opts.Capacity.Volumes; most > 0 && b.used.volumes >= most {
		return nil, resource.Errorf(errdefs.ErrResourceExhausted, "the host may have %d volumes", most)
	}
	pool, err := b.pool(spec.Pool)
	if err != nil {
		return nil, err
	}
	if _, err := s.complete(spec); err != nil {
		return nil, err
	}
	spec.Pool = pool.name
	q := &quota{from: &pool.quota}
	if spec.Size > 0 {
		if !pool.quota.take(spec.Size) {
			return nil, pool.full("size")
		}
		q = &quota{}
		q.limit.Store(spec.Size)
	}
	b.used.volumes++
	v := &volume{object: b.newObject(s.p, resource.KindVolume, spec.Name), spec: spec, pool: pool}
	v.labels, v.annotations = spec.Labels, spec.Annotations
	root := newFolder(0o755, spec.UID, spec.GID)
	if spec.Mode == storage.Block {
		root = newDevice(&content{size: spec.Size})
	}
	v.fs = newFilesystem(root, q)
	return v, nil
}

// newDevice is what a Block volume is inside an instance.
func newDevice(c *content) *node {
	n := newFile(fs.ModeDevice|0o660, 0, 0, nil)
	n.content = c
	return n
}

// complete fills in what the spec leaves open, and returns what the volume is to be
// filled with: nil where it is empty. The backend is locked.
func (s volumes) complete(spec *storage.Spec) (*node, error) {
	spec.Access = cmp.Or(spec.Access, storage.ReadWriteOnce)
	if spec.Source.Volume == "" {
		spec.Mode = cmp.Or(spec.Mode, storage.Filesystem)
		return nil, nil
	}
	from, ok := s.table.find(spec.Source.Volume)
	if !ok || from.making {
		return nil, fieldError("source.volume", errdefs.ErrNotFound, "there is no volume %s", resource.Quote(spec.Source.Volume))
	}
	root, size := from.fs.root, from.spec.Size
	if name := spec.Source.Snapshot; name != "" {
		snapshot := from.snapshot(name)
		if snapshot == nil {
			return nil, fieldError("source.snapshot", errdefs.ErrNotFound, "there is no snapshot %s", resource.Quote(name))
		}
		root, size = snapshot.fs.root, max(snapshot.fs.root.size(), size)
	}
	if spec.Mode = cmp.Or(spec.Mode, from.spec.Mode); spec.Mode != from.spec.Mode {
		return nil, fieldError("mode", errdefs.ErrInvalidArgument, "must be %q, as the source's is", from.spec.Mode)
	}
	spec.Size = cmp.Or(spec.Size, size)
	if spec.Mode == storage.Block && spec.Size < root.size() {
		return nil, fieldError("size", errdefs.ErrInvalidArgument, "must be at least %s, as the source's is", resource.FormatSize(root.size()))
	}
	return root, nil
}

// fill copies the source into a volume in the making. The backend is locked.
func (v *volume) fill(s volumes) error {
	source, err := s.complete(v.spec)
	if err != nil || source == nil {
		return err
	}
	b := s.p.backend
	b.files.Lock()
	defer b.files.Unlock()
	root := source.copyTree()
	if v.spec.Mode == storage.Block {
		if err := root.content.truncate(v.spec.Size, nil); err != nil {
			return err
		}
	} else if v.spec.UID != 0 || v.spec.GID != 0 {
		root.uid, root.gid = v.spec.UID, v.spec.GID
	}
	if !root.charge(v.fs.quota) {
		if v.spec.Size > 0 {
			return fieldError("size", errdefs.ErrInvalidArgument, "the source does not fit into %s", resource.FormatSize(v.spec.Size))
		}
		return v.pool.full("source.volume")
	}
	v.fs = newFilesystem(root, v.fs.quota)
	return nil
}

// free gives back what a volume has of the capacity. The backend is locked.
func (v *volume) free() {
	b := v.pool.backend
	b.files.Lock()
	v.fs.root.forget(v.fs.quota)
	for _, s := range v.snapshots {
		s.fs.root.forget(s.fs.quota)
	}
	b.files.Unlock()
	if v.spec.Size > 0 {
		v.pool.quota.give(v.spec.Size)
	}
	b.used.volumes--
}

// Get returns the volume of an ID or a name.
func (s volumes) Get(ctx context.Context, idOrName string) (storage.Volume, error) {
	v, err := s.get(ctx, OpGetVolume, idOrName)
	if err != nil {
		return nil, err
	}
	return s.handle(v), nil
}

// handle returns one that knows the volume's name, which never changes.
func (s volumes) handle(v *volume) *volumeHandle {
	s.name = v.name
	return &volumeHandle{s, v.id}
}

// Handle returns the volume of an ID.
func (s volumes) Handle(id string) storage.Volume { return &volumeHandle{s, id} }

// List yields the volumes that match, in the order of their creation.
func (s volumes) List(ctx context.Context, filter storage.Filter) iter.Seq2[storage.Info, error] {
	return list(ctx, s.collection, OpListVolumes, filter.Validate(), selection{
		names: filter.Names, ids: filter.IDs, selector: filter.Selector, unmanaged: filter.Unmanaged,
	}, func(v *volume) (storage.Info, bool) {
		info := v.info()
		return info, filter.Matches(info)
	})
}

// info tells what is known. The backend is locked.
func (v *volume) info() storage.Info {
	info := storage.Info{
		Ref: v.ref(), Managed: v.managed, Owner: *v.owner,
		Pool: v.pool.name, Mode: v.spec.Mode, Capacity: v.spec.Size,
		Used: v.fs.quota.used.Load(), UsedKnown: true,
		Labels: v.labels, Annotations: v.annotations, Created: v.created, Revision: v.revisionText(),
	}
	if v.managed {
		info.Spec = v.spec
	}
	if !v.space.backend.offers.Volumes.Has(storage.FeatureUsage) {
		info.Used, info.UsedKnown = 0, false
	}
	for _, i := range v.users {
		info.UsedBy = append(info.UsedBy, i.ref())
	}
	return info
}

// removeVolume takes a volume away with its snapshots, or says why it cannot. The
// backend is locked.
func (s *space) removeVolume(v *volume) error {
	if err := v.idle(); err != nil {
		return err
	}
	v.free()
	s.volumes.remove(v)
	if !v.making {
		s.emit(v, resource.EventDeleted, "")
	}
	return nil
}

// idle says which instance uses the volume.
func (v *volume) idle() error {
	if len(v.users) > 0 {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the volume is in use by %s", v.users[0].ref().Label())
	}
	return nil
}

// still says which running instance uses the volume.
func (v *volume) still() error {
	for _, i := range v.users {
		if i.state.Active() || i.state == "suspended" {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the volume is in use by %s, which is %s", i.ref().Label(), i.state)
		}
	}
	return nil
}

var errForeignVolume = resource.Errorf(errdefs.ErrFailedPrecondition, "the volume was not made by this library")

// dump writes what Dump says of a volume.
func (v *volume) dump(d *dumper) {
	d.line("pool", v.pool.name)
	d.line("mode", string(v.spec.Mode))
	d.line("access", string(v.spec.Access))
	if v.spec.Size > 0 {
		d.line("size", resource.FormatSize(v.spec.Size))
	}
	d.line("used", fmt.Sprint(v.fs.quota.used.Load()))
	var users, snapshots []string
	for _, i := range v.users {
		users = append(users, i.name)
	}
	for _, s := range v.snapshots {
		snapshots = append(snapshots, s.info.Ref.Name)
	}
	// Who was first is a matter of goroutines that race.
	slices.Sort(users)
	d.line("used by", strings.Join(users, " "))
	d.line("snapshots", strings.Join(snapshots, " "))
}

var errSnapshots = errors.New("the volume has snapshots, which go first")
