//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"encoding/json"
	"errors"
	"iter"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/resource"
)

// Snapshots are libvirt's internal ones: they are within the root disk, so that none
// is the base of another, and any may go. Of a machine that runs there is none without
// its memory; where only the disk was asked for, a revert forgets the rest.
//
// Libvirt keeps a domain's description with each snapshot and puts it in force at a
// revert. What the record says is newer: it is written into the snapshot before.

var _ compute.Snapshotter = (*instance)(nil)

func (i *instance) snapshotInfo(k kept) compute.SnapshotInfo {
	return compute.SnapshotInfo{
		Ref: i.p.ref(resource.KindSnapshot, k.name, k.ID), Memory: k.Memory, Parent: k.parent, Labels: k.Labels, Created: k.Created, Used: -1,
	}
}

// CreateSnapshot implements compute.Snapshotter.
func (i *instance) CreateSnapshot(ctx context.Context, spec compute.SnapshotSpec) (compute.SnapshotInfo, error) {
	var info compute.SnapshotInfo
	err := i.change(ctx, "snapshot", func(ctx context.Context) error {
		return i.p.locked(ctx, i.id, func() (err error) {
			info, err = i.createSnapshot(ctx, spec)
			return err
		})
	}, func(context.Context) error { return spec.Validate().Err() })
	if err != nil {
		return compute.SnapshotInfo{}, err
	}
	return info, nil
}

// createSnapshot takes a snapshot in one go. Whether there is one of its name libvirt
// says; why it refused is found out then.
func (i *instance) createSnapshot(ctx context.Context, spec compute.SnapshotSpec) (compute.SnapshotInfo, error) {
	k, err := inOneGo(ctx, i, func(l *lane) (kept, error) {
		before := beside(i.p, l, func(other *lane) (string, error) { return other.current(i.id) })
		k, err := i.newKept(l, spec)
		parent, unread := before()
		if err == nil {
			k.parent, err = parent, unread
		}
		if err != nil {
			return k, err
		}
		description, err := k.describe()
		if err == nil {
			err = givenUp(ctx)
		}
		if err != nil {
			return k, err
		}
		d, err := l.lookUp(i.id)
		if err != nil {
			return k, err
		}
		if err := changes(ctx); err != nil {
			return k, err
		}
		defer i.p.changed(i.id)
		s, err := d.CreateSnapshotXML(description, 0)
		if err != nil {
			return k, whyRefused(d, k, err)
		}
		defer s.Free()
		if err := givenUp(ctx); err != nil {
			// Whoever asked for it was told, or will be, that there is none.
			if undo := s.Delete(0); undo != nil {
				return k, errors.Join(err, undo)
			}
			return k, err
		}
		if k.Memory {
			err = settleKept(d, s)
		}
		return k, err
	})
	if err != nil {
		return compute.SnapshotInfo{}, err
	}
	return i.snapshotInfo(k), nil
}

// newKept is what is to be kept of a domain, if its state allows it.
func (i *instance) newKept(l *lane, spec compute.SnapshotSpec) (kept, error) {
	now, err := i.resting(l)
	if err != nil {
		return kept{}, err
	}
	if spec.Memory && now.state == compute.Stopped {
		return kept{}, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "memory", Err: errors.New("an instance that does not run has no memory to keep")}
	}
	f := now.facts
	return kept{name: spec.Name, keptState: keptState{
		ID: resource.NewID(), Memory: spec.Memory, Labels: spec.Labels, Created: time.Now().UTC(), Resources: f.record.live(now.lastRun()),
		Idle: f.record.idle(now.lastRun()),
	}}, nil
}

// describe is the snapshot as libvirt reads it.
func (k kept) describe() (string, error) {
	text, err := json.Marshal(k.keptState)
	if err != nil {
		return "", err
	}
	return (&libvirtxml.DomainSnapshot{Name: k.name, Description: string(ascii(text))}).Marshal()
}

// whyRefused is the error of a snapshot that libvirt did not take.
func whyRefused(d *lv.Domain, k kept, err error) error {
	s, absent := d.SnapshotLookupByName(k.name, 0)
	if absent != nil {
		if errors.Is(err, lv.ERR_CONFIG_UNSUPPORTED) || errors.Is(err, lv.ERR_OPERATION_UNSUPPORTED) {
			err = resource.Errorf(errors.ErrUnsupported, "%s: %v", keptWithin, err)
		}
		return err
	}
	defer s.Free()
	text, unread := s.GetXMLDesc(0)
	if other, ok := readKept(text); unread != nil || !ok || other.ID == k.ID {
		return err
	}
	return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("a snapshot of this name exists")}
}

// current is the name of the snapshot that the next one will follow; empty for none.
func (l *lane) current(id string) (string, error) {
	d, err := l.lookUp(id)
	if err != nil {
		return "", err
	}
	return nameOfSnapshot(d.SnapshotCurrent(0))
}

// nameOfSnapshot is the name of a snapshot that was asked for; empty where there is none.
func nameOfSnapshot(s *lv.DomainSnapshot, err error) (string, error) {
	if errors.Is(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	defer s.Free()
	return s.GetName()
}

// settleKept makes a snapshot that was just taken one that can be gone back to where
// processors came while the machine ran. Libvirt lets nobody change that of what it
// keeps, so it is told of the snapshot anew.
func settleKept(d *lv.Domain, s *lv.DomainSnapshot) error {
	was, err := s.GetXMLDesc(lv.DOMAIN_SNAPSHOT_XML_SECURE)
	if err != nil {
		return err
	}
	var snapshot libvirtxml.DomainSnapshot
	if err := snapshot.Unmarshal(was); err != nil {
		return err
	}
	if snapshot.Domain == nil || !settleCPUs(snapshot.Domain) {
		return nil
	}
	text, err := snapshot.Marshal()
	if err != nil {
		return err
	}
	if err := s.Delete(lv.DOMAIN_SNAPSHOT_DELETE_METADATA_ONLY); err != nil {
		return err
	}
	const flags = lv.DOMAIN_SNAPSHOT_CREATE_REDEFINE | lv.DOMAIN_SNAPSHOT_CREATE_CURRENT
	again, err := d.CreateSnapshotXML(text, flags)
	if err == nil {
		return again.Free()
	}
	// What can be deleted at least.
	back, backErr := d.CreateSnapshotXML(was, flags)
	if backErr == nil {
		backErr = back.Free()
	}
	return errors.Join(err, backErr)
}

// onSnapshot makes a call on one of the instance's snapshots.
func onSnapshot[T any](ctx context.Context, i *instance, name string, do func(*lv.Domain, *lv.DomainSnapshot) (T, error)) (T, error) {
	return onDomain(ctx, i.p, i.id, func(d *lv.Domain) (T, error) {
		s, err := d.SnapshotLookupByName(name, 0)
		if err != nil {
			var none T
			return none, err
		}
		defer s.Free()
		return do(d, s)
	})
}

// findSnapshot reads a snapshot. What somebody else made is not there.
func (i *instance) findSnapshot(ctx context.Context, name string) (kept, error) {
	text, err := onSnapshot(ctx, i, name, func(_ *lv.Domain, s *lv.DomainSnapshot) (string, error) { return s.GetXMLDesc(0) })
	if err != nil && !isNotFound(err) {
		return kept{}, err
	}
	if err == nil {
		if k, ok := readKept(text); ok {
			return k, nil
		}
	}
	return kept{}, errNoSnapshot(name)
}

func errNoSnapshot(name string) error {
	return resource.Errorf(errdefs.ErrNotFound, "there is no snapshot %s", resource.Quote(name))
}

// Snapshots implements compute.Snapshotter.
func (i *instance) Snapshots(ctx context.Context) iter.Seq2[compute.SnapshotInfo, error] {
	return func(yield func(compute.SnapshotInfo, error) bool) {
		all, err := i.snapshots(ctx)
		if err != nil {
			yield(compute.SnapshotInfo{}, i.fail("snapshots", err))
			return
		}
		for _, k := range all {
			if !yield(i.snapshotInfo(k), nil) {
				return
			}
		}
	}
}

func (i *instance) snapshots(ctx context.Context) ([]kept, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := i.load(ctx); err != nil {
		return nil, err
	}
	all, err := onDomain(ctx, i.p, i.id, func(d *lv.Domain) (all []kept, err error) {
		listed, err := d.ListAllSnapshots(0)
		if err != nil {
			return nil, err
		}
		for n := range listed {
			text, readErr := listed[n].GetXMLDesc(0)
			_ = listed[n].Free()
			switch k, ok := readKept(text); {
			case errors.Is(readErr, lv.ERR_NO_DOMAIN_SNAPSHOT): // it is gone meanwhile
			case readErr != nil:
				err = readErr
			case ok:
				all = append(all, k)
			}
		}
		return all, err
	})
	if isNotFound(err) {
		err = errNotFound()
	}
	slices.SortFunc(all, func(a, b kept) int { return a.Created.Compare(b.Created) })
	return all, err
}

// RevertSnapshot implements compute.Snapshotter.
func (i *instance) RevertSnapshot(ctx context.Context, name string, opts compute.RevertOptions) error {
	return i.change(ctx, "revert", func(ctx context.Context) error {
		if opts.Force {
			// The exit is written down by the events' reader, which takes the lock too.
			if err := i.endRun(ctx, name); err != nil {
				return err
			}
		}
		var state compute.State
		err := i.p.locked(ctx, i.id, func() (err error) {
			state, err = i.revert(ctx, name)
			return err
		})
		if err == nil {
			i.p.feed.settle(ctx, i.id, state)
		}
		return err
	})
}

// endRun ends a run under way, if there is the snapshot to go back to.
func (i *instance) endRun(ctx context.Context, name string) error {
	d, err := i.loadOwned(ctx, "")
	if err == nil {
		_, err = i.findSnapshot(ctx, name)
	}
	if err != nil || d.state == compute.Stopped {
		return err
	}
	return i.stop(ctx, compute.StopOptions{Force: true})
}

// revert returns the state that it leaves.
func (i *instance) revert(ctx context.Context, name string) (compute.State, error) {
	d, err := i.loadOwned(ctx, "")
	if err != nil {
		return "", err
	}
	k, err := i.findSnapshot(ctx, name)
	if err != nil {
		return "", err
	}
	if d.state != compute.Stopped {
		return "", resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", d.state)
	}
	if d.unnoted() {
		exit := d.exitOf(d.lastRun(), time.Time{})
		if err := i.p.writeExit(ctx, i.id, exit); err != nil {
			return "", err
		}
		d.facts.exit = &exit
	}
	if err := givenUp(ctx); err != nil {
		return "", err
	}
	if err := i.renewKept(ctx, k.name); err != nil {
		return "", err
	}
	running := k.state == "running" || k.state == "paused"
	var flags lv.DomainSnapshotRevertFlags
	if running && !k.Memory {
		flags = lv.DOMAIN_SNAPSHOT_REVERT_PAUSED
	}
	run := runRecord{Run: d.lastRun() + 1, Started: time.Now().UTC(), Continued: true}
	var ports *keeper.Forward
	if running && k.Memory {
		if err := i.p.checkOthers(ctx, d.facts.record); err != nil {
			return "", err
		}
		if ports, err = i.p.publishNext(ctx, d); err != nil {
			return "", err
		}
	}
	if ports != nil {
		defer ports.Abandon()
	}
	err = i.onKept(ctx, k.name, func(_ *lv.Domain, s *lv.DomainSnapshot) error { return s.RevertToSnapshot(flags) })
	if err != nil {
		return "", err
	}
	if running && !k.Memory {
		// The disk is as it was, and that is all that was kept.
		if err := i.destroy(ctx); err != nil {
			return "", err
		}
	}
	if ports != nil {
		i.followed(ctx, d, ports)
	}
	after := *d.facts.record
	if running && k.Memory {
		if err := i.p.write(ctx, i.id, metaRun, run); err != nil {
			return "", err
		}
		after = after.has(run.Run, k.Resources, k.Idle)
	}
	state := compute.Stopped
	switch {
	case running && k.Memory && k.state == "paused":
		state = compute.Paused
	case running && k.Memory:
		state = compute.Running
	}
	// What the machine has is what the record says, at its next start.
	return state, i.redefine(ctx, after)
}

// onKept makes a call on a snapshot that changes something.
func (i *instance) onKept(ctx context.Context, name string, do func(*lv.Domain, *lv.DomainSnapshot) error) error {
	if err := changes(ctx); err != nil {
		return err
	}
	defer i.p.changed(i.id)
	_, err := onSnapshot(ctx, i, name, func(d *lv.Domain, s *lv.DomainSnapshot) (struct{}, error) { return struct{}{}, do(d, s) })
	return err
}

// renewKept writes the present metadata into the description of the domain that is
// kept with a snapshot.
func (i *instance) renewKept(ctx context.Context, name string) error {
	return i.onKept(ctx, name, func(d *lv.Domain, s *lv.DomainSnapshot) error {
		present, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
		if err != nil {
			return err
		}
		text, err := s.GetXMLDesc(lv.DOMAIN_SNAPSHOT_XML_SECURE)
		if err != nil {
			return err
		}
		var domain libvirtxml.Domain
		var snapshot libvirtxml.DomainSnapshot
		if err := errors.Join(domain.Unmarshal(present), snapshot.Unmarshal(text)); err != nil {
			return err
		}
		if snapshot.Domain != nil {
			snapshot.Domain.Metadata = domain.Metadata
		}
		if snapshot.InactiveDomain != nil {
			snapshot.InactiveDomain.Metadata = domain.Metadata
		}
		if text, err = snapshot.Marshal(); err != nil {
			return err
		}
		flags := lv.DOMAIN_SNAPSHOT_CREATE_REDEFINE
		if current, err := s.IsCurrent(0); err != nil {
			return err
		} else if current {
			flags |= lv.DOMAIN_SNAPSHOT_CREATE_CURRENT
		}
		again, err := d.CreateSnapshotXML(text, flags)
		if err != nil {
			return err
		}
		return again.Free()
	})
}

// DeleteSnapshot implements compute.Snapshotter.
func (i *instance) DeleteSnapshot(ctx context.Context, name string) error {
	return i.change(ctx, "delete snapshot", func(ctx context.Context) error {
		return i.p.locked(ctx, i.id, func() error { return i.deleteSnapshot(ctx, name) })
	})
}

// deleteSnapshot deletes a snapshot in one go.
func (i *instance) deleteSnapshot(ctx context.Context, name string) error {
	_, err := inOneGo(ctx, i, func(l *lane) (struct{}, error) {
		s, err := i.ownSnapshot(l, name)
		if err != nil {
			return struct{}{}, err
		}
		defer s.Free()
		if err := changes(ctx); err != nil {
			return struct{}{}, err
		}
		defer i.p.changed(i.id)
		err = s.Delete(0)
		if errors.Is(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
			err = errNoSnapshot(name)
		}
		return struct{}{}, err
	})
	return err
}

// ownSnapshot finds a snapshot of ours, of a domain that may be changed.
func (i *instance) ownSnapshot(l *lane, name string) (_ *lv.DomainSnapshot, err error) {
	owned := beside(i.p, l, func(other *lane) (struct{}, error) {
		_, _, err := i.owned(other, lv.DOMAIN_XML_INACTIVE)
		return struct{}{}, err
	})
	s, err := l.snapshot(i.id, name)
	if _, refused := owned(); refused != nil {
		err = refused
	}
	if err != nil && s != nil {
		_ = s.Free()
	}
	return s, err
}

// snapshot finds a snapshot of ours.
func (l *lane) snapshot(id, name string) (*lv.DomainSnapshot, error) {
	d, err := l.lookUp(id)
	if err != nil {
		return nil, err
	}
	s, err := d.SnapshotLookupByName(name, 0)
	if err == nil {
		var text string
		if text, err = s.GetXMLDesc(0); err == nil {
			if _, ok := readKept(text); ok {
				return s, nil
			}
			err = errNoSnapshot(name)
		}
		_ = s.Free()
	}
	if errors.Is(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
		err = errNoSnapshot(name)
	}
	return nil, err
}
