package fake

import (
	"context"
	"fmt"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// instance is the record of an instance. The backend's lock guards it.
type instance struct {
	object
	space *space
	kind  compute.Kind
	state compute.State
	// spec is never changed in place: infos that were given out share it.
	spec  *compute.Spec
	image *image
	// imageName is the name that the image was asked for by, in full.
	imageName string
	turn      turn
	// stopping are the Stops that wait, or nil.
	stopping *stopping
	// run is the run under way, or the last one; nil where there was none.
	run  *run
	runs int
	// journal is the kept output; nil where there was none.
	journal *journal
	// pending are the paths of changes that wait for the next start.
	pending []string
	// parts is what most instances have not got.
	parts *parts
}

// parts are what only some instances have. An idle instance without them stays
// small.
type parts struct {
	// reason says more where the state is Failed or Unknown.
	reason string
	// past are the runs before the last one, the oldest first.
	past []*run
	// The fields below belong to the files named after them.
}

// keptRuns is how many earlier runs an instance remembers the ends of.
const keptRuns = 16

var _ stored = (*instance)(nil)

func (i *instance) stateText() string { return string(i.state) }

func (i *instance) target() target {
	return target{ref: i.ref, labels: i.labels, kind: i.kind}
}

// more returns the instance's parts, made on first use. The backend is locked.
func (i *instance) more() *parts {
	if i.parts == nil {
		i.parts = &parts{}
	}
	return i.parts
}

// remember keeps a run that another follows.
func (i *instance) remember(r *run) {
	past := i.more().past
	if len(past) == keptRuns {
		past = past[1:]
	}
	i.parts.past = append(past[:len(past):len(past)], r)
}

// runOf finds a run by its token: the last one where that is empty, or nil.
func (i *instance) runOf(token string) *run {
	if token == "" || i.run != nil && i.run.token == token {
		return i.run
	}
	if i.parts != nil {
		for _, r := range i.parts.past {
			if r.token == token {
				return r
			}
		}
	}
	return nil
}

// alive returns the run under way where a process can be started in it. The
// backend is locked.
func (i *instance) alive() (*run, error) {
	r := i.run
	switch {
	case r == nil || r.exit != nil || r.ending != nil:
		return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", compute.Stopped)
	case !r.ready || r.restart != nil:
		return nil, resource.Errorf(errdefs.ErrUnavailable, "the guest does not answer yet")
	}
	return r, nil
}

// info tells what is known. The backend is locked.
func (i *instance) info() compute.Info {
	info := compute.Info{
		Ref:         i.ref,
		Kind:        i.kind,
		Managed:     i.managed,
		Owner:       i.owner,
		State:       i.state,
		Run:         "",
		Runs:        i.runs,
		Created:     i.created,
		Level:       i.level(),
		Labels:      i.labels,
		Annotations: i.annotations,
		Revision:    i.revisionText(),
		Pending:     i.pending,
		Endpoints:   i.endpointInfos(),
		Ports:       i.portInfos(),
	}
	if i.managed {
		info.Spec = i.spec
	}
	if i.image != nil {
		info.Image = resource.Ref{
			Provider: Scheme, Kind: resource.KindImage, Namespace: i.ref.Namespace,
			Name: i.imageName, ID: i.image.digest,
		}
	}
	if r := i.run; r != nil {
		info.Run, info.Started, info.Exit = r.token, r.started, r.exit
		if r.exit != nil {
			info.Finished = r.exit.Finished
		} else if i.parts != nil && len(i.parts.past) > 0 {
			info.Exit = i.parts.past[len(i.parts.past)-1].exit
			info.Finished = info.Exit.Finished
		}
	}
	if i.parts != nil {
		info.Reason = i.parts.reason
	}
	return info
}

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
			ref.Name = i.ref.Name
		}
		h.p.backend.mu.Unlock()
	}
	return resource.Fail(op.verb(), ref, err)
}

// find returns the record. The backend is locked.
func (h *handle) find() (*instance, error) {
	if i, ok := h.p.space.instances.byID[h.id]; ok {
		return i, nil
	}
	return nil, errNoInstance
}

var errNoInstance = resource.Errorf(errdefs.ErrNotFound, "there is no such instance")

// onlyVM refuses what a container never does, whatever its state.
func (h *handle) onlyVM(ctx context.Context, op Op) error {
	err := h.p.open(ctx)
	if err == nil {
		h.p.backend.mu.Lock()
		var i *instance
		if i, err = h.find(); err == nil && i.kind != compute.VM {
			err = resource.Unsupported(op.verb(), "only a virtual machine has it")
		}
		h.p.backend.mu.Unlock()
	}
	return h.fail(op, err)
}

// look is the frame of what reads an instance: it passes on to the backend and
// calls read with the backend locked.
func (h *handle) look(ctx context.Context, op Op, read func(i *instance) error) error {
	p := h.p
	if err := p.open(ctx); err != nil {
		return h.fail(op, err)
	}
	p.backend.mu.Lock()
	i, err := h.find()
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
	i, err := h.find()
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
	i, err := h.find()
	p.backend.mu.Unlock()
	if err != nil {
		return h.fail(op, err)
	}
	if err := p.take(ctx, &i.turn); err != nil {
		return h.fail(op, err)
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
	if err == nil && !t.NoOp {
		err = effect(i, t)
	}
	i.turn.pass()
	p.backend.mu.Unlock()
	return h.fail(op, c.done(err))
}

// alter is change for what is not in the transition table: effect checks the
// state itself.
func (h *handle) alter(ctx context.Context, op Op, effect func(i *instance) error) error {
	return h.change(ctx, op, "", "", func(i *instance, _ compute.Transition) error { return effect(i) })
}

// check says whether an operation is allowed now. The backend is locked.
func (i *instance) check(op compute.Operation, revision string) (compute.Transition, error) {
	if i.gone {
		return compute.Transition{}, errNoInstance
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
		case r.exit == nil:
			if err := h.p.await(ctx, r.ended()); err != nil {
				return err
			}
		}
		exit = *r.exit
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
			defer h.hasten(compute.StopOptions{Force: true})()
		}
	}
	return h.change(ctx, OpDelete, does, opts.IfRevision, func(i *instance, _ compute.Transition) error {
		if !i.managed && !opts.Force {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was not made by this library")
		}
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
// given meanwhile. The backend is locked before and after.
func (p *Provider) endRun(ctx context.Context, i *instance, meanwhile compute.State) error {
	r := i.run
	if r == nil || r.exit != nil {
		return nil
	}
	r.thaw(time.Now())
	if i.state != compute.Suspended {
		i.state = meanwhile
	}
	r.force("forced")
	if r.exit != nil {
		return nil
	}
	return p.await(ctx, r.ended())
}

// removeInstance takes an instance that does not run out of the store, with what
// belongs to it alone. The backend is locked.
func (s *space) removeInstance(i *instance) {
	s.forgetInstance(i)
	s.emit(i, resource.EventDeleted, "")
}

// forgetInstance is removeInstance without a word.
func (s *space) forgetInstance(i *instance) {
	i.detachEndpoints()
	i.detachVolumes()
	if i.image != nil {
		i.image.used--
	}
	s.backend.used.instances--
	s.backend.unstore(i.spec.RootDisk)
	s.instances.remove(i)
}
