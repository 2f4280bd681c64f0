//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	_ compute.Pauser    = (*instance)(nil)
	_ compute.Suspender = (*instance)(nil)
	_ compute.Resetter  = (*instance)(nil)
)

// Start implements compute.Instance.
func (i *instance) Start(ctx context.Context, opts compute.StartOptions) error {
	return i.change(ctx, "start", func(ctx context.Context) error {
		err := i.p.locked(ctx, i.id, func() error {
			return i.withVolumes(ctx, func(d *domain) error { return i.start(ctx, d, opts, 0) })
		})
		if err == nil {
			i.p.feed.settle(ctx, i.id, compute.Running)
		}
		return err
	})
}

// start begins a run of the domain as it has just been read, the how manieth restart of
// a row it is.
func (i *instance) start(ctx context.Context, d *domain, opts compute.StartOptions, restarts int) error {
	if err := d.owned(); err != nil {
		return err
	}
	if err := d.checkRevision(opts.IfRevision); err != nil {
		return err
	}
	to, err := compute.CheckTransition(d.state, compute.OpStart)
	if err != nil || to.NoOp {
		return err
	}
	resumed := d.state == compute.Suspended
	if d.unnoted() {
		// How the last run ended is forgotten with the next.
		if err := i.p.writeExit(ctx, i.id, d.exitOf(d.lastRun(), time.Time{})); err != nil {
			return err
		}
	}
	if err := i.p.checkOthers(ctx, d.facts.record); err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	run := runRecord{Run: d.lastRun() + 1, Started: time.Now().UTC(), Restarts: restarts, Consoles: d.facts.run.Consoles}
	if log := i.p.consoleLog(i.id); log != "" {
		run.Consoles = begun(run.Consoles, consoleEnd(log, run.Run))
	}
	ports, err := i.p.publishNext(ctx, d)
	if err != nil {
		return err
	}
	if ports != nil {
		defer ports.Abandon()
	}
	err = i.do(ctx, func(d *lv.Domain) error { return d.CreateWithFlags(0) })
	if overtaken(err) || uncertain(err) {
		// Somebody else may have been faster, or the daemon than the end of the call.
		clean, cancel := i.p.cleanup(ctx)
		defer cancel()
		now, loadErr := i.load(clean)
		if loadErr != nil || !now.state.Active() {
			return err
		}
		if done := givenUp(ctx); done != nil {
			return done
		}
		err = nil
	}
	if err != nil {
		return err
	}
	if ports != nil {
		i.followed(ctx, d, ports)
	}
	if resumed {
		return nil
	}
	// The run has begun whether or not that can be written down: it is told from the
	// state then.
	if err := i.p.write(ctx, i.id, metaRun, run); err != nil {
		i.p.opts.Logger.Warn("the run cannot be written down", "instance", i.id, "error", err)
	}
	return nil
}

// do makes a call on the instance's domain.
func (i *instance) do(ctx context.Context, do func(*lv.Domain) error) error {
	if err := changes(ctx); err != nil {
		return err
	}
	defer i.p.changed(i.id)
	_, err := onDomain(ctx, i.p, i.id, func(d *lv.Domain) (struct{}, error) { return struct{}{}, do(d) })
	if isNotFound(err) {
		return errNotFound()
	}
	return err
}

// write sets one element of the metadata.
func (p *Provider) write(ctx context.Context, id string, e element, v any) error {
	body, err := e.body(v)
	if err != nil {
		return err
	}
	if err := changes(ctx); err != nil {
		return err
	}
	defer p.changed(id)
	_, err = onDomain(ctx, p, id, func(d *lv.Domain) (struct{}, error) {
		return struct{}{}, d.SetMetadata(lv.DOMAIN_METADATA_ELEMENT, body, e.prefix, e.space, lv.DOMAIN_AFFECT_CONFIG)
	})
	if isNotFound(err) {
		return errNotFound()
	}
	return err
}

func (p *Provider) writeExit(ctx context.Context, id string, e exitRecord) error {
	return p.write(ctx, id, metaExit, e)
}

// noteExit writes down how the last run ended, which was seen to be over at a time,
// unless somebody was faster. It returns the domain as it is then.
func (p *Provider) noteExit(ctx context.Context, d *domain, at time.Time) (*domain, error) {
	err := p.locked(ctx, d.id, func() error {
		now, err := p.read(ctx, d.id)
		if err != nil {
			return err
		}
		if d = now; !d.unnoted() {
			return nil
		}
		exit := d.exitOf(d.facts.run.Run, at)
		d.facts.exit = &exit
		return p.writeExit(ctx, d.id, exit)
	})
	return d, err
}

// Pause implements compute.Pauser.
func (i *instance) Pause(ctx context.Context) error {
	return i.change(ctx, "pause", func(ctx context.Context) error {
		return i.transit(ctx, compute.OpPause, (*lv.Domain).Suspend)
	})
}

// Resume implements compute.Pauser.
func (i *instance) Resume(ctx context.Context) error {
	return i.change(ctx, "resume", func(ctx context.Context) error {
		return i.transit(ctx, compute.OpResume, (*lv.Domain).Resume)
	})
}

// Suspend implements compute.Suspender.
func (i *instance) Suspend(ctx context.Context, _ compute.SuspendOptions) error {
	return i.change(ctx, "suspend", func(ctx context.Context) error {
		return i.transit(ctx, compute.OpSuspend, func(d *lv.Domain) error { return d.ManagedSave(0) })
	})
}

// Reset implements compute.Resetter.
func (i *instance) Reset(ctx context.Context) error {
	return i.change(ctx, "reset", func(ctx context.Context) error {
		if err := i.transit(ctx, compute.OpReset, func(d *lv.Domain) error { return d.Reset(0) }); err != nil {
			return err
		}
		// What was found out is of a guest that is gone; but it was reset, whether or not
		// that can be written down.
		if err := errors.Join(i.noteReset(ctx), i.noteBooted(ctx)); err != nil {
			i.p.opts.Logger.Warn("the reset cannot be written down", "instance", i.id, "error", err)
		}
		return nil
	})
}

// transit does what leads from the present state to the next, if the table allows
// it.
func (i *instance) transit(ctx context.Context, op compute.Operation, do func(*lv.Domain) error) error {
	d, err := i.loadOwned(ctx, "")
	if err != nil {
		return err
	}
	to, err := compute.CheckTransition(d.state, op)
	if err != nil || to.NoOp {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	err = i.do(ctx, do)
	if err == nil {
		i.p.feed.settle(ctx, i.id, to.To)
	}
	if !overtaken(err) {
		return err
	}
	// Somebody else may have been faster, or the run may have ended.
	d, loadErr := i.load(ctx)
	if loadErr != nil {
		return err
	}
	now, forbidden := compute.CheckTransition(d.state, op)
	if forbidden != nil || now.NoOp {
		return forbidden
	}
	return err
}

// Delete implements compute.Instance.
func (i *instance) Delete(ctx context.Context, opts compute.DeleteOptions) error {
	return i.change(ctx, "delete", func(ctx context.Context) error {
		err := i.p.locked(ctx, i.id, func() error { return i.delete(ctx, opts) })
		switch {
		case err == nil:
			i.p.mortals.Remove(i.id)
			i.p.feed.settle(ctx, i.id, "")
		case uncertain(err):
			// What may be gone all the same leaves no files.
			i.p.later(ctx, func(ctx context.Context) bool {
				_, err := i.p.read(ctx, i.id)
				if isNotFound(err) {
					err = i.removeFiles(ctx, nil)
				}
				return err == nil
			})
		}
		return err
	})
}

func (i *instance) delete(ctx context.Context, opts compute.DeleteOptions) error {
	d, err := i.loadForDelete(ctx)
	if isNotFound(err) && resource.IsID(i.id) {
		// An earlier call may have got no further. One of another namespace keeps what
		// it has.
		if _, there := i.p.read(ctx, i.id); isNotFound(there) {
			err = errors.Join(err, i.p.unplugAny(ctx, i.id), i.removeFiles(ctx, nil))
		}
		return err
	}
	if err != nil {
		return err
	}
	if err := d.checkRevision(opts.IfRevision); err != nil {
		return err
	}
	op := compute.OpDelete
	if opts.Force {
		op = compute.OpDeleteForce
	} else if err := d.owned(); err != nil {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "%v; force deletes it", err)
	}
	if _, err := compute.CheckTransition(d.state, op); err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	if d.state.Active() || d.state == compute.Unknown {
		if err := i.destroy(ctx); err != nil {
			return err
		}
	}
	err = i.p.undefine(ctx, i.id)
	if isNotFound(err) {
		// A domain that is not persistent goes with its run.
		err = nil
	}
	if err != nil {
		return err
	}
	if r := d.facts.record; r == nil || len(r.Nets) > 0 {
		err = i.p.unplugAny(ctx, i.id)
	}
	return errors.Join(err, i.removeFiles(ctx, d.facts.record))
}

// loadForDelete is load for what makes no difference between the states in which nothing
// runs.
func (i *instance) loadForDelete(ctx context.Context) (*domain, error) {
	if !resource.IsID(i.id) {
		return nil, errNotFound()
	}
	d, err := onLane(ctx, i.p, func(l *lane) (*domain, error) {
		d, err := l.lookUp(i.id)
		if err != nil {
			return nil, err
		}
		description, err := d.GetXMLDesc(0)
		if err != nil {
			return nil, err
		}
		f, err := readFacts(description)
		if err != nil || !f.active {
			return &domain{id: i.id, facts: f, state: compute.Stopped, live: -1}, err
		}
		return l.read(i.id)
	})
	if isNotFound(err) {
		err = errNotFound()
	}
	if err == nil {
		err = i.meet(d.facts)
	}
	return d, err
}

// removeFiles removes what is left of an instance when its domain is gone; of one
// whose record is not known any more, where such things are by default.
func (i *instance) removeFiles(ctx context.Context, r *record) error {
	pool := i.p.opts.Pool
	switch {
	case i.p.inProcess():
		return i.removeConsole()
	case r != nil && r.Disks == nil:
		pool = ""
	case r != nil:
		pool = r.Disks.Pool
	}
	var err error
	if pool != "" {
		err = i.p.removeDisks(ctx, pool, diskFiles(i.id, r)...)
	}
	return errors.Join(err, i.p.removePorts(ctx, i.id), i.removeConsole())
}

// removeConsole removes what this host keeps of what the guest wrote.
func (i *instance) removeConsole() error {
	log := i.p.consoleLog(i.id)
	if log == "" {
		return nil
	}
	for _, file := range consoleFiles(log) {
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove what the console wrote: %w", err)
		}
	}
	return nil
}

// destroy ends the run at once; that there is none is nil. A machine that a daemon
// takes up again, or that goes off by itself, may end in front of the call.
func (i *instance) destroy(ctx context.Context) error {
	err := i.do(ctx, (*lv.Domain).Destroy)
	if !overtaken(err) {
		return err
	}
	if d, loadErr := i.load(ctx); loadErr == nil && !d.state.Active() {
		return nil
	}
	return err
}

// overtaken reports whether a call failed because the machine was in another state
// by then.
func overtaken(err error) bool {
	return errors.Is(err, errdefs.ErrFailedPrecondition) || errors.Is(err, errdefs.ErrAborted)
}
