package fake

import (
	"context"
	"fmt"
	"iter"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// collection is what volumes and networks have in common: the records of one kind
// in a value's namespace.
type collection[R interface {
	comparable
	stored
}] struct {
	p     *Provider
	kind  resource.Kind
	table *table[R]
	// name is that of the one resource which a handle is about, where it is known.
	name string
}

// fail completes an error. It names the resource also where only its ID is given, as
// long as it is there. The backend is not locked.
func (c collection[R]) fail(op Op, ref resource.Ref, err error) error {
	if err != nil && ref.Name == "" && ref.ID != "" {
		c.p.backend.mu.Lock()
		if r, ok := c.table.byID[ref.ID]; ok {
			ref = r.meta().ref()
		}
		c.p.backend.mu.Unlock()
	}
	return resource.Fail(op.verb(), ref, err)
}

// refOf is what a handle knows of its resource without a call.
func (c collection[R]) refOf(id string) resource.Ref { return c.p.ref(c.kind, c.name, id) }

func (c collection[R]) missing() error {
	return resource.Errorf(errdefs.ErrNotFound, "there is no such %s", c.kind)
}

// create makes a record for a spec that has been checked: begin makes it with the
// backend locked, and finish does what may take time or fail. Where that fails
// begin's effect is undone by undo, unless the value has crashed.
func (c collection[R]) create(ctx context.Context, op Op, name string, begin func() (R, error), finish func(r R) error, undo func(r R)) (R, error) {
	var none R
	p, b := c.p, c.p.backend
	ref := p.ref(c.kind, name, "")
	b.mu.Lock()
	if other, taken := c.table.byName[name]; taken {
		b.mu.Unlock()
		return none, c.fail(op, ref, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name",
			Err: fmt.Errorf("a %s of this name exists, with the ID %s", c.kind, other.meta().id)})
	}
	r, err := begin()
	if err != nil {
		b.mu.Unlock()
		return none, c.fail(op, ref, err)
	}
	o := r.meta()
	o.making = true
	c.table.insert(r)
	b.mu.Unlock()
	ref = o.ref()
	late, err := p.reach(ctx, op, target{ref: ref, labels: o.labels})
	b.mu.Lock()
	if err == nil {
		// A value that is closed from here on finds the record among its own.
		err = p.open(ctx)
	}
	if err == nil {
		err = finish(r)
	}
	switch {
	case err == nil:
		o.making = false
		p.space.emit(r, resource.EventAdded, resource.ReasonCreate)
	case !p.crashed.Load():
		c.table.remove(r)
		undo(r)
	}
	b.mu.Unlock()
	return r, c.fail(op, ref, late.done(err))
}

// get finds a record by its ID or name.
func (c collection[R]) get(ctx context.Context, op Op, idOrName string) (R, error) {
	var r R
	at := target{ref: c.p.asked(c.kind, idOrName)}
	err := c.p.open(ctx)
	if err == nil {
		err = checkIDOrName(idOrName)
	}
	var ok bool
	if err == nil {
		c.p.backend.mu.Lock()
		if r, ok = c.table.find(idOrName); ok {
			at = target{ref: r.meta().ref(), labels: r.meta().labels}
		}
		c.p.backend.mu.Unlock()
		var late call
		if late, err = c.p.reach(ctx, op, at); err == nil && !ok {
			err = c.missing()
		}
		err = late.done(err)
	}
	return r, c.fail(op, at.ref, err)
}

// list yields the records that a selection lets through, as tell has them.
func list[R interface {
	comparable
	stored
}, T any](ctx context.Context, c collection[R], op Op, faults resource.Faults, s selection, tell func(r R) (T, bool)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		p := c.p
		err := p.open(ctx)
		if err == nil {
			err = faults.Err()
		}
		var late call
		if err == nil {
			late, err = p.reach(ctx, op, target{ref: p.ref(c.kind, "", "")})
		}
		if err == nil {
			p.backend.mu.Lock()
			records := c.table.selects(s)
			p.backend.mu.Unlock()
			for _, r := range records {
				if err = p.open(ctx); err != nil {
					break
				}
				p.backend.mu.Lock()
				item, ok := none, false
				if !r.meta().gone {
					item, ok = tell(r)
				}
				p.backend.mu.Unlock()
				if ok && !yield(item, nil) {
					return
				}
			}
		}
		if err = late.done(err); err != nil {
			yield(none, c.fail(op, p.ref(c.kind, "", ""), err))
		}
	}
}

// with calls act with the record of an ID and the backend locked.
func (c collection[R]) with(ctx context.Context, op Op, id, revision string, check func() error, act func(r R) error) error {
	p, b := c.p, c.p.backend
	ref := c.refOf(id)
	if err := p.offered(ctx, op); err != nil {
		return c.fail(op, ref, err)
	}
	if check != nil {
		if err := check(); err != nil {
			return c.fail(op, ref, err)
		}
	}
	b.mu.Lock()
	r, ok := c.table.byID[id]
	if !ok {
		b.mu.Unlock()
		return c.fail(op, ref, c.missing())
	}
	o := r.meta()
	ref = o.ref()
	at := target{ref: ref, labels: o.labels}
	b.mu.Unlock()
	late, err := p.reach(ctx, op, at)
	if err == nil {
		b.mu.Lock()
		switch {
		case o.gone:
			err = c.missing()
		case revision != "" && revision != o.revisionText():
			err = &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision",
				Err: fmt.Errorf("the %s has changed: its revision is %s", c.kind, o.revisionText())}
		default:
			err = act(r)
		}
		b.mu.Unlock()
	}
	return c.fail(op, ref, late.done(err))
}

// changed counts a change of a record and tells of it. The backend is locked.
func (c collection[R]) changed(r R, labels resource.Labels, annotations resource.Annotations) {
	o := r.meta()
	was := o.labels
	c.table.relabel(r, labels)
	o.annotations = annotations
	o.revision++
	c.p.space.emitRelabeled(r, resource.EventChanged, resource.ReasonUpdate, was, true)
}
