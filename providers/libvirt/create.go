//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/callbacks"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

var _ compute.Planner = instances{}

// Create implements compute.Instances. The domain is defined in one call, with its
// record in it; before that there are only disks, which are named by its ID. Its name
// is libvirt's to keep unique.
func (s instances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	ref := s.p.ref(resource.KindInstance, spec.Name, "")
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	defer done()
	id := resource.NewID()
	if err := s.create(ctx, id, spec); err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	return s.p.handle(id, spec.Name), nil
}

func (s instances) create(ctx context.Context, id string, spec compute.Spec) error {
	if err := s.p.hyper.checkSpec(spec); err != nil {
		return err
	}
	r, err := s.record(spec, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := s.p.checkFirmware(ctx, r.spec.Boot); err != nil {
		return err
	}
	img, err := s.p.imageOf(ctx, r.spec)
	if err != nil {
		return err
	}
	return s.place(ctx, id, r, func(ctx context.Context, r *record) error { return s.p.makeDisks(ctx, id, r, img) })
}

// place makes an instance with all that it needs; its own disks as it is told.
func (s instances) place(ctx context.Context, id string, r record, disks func(context.Context, *record) error) error {
	var made record
	s.p.feed.making(id)
	err := s.p.withMounts(ctx, id, r.spec.Mounts, mountField, func(volumes []volumeDisk) (err error) {
		made, err = s.assemble(ctx, id, r.mounting(volumes), disks)
		return err
	})
	if err != nil {
		s.p.feed.notMade(id)
		return err
	}
	if r.spec.Lifetime.Ephemeral {
		s.p.mortals.Add(id)
	}
	// Nothing is locked any more for which the events' reader may wait.
	s.p.feed.wrote(ctx, id, &made)
	return nil
}

// assemble returns the record of what it has made.
func (s instances) assemble(ctx context.Context, id string, r record, disks func(context.Context, *record) error) (record, error) {
	if len(r.spec.Networks) == 0 && !hasDisks(r.spec) {
		return r, s.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error { return s.make(ctx, id, r) })
	}
	// The lock tells a sweep that whoever has made the disks and taken the endpoints
	// lives.
	var made record
	err := s.p.seenThrough(ctx, compute.CleanupTimeout, func(ctx context.Context) error {
		return s.p.locked(ctx, id, func() error {
			err := disks(ctx, &r)
			if err == nil {
				err = s.p.lockedEndpoints(ctx, r.spec.Networks, func() error { return s.join(ctx, id, &r) })
			}
			if err != nil {
				s.p.clearLost(ctx, id)
				s.p.undoDisks(ctx, id, r)
				return err
			}
			made = r
			return nil
		})
	})
	if err != nil {
		// What it goes on with is not waited for.
		return record{}, err
	}
	return made, nil
}

// join makes an instance that has its disks, with the networks that it is on.
func (s instances) join(ctx context.Context, id string, r *record) error {
	err := s.p.plug(ctx, id, r)
	if err == nil {
		err = givenUp(ctx)
	}
	if err == nil {
		err = s.make(ctx, id, *r)
	}
	return err
}

// make defines an instance of which all else is there.
func (s instances) make(ctx context.Context, id string, r record) error {
	// The program's own hand may be in it.
	description, err := callbacks.Run(s.p.alive, func() (string, error) { return s.p.hyper.describe(id, r) })
	if err != nil {
		return err
	}
	if err := s.p.define(ctx, id, description); errors.Is(err, errdefs.ErrAlreadyExists) {
		// What libvirt says has the name of the domain, which is none of the caller's.
		return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("is taken by another instance, or by a domain " + domainName(r.Namespace, r.Name))}
	} else if err != nil {
		return err
	}
	if err := s.p.stillThere(ctx, r.volumes); err != nil {
		clean, cancel := s.p.cleanup(ctx)
		defer cancel()
		return errors.Join(err, s.p.undefine(clean, id))
	}
	return nil
}

// record makes the record of a new instance.
func (s instances) record(spec compute.Spec, at time.Time) (record, error) {
	return record{
		Name: spec.Name, Namespace: s.p.opts.Namespace, Owner: s.p.owner, Home: s.p.home, Created: at, Revision: 1,
	}.with(s.p.hyper.withChoices(spec))
}

// define makes the domain, or leaves nothing of it. The answer is awaited whatever
// becomes of the context: the call cannot be taken back.
func (p *Provider) define(ctx context.Context, id, description string) error {
	through, cancel := outlive.Context(ctx, answerTime)
	defer cancel()
	if err := changes(ctx); err != nil {
		return err
	}
	defer p.changed(id)
	_, err := onLane(through, p, func(l *lane) (struct{}, error) {
		d, err := l.conn.DomainDefineXMLFlags(description, p.defineFlags())
		if err == nil {
			l.keep(id, d)
		}
		return struct{}{}, err
	})
	done := givenUp(ctx)
	if err == nil && done == nil {
		return nil
	}
	cause := err
	if done != nil {
		cause = done
	}
	if err != nil && !uncertain(err) {
		return cause
	}
	clean, cancelClean := p.cleanup(ctx)
	defer cancelClean()
	if err := p.undefine(clean, id); err != nil && !isNotFound(err) {
		p.owe(ctx, id)
		return outlive.NotUndone(cause, err, p.ref(resource.KindInstance, "", id))
	}
	return undone(ctx, cause)
}

// owe removes a domain that may have been made, as soon as the hypervisor can be
// reached again, as long as the provider is open.
func (p *Provider) owe(ctx context.Context, id string) {
	p.later(ctx, func(ctx context.Context) bool {
		err := p.undefine(ctx, id)
		return err == nil || isNotFound(err)
	})
}

// later does what an operation could not do until it is done, as long as the provider is
// open, and once more when that is closed. It waits for the calls that the operation has
// left alone.
func (p *Provider) later(ctx context.Context, do func(context.Context) (done bool)) {
	left := straysOf(ctx)
	attempt := func(ctx context.Context) bool { return left.await(ctx) == nil && do(ctx) }
	p.detached.Go(func() {
		for pause := 20 * time.Millisecond; ; pause = min(2*pause, time.Second) {
			select {
			case <-p.alive.Done():
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				attempt(ctx)
				return
			case <-time.After(pause):
			}
			if attempt(p.alive) {
				return
			}
		}
	})
}

// uncertain reports whether a call that failed may have had its effect.
func uncertain(err error) bool {
	return errors.Is(err, errdefs.ErrUnavailable) || errors.Is(err, context.Canceled) ||
		errors.Is(err, context.DeadlineExceeded) || errors.Is(err, resource.ErrClosed)
}

// undone says of an error that what it left in doubt is certain now.
func undone(ctx context.Context, err error) error {
	outlive.EffectsOf(ctx).Undone()
	var own *resource.Error
	if !errors.As(err, &own) || own != err {
		return err
	}
	out := *own
	out.Outcome = resource.NotDone
	return &out
}

// defineFlags are those that the driver knows.
func (p *Provider) defineFlags() lv.DomainDefineFlags {
	if p.inProcess() {
		return 0
	}
	return lv.DOMAIN_DEFINE_VALIDATE
}

// inProcess reports whether the hypervisor is libvirt's own for tests.
func (p *Provider) inProcess() bool { return p.hyper.virtType == "test" }

// undefine removes the domain with all that libvirt keeps of it.
func (p *Provider) undefine(ctx context.Context, id string) error {
	flags := lv.DOMAIN_UNDEFINE_MANAGED_SAVE | lv.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
	if !p.inProcess() {
		flags |= lv.DOMAIN_UNDEFINE_NVRAM | lv.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
	}
	if err := changes(ctx); err != nil {
		return err
	}
	defer p.changed(id)
	_, err := onDomain(ctx, p, id, func(d *lv.Domain) (struct{}, error) {
		return struct{}{}, d.UndefineFlags(flags)
	})
	return err
}

// Plan implements compute.Planner: it returns the domain's XML.
func (s instances) Plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	ref := s.p.ref(resource.KindInstance, spec.Name, "")
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return compute.Plan{}, resource.Fail("plan", ref, err)
	}
	defer done()
	plan, err := s.plan(ctx, spec)
	if err != nil {
		return compute.Plan{}, resource.Fail("plan", ref, err)
	}
	return plan, nil
}

func (s instances) plan(ctx context.Context, spec compute.Spec) (compute.Plan, error) {
	if err := checkValues(spec); err != nil {
		return compute.Plan{}, err
	}
	r, err := s.record(spec, time.Time{})
	if err != nil {
		return compute.Plan{}, err
	}
	if r.Disks, err = s.p.plannedDisks(ctx, r.spec); err != nil {
		return compute.Plan{}, err
	}
	for n, a := range spec.Networks {
		r.Nets = append(r.Nets, s.p.plannedUse(ctx, n, a))
	}
	if r.volumes, err = s.p.plannedVolumes(ctx, spec.Mounts); err != nil {
		return compute.Plan{}, err
	}
	text, err := callbacks.Run(s.p.alive, func() (string, error) { return s.p.hyper.describe(plannedID, r) })
	if err != nil {
		return compute.Plan{}, err
	}
	return compute.Plan{Provider: Scheme, Format: "libvirt-domain-xml", Native: []byte(text), Gaps: s.p.hyper.fields().Gaps(spec)}, nil
}

// plannedUse is the use that an instance would make of a network. An endpoint that
// cannot be found is left to Create.
func (p *Provider) plannedUse(ctx context.Context, n int, a compute.NetworkAttachment) netUse {
	if a.Endpoint != "" {
		info, err := network.FindEndpoint(ctx, a.Endpoint, p.opts.OtherNetworks...)
		if err == nil && info.Attachment.Bridge != "" {
			return useOf(info)
		}
	}
	return netUse{Libvirt: domainName(p.opts.Namespace, a.Network), MAC: newMAC(fmt.Sprint(plannedID, n)).String()}
}

// plannedID stands for the ID that an instance would get.
const plannedID = "00000000-0000-0000-0000-000000000000"
