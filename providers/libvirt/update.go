//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Update implements compute.Instance. Labels and annotations are written into the
// domain's metadata; what the machine has is defined anew, for its next start, and
// changed at once where a machine that runs can take it.
func (i *instance) Update(ctx context.Context, change compute.Change) error {
	return i.change(ctx, "update", func(ctx context.Context) error {
		var written *record
		err := i.p.locked(ctx, i.id, func() (err error) {
			written, err = i.update(ctx, change)
			return err
		})
		if written != nil {
			i.p.feed.wrote(ctx, i.id, written)
		}
		return err
	}, func(context.Context) error {
		faults := change.Validate()
		if change.Resources != nil && len(faults) == 0 {
			faults.Under("resources", checkResources(*change.Resources))
		}
		if err := faults.Err(); err != nil {
			return err
		}
		return Changeable().Refuse(change)
	})
}

// update returns what it has written; nil where there was nothing to write.
func (i *instance) update(ctx context.Context, change compute.Change) (*record, error) {
	d, err := i.loadOwned(ctx, change.IfRevision)
	if err != nil {
		return nil, err
	}
	if _, err := compute.CheckTransition(settled(d.state), compute.OpUpdate); err != nil {
		return nil, err
	}
	if change.Resources != nil && change.Apply != compute.ApplyNextStart {
		if err := i.askIdle(ctx, d); err != nil {
			return nil, err
		}
	}
	before := d.facts.record
	spec := i.p.hyper.withChoices(change.To(before.spec))
	// What a record keeps no secrets of does not change.
	changed := spec
	changed.CloudInit = nil
	if faults := changed.Validate(); len(faults) > 0 {
		return nil, faults.Err()
	}
	had, has, err := i.liveAfter(ctx, d, change, spec.Resources)
	if err != nil {
		return nil, err
	}
	same := len(resource.Diff(before.spec, spec)) == 0
	if same && had == has {
		return nil, nil
	}
	after := *before
	after.Revision++
	if after, err = after.with(spec); err != nil {
		return nil, err
	}
	if err := givenUp(ctx); err != nil {
		return nil, err
	}
	// What is about to change in the run is written down first as what waits for the
	// next one: who gets no further leaves what will be true by then, and is done by
	// the same change once more.
	var written *record
	idle := d.idleDuring(had, has)
	if after = after.having(d, had, idle); !same || idle != d.idle() {
		if before.spec.Resources == spec.Resources {
			err = i.p.write(ctx, i.id, metaRecord, after)
		} else {
			err = i.redefine(ctx, after)
		}
		if err != nil {
			return nil, err
		}
		first := after
		written = &first
	}
	if had == has {
		return written, nil
	}
	now, err := i.takeEffect(ctx, d, change.Apply, after, had, has, written == nil)
	return cmp.Or(now, written), err
}

// takeEffect changes the run under way and returns what it has written of that: the
// record after the change with what has become true. What is left as it was needs no
// word if same says that there is none yet.
func (i *instance) takeEffect(ctx context.Context, d *domain, apply compute.ApplyMode, after record, had, has compute.Resources, same bool) (*record, error) {
	got, refused, err := i.retune(ctx, had, has)
	if err != nil {
		return nil, err
	}
	idle, err := i.idleAfter(ctx, d, had, has, got)
	if err != nil {
		return nil, err
	}
	same = same && got == had && idle == d.idle()
	if len(refused) > 0 && apply == compute.ApplyLive {
		if same {
			return nil, notLive(refused)
		}
		now, err := i.undoUpdate(ctx, d, after.Revision, had, has, got)
		return now, errors.Join(notLive(refused), err)
	}
	if same {
		return nil, nil
	}
	after = after.having(d, got, idle)
	if err := i.p.write(ctx, i.id, metaRecord, after); err != nil {
		return nil, err
	}
	return &after, nil
}

// undoUpdate gives the run and the record what they had.
func (i *instance) undoUpdate(ctx context.Context, d *domain, revision int, had, has, got compute.Resources) (*record, error) {
	clean, cancel := i.p.cleanup(ctx)
	defer cancel()
	_, _, err := i.retune(clean, got, had)
	idle, idleErr := i.idleAfter(clean, d, had, has, had)
	before := d.facts.record.having(d, had, idle)
	before.Revision = revision + 1
	return &before, errors.Join(err, idleErr, i.redefine(clean, before))
}

// redefine sets the resources and the record.
func (i *instance) redefine(ctx context.Context, r record) error {
	return i.reshape(ctx, r, func(next, _ *libvirtxml.Domain) error {
		i.p.hyper.applyResources(next, r.spec.Resources)
		return nil
	})
}

// reshape changes the domain for its next start, and sets the record, in one call.
// Everything else of the description stays as it is, whoever wrote it. The change is
// told what the domain is now, too, which is the same where it does not run.
func (i *instance) reshape(ctx context.Context, r record, change func(next, now *libvirtxml.Domain) error) error {
	body, err := metaRecord.body(r)
	if err != nil {
		return err
	}
	return i.do(ctx, func(d *lv.Domain) error {
		next, err := describedDomain(d, lv.DOMAIN_XML_INACTIVE|lv.DOMAIN_XML_SECURE)
		if err != nil {
			return err
		}
		now, err := describedDomain(d, 0)
		if err != nil {
			return err
		}
		if err := change(next, now); err != nil {
			return err
		}
		text, err := next.Marshal()
		if err != nil {
			return err
		}
		c, err := d.DomainGetConnect()
		if err != nil {
			return err
		}
		defer c.Close()
		again, err := c.DomainDefineXMLFlags(text, i.p.defineFlags())
		if err != nil {
			return err
		}
		defer again.Free()
		return again.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, body, metaRecord.prefix, metaRecord.space, lv.DOMAIN_AFFECT_CONFIG)
	})
}

func describedDomain(d *lv.Domain, flags lv.DomainXMLFlags) (*libvirtxml.Domain, error) {
	text, err := d.GetXMLDesc(flags)
	if err != nil {
		return nil, err
	}
	var domain libvirtxml.Domain
	return &domain, domain.Unmarshal(text)
}
