package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// handle is a handle on an instance.
type handle struct {
	p  *Provider
	id string
	// name is known where the handle came from Create or Get.
	name string
}

var _ compute.Instance = (*handle)(nil)

// ID returns the instance's identity.
func (h *handle) ID() string { return h.id }

func (h *handle) ref() resource.Ref { return h.p.ref(resource.KindInstance, h.name, h.id) }

func (h *handle) fail(op Op, err error) error {
	if err == nil {
		return nil
	}
	ref := h.ref()
	if ref.Name == "" {
		h.p.backend.mu.Lock()
		if i, ok := h.p.space.instances.byID[h.id]; ok {
			ref.Name = i.name
		}
		h.p.backend.mu.Unlock()
	}
	return resource.Fail(op.verb(), ref, err)
}

// find returns the record, for an operation that its kind of instance has. The backend
// is locked.
func (h *handle) find(op Op) (*instance, error) {
	if i, ok := h.p.space.instances.byID[h.id]; ok {
		return i, h.p.backend.offers.refuses(op, i.spec.Kind)
	}
	return nil, errNoInstance
}

var errNoInstance = resource.Errorf(errdefs.ErrNotFound, "there is no such instance")

// look is the frame of what reads an instance: it passes on to the backend and
// calls read with the backend locked.
func (h *handle) look(ctx context.Context, op Op, read func(i *instance) error) error {
	p := h.p
	if err := p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	p.backend.mu.Lock()
	i, err := h.find(op)
	var c call
	if err == nil && p.watchful() {
		at := i.target()
		p.backend.mu.Unlock()
		c, err = p.reach(ctx, op, at)
		p.backend.mu.Lock()
		if err == nil && i.gone {
			err = errNoInstance
		}
	}
	if err == nil {
		err = read(i)
	}
	p.backend.mu.Unlock()
	return h.fail(op, c.done(err))
}

// use is look for an operation of the transition table that does not queue.
func (h *handle) use(ctx context.Context, op Op, does compute.Operation, begin func(i *instance) error) error {
	p := h.p
	if err := p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	p.backend.mu.Lock()
	i, err := h.find(op)
	if err == nil {
		_, err = i.check(does, "")
	}
	var c call
	if err == nil && p.watchful() {
		at := i.target()
		p.backend.mu.Unlock()
		c, err = p.reach(ctx, op, at)
		p.backend.mu.Lock()
		if err == nil {
			_, err = i.check(does, "")
		}
	}
	if err == nil {
		err = begin(i)
	}
	p.backend.mu.Unlock()
	return h.fail(op, c.done(err))
}

// change is the frame of what changes an instance: it waits for its turn, checks
// existence, revision and the transition table, passes on to the backend, and
// calls effect with the backend locked, unless there is nothing to do.
func (h *handle) change(ctx context.Context, op Op, does compute.Operation, revision string, effect func(i *instance, t compute.Transition) error) error {
	p := h.p
	if err := p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	p.backend.mu.Lock()
	i, err := h.find(op)
	p.backend.mu.Unlock()
	if err != nil {
		return h.fail(op, err)
	}
	if err := p.take(ctx, &i.turn); err != nil {
		return i.fail(op, err)
	}
	p.backend.mu.Lock()
	t, err := i.check(does, revision)
	var c call
	if err == nil && p.watchful() {
		at := i.target()
		p.backend.mu.Unlock()
		c, err = p.reach(ctx, op, at)
		p.backend.mu.Lock()
		if err == nil {
			t, err = i.check(does, revision)
		}
	}
	switch {
	case err != nil:
	case !t.NoOp:
		err = effect(i, t)
	case does == compute.OpStop:
		i.rest()
	}
	i.turn.pass()
	p.backend.mu.Unlock()
	return i.fail(op, c.done(err))
}

// fail names the instance although it may be gone by now. The backend is not locked.
func (i *instance) fail(op Op, err error) error {
	if err == nil {
		return nil
	}
	i.space.backend.mu.Lock()
	ref := i.ref()
	i.space.backend.mu.Unlock()
	return resource.Fail(op.verb(), ref, err)
}

// alter is change for what is not in the transition table: effect checks the
// state itself.
func (h *handle) alter(ctx context.Context, op Op, effect func(i *instance) error) error {
	return h.change(ctx, op, "", "", func(i *instance, _ compute.Transition) error {
		if err := i.owned(); err != nil {
			return err
		}
		return effect(i)
	})
}

// owned refuses to change what PlantForeign made. The backend is locked.
func (i *instance) owned() error {
	if !i.managed {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was not made by this library")
	}
	return nil
}

// check says whether an operation is allowed now. The backend is locked.
func (i *instance) check(op compute.Operation, revision string) (compute.Transition, error) {
	if i.gone {
		return compute.Transition{}, errNoInstance
	}
	if op != "" && op != compute.OpDeleteForce {
		if err := i.owned(); err != nil {
			return compute.Transition{}, err
		}
	}
	if revision != "" && revision != i.revisionText() {
		return compute.Transition{}, &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision",
			Err: fmt.Errorf("the instance has changed: its revision is %s", i.revisionText())}
	}
	if op == "" {
		return compute.Transition{}, nil
	}
	return compute.CheckTransition(i.state, op)
}

// await waits for a channel while the backend is unlocked. The backend is locked
// before and after.
func (p *Provider) await(ctx context.Context, done <-chan struct{}) error {
	p.backend.mu.Unlock()
	defer p.backend.mu.Lock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-p.over:
		return errClosed
	}
}

// Info reads the instance.
func (h *handle) Info(ctx context.Context) (compute.Info, error) {
	var info compute.Info
	err := h.look(ctx, OpInfo, func(i *instance) error {
		info = i.info()
		return nil
	})
	return info, err
}

// Start begins a run, or resumes from a suspension.
func (h *handle) Start(ctx context.Context, opts compute.StartOptions) error {
	return h.change(ctx, OpStart, compute.OpStart, opts.IfRevision, func(i *instance, _ compute.Transition) error {
		if i.state == compute.Suspended {
			return h.p.wake(i)
		}
		i.rest()
		c, err := h.p.backend.commandOf(i.image, i.spec.Process, nil)
		if err != nil {
			return err
		}
		return h.p.begin(i, c)
	})
}

// Wait returns the exit of a run.
func (h *handle) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	var exit compute.Exit
	err := h.look(ctx, OpWait, func(i *instance) error {
		r := i.runOf(opts.Run)
		switch {
		case r == nil && opts.Run != "":
			exit = compute.Exit{Run: opts.Run}
			return nil
		case r == nil:
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance has never run")
		case !r.over:
			if err := h.p.await(ctx, r.ended()); err != nil {
				return err
			}
		}
		exit = r.exit
		return nil
	})
	return exit, err
}

// Delete removes the instance.
func (h *handle) Delete(ctx context.Context, opts compute.DeleteOptions) error {
	does := compute.OpDelete
	if opts.Force {
		does = compute.OpDeleteForce
		if h.p.open(ctx) == nil {
			defer h.hasten(compute.StopOptions{Force: true, IfRevision: opts.IfRevision})()
		}
	}
	return h.change(ctx, OpDelete, does, opts.IfRevision, func(i *instance, _ compute.Transition) error {
		before := i.state
		if err := h.p.endRun(ctx, i, compute.Deleting); err != nil {
			if i.state == compute.Deleting {
				i.state = before
			}
			return err
		}
		i.space.removeInstance(i)
		return nil
	})
}

// endRun ends the run under way by force, if there is one, showing the state
// given meanwhile. Whoever gives up waiting for it does not keep it from ending. The
// backend is locked before and after.
func (p *Provider) endRun(ctx context.Context, i *instance, meanwhile compute.State) error {
	r := i.run
	if r == nil || r.over {
		i.rest()
		return nil
	}
	r.stopped = true
	r.thaw(time.Now())
	if i.state != compute.Suspended {
		i.state = meanwhile
	}
	r.force("forced")
	if r.over {
		return nil
	}
	if err := p.await(ctx, r.ended()); err != nil {
		return &resource.Error{Kind: resource.KindOf(err), Err: err, Outcome: resource.OutcomeUnknown}
	}
	return nil
}
