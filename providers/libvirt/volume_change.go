//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// change runs an operation that changes the volume, when no other of this host is
// under way. As a call to libvirt cannot be ended, the operation goes on when its
// context has, for as long as it takes to leave the volume as it was or is to be.
func (v *volume) change(ctx context.Context, op string, do func(context.Context, volumeFacts) error, before ...func() error) error {
	ctx, done, err := v.p.begin(ctx)
	if err != nil {
		return v.fail(op, err)
	}
	defer done()
	for _, check := range before {
		if err := check(); err != nil {
			return v.fail(op, err)
		}
	}
	return v.fail(op, v.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error {
		return v.p.lockedVolume(ctx, v.id, func() error {
			facts, err := v.settled(ctx)
			if err != nil {
				return err
			}
			return do(ctx, facts)
		})
	}))
}

// lockedVolume runs what no other change of a volume on this host may disturb, nor
// the start of an instance that has it.
func (p *Provider) lockedVolume(ctx context.Context, id string, do func() error) error {
	if !resource.IsID(id) {
		return records{p, resource.KindVolume}.errNone()
	}
	return p.locked(ctx, id, do)
}

// settled reads the volume, and sees through what somebody did not live to. It is
// called with the volume locked.
func (v *volume) settled(ctx context.Context) (volumeFacts, error) {
	facts, err := v.load(ctx)
	if err != nil || facts.Phase != filling {
		return facts, err
	}
	if facts.Home != v.p.home && time.Now().Before(facts.Until) {
		return facts, resource.Errorf(errdefs.ErrFailedPrecondition, "the volume gets other content on another host")
	}
	return v.refill(ctx, facts)
}

// amend changes the record, and again where another host does at the same time.
func (v *volume) amend(ctx context.Context, change func(*volumeFacts) error) (volumeFacts, error) {
	changed := volumeFacts{}
	_, err := v.records().amend(ctx, v.id, func(d document) (document, error) {
		facts, err := readVolume(d)
		if err == nil && d.hidden() {
			err = v.records().errNone()
		}
		if err == nil {
			err = change(&facts)
		}
		if err == nil {
			err = givenUp(ctx)
		}
		if err != nil {
			return d, err
		}
		return facts.written()
	})
	if err == nil {
		changed, err = v.load(ctx)
	}
	return changed, err
}

// Update implements storage.Volume.
func (v *volume) Update(ctx context.Context, change storage.Change) error {
	return v.change(ctx, "update", func(ctx context.Context, before volumeFacts) error {
		after, err := v.amend(ctx, func(facts *volumeFacts) error {
			if err := facts.checkRevision(change.IfRevision); err != nil {
				return err
			}
			facts.spec.Labels = change.Labels.Apply(facts.spec.Labels)
			facts.spec.Annotations = resource.Annotations(change.Annotations.Apply(resource.Labels(facts.spec.Annotations)))
			return facts.spec.Validate().Err()
		})
		if err == nil && after.Revision != before.Revision {
			v.p.tellRecord(after.document, after.spec.Labels, resource.ReasonUpdate)
		}
		return err
	}, func() error { return change.Validate().Err() })
}

// Delete implements storage.Volume. The volume is said to be going first, so that
// nobody takes it into use meanwhile; whoever was faster keeps it.
func (v *volume) Delete(ctx context.Context, opts storage.DeleteOptions) error {
	return v.change(ctx, "delete", func(ctx context.Context, facts volumeFacts) error {
		if err := facts.checkRevision(opts.IfRevision); err != nil {
			return err
		}
		if err := v.p.idle(ctx, v.id); err != nil {
			return err
		}
		if len(facts.Snapshots) > 0 {
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Err: errSnapshots}
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		return v.remove(ctx, facts)
	})
}

var errSnapshots = errors.New("the volume has snapshots, which go first")

// remove removes an idle volume.
func (v *volume) remove(ctx context.Context, facts volumeFacts) error {
	home := facts.Home
	facts.Home = v.p.home
	going, err := v.records().revise(ctx, facts.begun(removing, v.p.owner.Generation, makingTime))
	if err != nil {
		return err
	}
	if err := v.p.idle(ctx, v.id); err != nil {
		going.Home = home
		_, back := v.records().revise(ctx, going.ended())
		return errors.Join(err, back)
	}
	if err := v.p.discard(ctx, going, facts.spec.Pool); err != nil {
		v.p.later(ctx, func(ctx context.Context) bool { return v.p.discard(ctx, going, facts.spec.Pool) == nil })
		return err
	}
	v.p.mortalVolumes.Remove(v.id)
	v.p.tellGone(v.ref(facts.Name, v.id))
	return nil
}

// discard removes all files of a volume, and its record last.
func (p *Provider) discard(ctx context.Context, d document, pool string) error {
	if err := changes(ctx); err != nil {
		return err
	}
	if err := p.removeFiles(ctx, pool, d.ID+"."); err != nil {
		return err
	}
	return records{p, d.Kind}.remove(ctx, d)
}

// removeFiles removes the files of a pool whose names begin so.
func (p *Provider) removeFiles(ctx context.Context, pool, prefix string) error {
	files, err := p.filesIn(ctx, pool)
	if err != nil {
		return err
	}
	for _, file := range files {
		if !strings.HasPrefix(file, prefix) {
			continue
		}
		if err := p.removeFile(ctx, pool, file); err != nil {
			return err
		}
	}
	return nil
}

// buryVolume deletes an ephemeral volume at Close, when no other operation of this
// value is under way.
func (p *Provider) buryVolume(ctx context.Context, id string) error {
	v := volumes{p}.handle(id, "")
	err := p.lockedVolume(ctx, id, func() error {
		facts, err := v.load(ctx)
		if err != nil {
			return err
		}
		for _, s := range facts.Snapshots {
			if err := p.removeFile(ctx, facts.spec.Pool, facts.fileOf(s)); err != nil {
				return err
			}
		}
		if err := p.idle(ctx, id); err != nil {
			return err
		}
		return v.remove(ctx, facts)
	})
	if isNotFound(err) {
		return nil
	}
	return v.fail("delete", err)
}
