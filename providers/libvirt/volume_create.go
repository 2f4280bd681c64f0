//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// makingTime is how long something may be in the making before others, who cannot
// tell whether its maker lives, take it for left over.
const makingTime = 24 * time.Hour

// Create implements storage.Volumes. A raw volume takes its size out of the pool as a
// whole; one of qcow2, or without a size, takes what is written to it. Without a size a
// filesystem has at most 16 GiB.
func (s volumes) Create(ctx context.Context, spec storage.Spec) (storage.Volume, error) {
	ref := s.ref(spec.Name, "")
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	defer done()
	if err := checkVolume(spec); err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	id := resource.NewID()
	outcome := make(chan error, 1)
	s.p.detached.Go(func() {
		longer, cancel := outlive.Context(ctx, answerTime)
		defer cancel()
		outcome <- s.create(longer, id, spec)
	})
	select {
	case err = <-outcome:
	case <-ctx.Done():
		patient := time.NewTimer(compute.CleanupTimeout)
		defer patient.Stop()
		select {
		case err = <-outcome:
		case <-patient.C:
			err = &resource.Error{Kind: resource.KindOf(ended(ctx)), Err: ended(ctx), Outcome: resource.OutcomeUnknown, Left: []resource.Ref{s.ref(spec.Name, id)}}
		}
	}
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	return s.handle(id, spec.Name), nil
}

func (s volumes) create(ctx context.Context, id string, spec storage.Spec) error {
	pool, err := s.p.pool(ctx, cmp.Or(spec.Pool, s.p.opts.Pool))
	if err != nil {
		return err
	}
	facts := volumeFacts{document: document{ID: id, Name: spec.Name}}
	make := func() error {
		facts.spec = withVolumeChoices(spec, pool.name)
		facts.Disk = diskFormat(facts.spec)
		return s.makeAll(ctx, &facts, content{pool: pool})
	}
	if spec.Source.Volume == "" {
		err = make()
	} else {
		err = s.cloning(ctx, spec, func(source volumeFacts, from content) error {
			from.pool = pool
			spec, err := cloneSpec(spec, source, from.size)
			if err != nil {
				return err
			}
			facts.spec = withVolumeChoices(spec, pool.name)
			if err := refuseVolume(facts.spec); err != nil {
				return err
			}
			facts.Disk = diskFormat(facts.spec)
			return s.makeAll(ctx, &facts, from)
		})
	}
	if err != nil {
		return err
	}
	if spec.Lifetime.Ephemeral {
		s.p.mortalVolumes.Add(id)
	}
	s.p.tellRecord(facts.document, facts.spec.Labels, resource.ReasonCreate)
	return nil
}

// content is what a new volume is filled with: nothing where from is empty.
type content struct {
	pool poolFacts // of the new volume
	// from is a file in a pool, and size what it holds.
	source, from string
	size         int64
	// live is the instance's disk that the file is, where that runs.
	live user
}

// makeAll makes the record and the file of a volume, or leaves nothing of it.
func (s volumes) makeAll(ctx context.Context, facts *volumeFacts, from content) error {
	d, err := facts.written()
	if err != nil {
		return err
	}
	d.Created = time.Now().UTC()
	if err := givenUp(ctx); err != nil {
		return err
	}
	made, err := s.records().create(ctx, d.begun(making, s.p.owner.Generation, makingTime))
	if errors.Is(err, errdefs.ErrAlreadyExists) {
		return err
	}
	if err == nil {
		facts.document = made
		err = s.fill(ctx, *facts, from)
	} else {
		d.Kind, d.Namespace, d.Revision = resource.KindVolume, s.p.opts.Namespace, 1
		made = d
	}
	if err == nil {
		err = givenUp(ctx)
	}
	if err == nil {
		var finished document
		if finished, err = s.records().revise(ctx, made.ended()); err == nil {
			made = finished
		}
	}
	if err == nil {
		if err = givenUp(ctx); err == nil {
			facts.document = made
			return nil
		}
	}
	return s.undo(ctx, made, facts.spec.Pool, err)
}

// undo removes what a Create has made that failed.
func (s volumes) undo(ctx context.Context, d document, pool string, cause error) error {
	if ctx.Err() != nil || outlive.Asked(ctx).Err() != nil {
		cause = givenUp(ctx)
	}
	clean, cancel := s.p.cleanup(ctx)
	defer cancel()
	if err := s.p.discard(clean, d, pool); err != nil {
		s.p.later(ctx, func(ctx context.Context) bool { return s.p.discard(ctx, d, pool) == nil })
		return outlive.NotUndone(cause, err, s.ref(d.Name, d.ID))
	}
	return undone(ctx, cause)
}

// fill makes the file of a new volume.
func (s volumes) fill(ctx context.Context, facts volumeFacts, from content) error {
	if from.from == "" {
		return s.p.makeEmpty(ctx, facts, from.pool)
	}
	err := s.p.copyDisk(ctx, facts, from)
	if err == nil && facts.spec.Size > from.size {
		err = s.p.enlarge(ctx, facts, facts.spec.Size)
	}
	return err
}

// cloning calls what makes a clone with the volume to be cloned, which stays as it
// is meanwhile.
func (s volumes) cloning(ctx context.Context, spec storage.Spec, do func(volumeFacts, content) error) error {
	d, err := s.records().find(ctx, spec.Source.Volume)
	if isNotFound(err) {
		return &resource.Error{Kind: errdefs.ErrNotFound, Field: "source.volume", Err: errors.New("there is no volume " + resource.Quote(spec.Source.Volume))}
	}
	if err != nil {
		return err
	}
	v := s.handle(d.ID, d.Name)
	return s.p.lockedVolume(ctx, d.ID, func() error {
		facts, err := v.settled(ctx)
		if err != nil {
			return atField("source.volume", err)
		}
		from := content{source: facts.spec.Pool, from: facts.file()}
		if name := spec.Source.Snapshot; name != "" {
			snapshot, ok := facts.snapshot(name)
			if !ok {
				return &resource.Error{Kind: errdefs.ErrNotFound, Field: "source.snapshot", Err: errors.New("there is no snapshot " + resource.Quote(name))}
			}
			from.from, from.size = facts.fileOf(snapshot), snapshot.Size
			return do(facts, from)
		}
		if from.live, err = s.p.running(ctx, d.ID); err != nil {
			return err
		}
		if from.size, err = s.p.sizeOf(ctx, from.source, from.from); err != nil {
			return err
		}
		return do(facts, from)
	})
}

// running returns the user of a volume that runs, if there is one.
func (p *Provider) running(ctx context.Context, id string) (user, error) {
	users, err := p.usersOf(ctx, id)
	for _, u := range users {
		if u.active && u.disk != "" {
			return u, err
		}
	}
	return user{}, err
}

// sizeOf reads how much a file holds.
func (p *Provider) sizeOf(ctx context.Context, pool, file string) (int64, error) {
	return onVolume(ctx, p, pool, file, func(_ *lv.Connect, v *lv.StorageVol) (int64, error) {
		info, err := v.GetInfo()
		if err != nil {
			return 0, err
		}
		return int64(info.Capacity), nil
	})
}

// cloneSpec completes the spec of a clone by what it is a clone of.
func cloneSpec(spec storage.Spec, source volumeFacts, size int64) (storage.Spec, error) {
	if spec.Mode = cmp.Or(spec.Mode, source.spec.Mode); spec.Mode != source.spec.Mode {
		return spec, resource.Faults{{Field: "mode", Reason: "must be " + string(source.spec.Mode) + ", as the source's is"}}.Err()
	}
	if spec.Size != 0 && spec.Size < size {
		return spec, resource.Faults{{Field: "size", Reason: "must be at least " + resource.FormatSize(size) + ", as the source's is"}}.Err()
	}
	if spec.Mode == storage.Block || source.spec.Size > 0 {
		spec.Size = cmp.Or(spec.Size, size)
	}
	if spec.UID != 0 || spec.GID != 0 {
		return spec, &resource.Error{Kind: errors.ErrUnsupported, Field: "uid", Err: errors.New("a clone's root folder is the source's")}
	}
	spec.Format = cmp.Or(spec.Format, source.spec.Format)
	return spec, nil
}
