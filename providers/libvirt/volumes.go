//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"iter"
	"sync/atomic"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// volumes are the volumes of a provider.
type volumes struct{ p *Provider }

var (
	_ storage.Volumes    = volumes{}
	_ storage.PoolLister = volumes{}
)

// Volumes returns the volumes of the namespace.
func (p *Provider) Volumes() storage.Volumes {
	if p.inProcess() {
		return storage.Absent(onlyReal)
	}
	return volumes{p}
}

func (s volumes) records() records { return records{s.p, resource.KindVolume} }

func (s volumes) ref(name, id string) resource.Ref { return s.p.ref(resource.KindVolume, name, id) }

// volume is a handle: an ID, and the name once it is known.
type volume struct {
	volumes
	id   string
	name atomic.Pointer[string]
}

func (s volumes) handle(id, name string) *volume {
	v := &volume{volumes: s, id: id}
	if name != "" {
		v.name.Store(&name)
	}
	return v
}

// ID implements storage.Volume.
func (v *volume) ID() string { return v.id }

// Handle implements storage.Volumes.
func (s volumes) Handle(id string) storage.Volume { return s.handle(id, "") }

func (v *volume) fail(op string, err error) error {
	name := ""
	if known := v.name.Load(); known != nil {
		name = *known
	}
	return resource.Fail(op, v.ref(name, v.id), err)
}

// load reads the volume's record, if it is anybody's to see.
func (v *volume) load(ctx context.Context) (volumeFacts, error) {
	if !resource.IsID(v.id) {
		return volumeFacts{}, v.records().errNone()
	}
	d, err := v.records().find(ctx, v.id)
	if err != nil {
		return volumeFacts{}, err
	}
	v.name.Store(&d.Name)
	return readVolume(d)
}

// Get implements storage.Volumes.
func (s volumes) Get(ctx context.Context, idOrName string) (storage.Volume, error) {
	ref := s.ref(idOrName, "")
	if resource.IsID(idOrName) {
		ref = s.ref("", idOrName)
	}
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	defer done()
	if reason := resource.CheckName(idOrName); reason != "" && !resource.IsID(idOrName) {
		return nil, resource.Fail("get", s.ref("", ""), resource.Faults{{Field: "idOrName", Reason: reason}})
	}
	d, err := s.records().find(ctx, idOrName)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	return s.handle(d.ID, d.Name), nil
}

// Info implements storage.Volume.
func (v *volume) Info(ctx context.Context) (storage.Info, error) {
	ctx, done, err := v.p.begin(ctx)
	if err != nil {
		return storage.Info{}, v.fail("info", err)
	}
	defer done()
	info, err := v.info(ctx)
	return info, v.fail("info", err)
}

func (v *volume) info(ctx context.Context) (storage.Info, error) {
	facts, err := v.load(ctx)
	if err != nil {
		return storage.Info{}, err
	}
	users, err := v.p.usersOfAll(ctx)
	if err != nil {
		return storage.Info{}, err
	}
	infos, err := v.p.volumeInfos(ctx, []volumeFacts{facts}, users)
	if err != nil {
		return storage.Info{}, err
	}
	return infos[0], nil
}

// List implements storage.Volumes.
func (s volumes) List(ctx context.Context, filter storage.Filter) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		all, err := s.list(ctx, filter)
		if err != nil {
			yield(storage.Info{}, resource.Fail("list", s.ref("", ""), err))
			return
		}
		for _, info := range all {
			if err := s.open(ctx); err != nil {
				yield(storage.Info{}, resource.Fail("list", s.ref("", ""), err))
				return
			}
			if !yield(info, nil) {
				return
			}
		}
	}
}

// open says why a loop cannot go on.
func (s volumes) open(ctx context.Context) error {
	if s.p.alive.Err() != nil {
		return errClosed()
	}
	return ctx.Err()
}

func (s volumes) list(ctx context.Context, filter storage.Filter) ([]storage.Info, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := filter.Validate().Err(); err != nil {
		return nil, err
	}
	documents, err := s.records().list(ctx)
	if err != nil {
		return nil, err
	}
	users, err := s.p.usersOfAll(ctx)
	if err != nil {
		return nil, err
	}
	var wanted []volumeFacts
	for _, d := range documents {
		if d.hidden() {
			continue
		}
		// One whose record cannot be read is listed by what its name says.
		facts, _ := readVolume(d)
		if filter.Matches(facts.told(users)) {
			wanted = append(wanted, facts)
		}
	}
	return s.p.volumeInfos(ctx, wanted, users)
}

// told is what the record says of a volume.
func (v volumeFacts) told(users map[string][]resource.Ref) storage.Info {
	info := storage.Info{
		Ref: v.ref(), Managed: true, Owner: v.Owner, UsedBy: users[v.ID],
		Created: v.Created, Revision: revisionText(v.document),
	}
	if v.fault == nil && v.spec.Name != "" {
		spec := v.spec
		info.Spec, info.Pool, info.Mode, info.Capacity = &spec, spec.Pool, spec.Mode, spec.Size
		info.Labels, info.Annotations = spec.Labels, spec.Annotations
	}
	return info
}

// Pools implements storage.PoolLister: those that hold files and run.
func (s volumes) Pools(ctx context.Context) iter.Seq2[storage.Pool, error] {
	return func(yield func(storage.Pool, error) bool) {
		pools, err := s.pools(ctx)
		for i := 0; err == nil && i < len(pools); i++ {
			if err = s.open(ctx); err == nil && !yield(pools[i], nil) {
				return
			}
		}
		if err != nil {
			yield(storage.Pool{}, resource.Fail("list pools", s.p.ref("", "", ""), err))
		}
	}
}

func (s volumes) pools(ctx context.Context) ([]storage.Pool, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	// Whoever asks is about to use one.
	if _, err := s.p.pool(ctx, s.p.opts.Pool); err != nil {
		return nil, err
	}
	all, err := s.p.allPools(ctx)
	if err != nil {
		return nil, err
	}
	var out []storage.Pool
	for _, facts := range all {
		out = append(out, storage.Pool{
			Name: facts.name, Type: facts.kind, Default: facts.name == s.p.opts.Pool,
			Capacity: facts.capacity, Allocated: facts.allocated, Available: facts.available,
			Path: s.p.here(facts.folder),
		})
	}
	return out, nil
}
