package containerd

import (
	"context"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// effects says whether an operation has asked the daemon to change something. Of
// one that lost its daemon afterwards nobody knows what became of it.
type effects struct{ asked atomic.Bool }

type effectsKey struct{}

// withEffects returns a context whose calls are noted.
func withEffects(ctx context.Context) context.Context {
	return context.WithValue(ctx, effectsKey{}, new(effects))
}

func effectsOf(ctx context.Context) *effects {
	e, _ := ctx.Value(effectsKey{}).(*effects)
	return e
}

// changing are the calls that change what users see.
var changing = map[string]bool{
	"/containerd.services.tasks.v1.Tasks/Create":           true,
	"/containerd.services.tasks.v1.Tasks/Start":            true,
	"/containerd.services.tasks.v1.Tasks/Kill":             true,
	"/containerd.services.tasks.v1.Tasks/Pause":            true,
	"/containerd.services.tasks.v1.Tasks/Resume":           true,
	"/containerd.services.tasks.v1.Tasks/Update":           true,
	"/containerd.services.tasks.v1.Tasks/Exec":             true,
	"/containerd.services.tasks.v1.Tasks/Delete":           true,
	"/containerd.services.tasks.v1.Tasks/DeleteProcess":    true,
	"/containerd.services.containers.v1.Containers/Create": true,
	"/containerd.services.containers.v1.Containers/Update": true,
	"/containerd.services.containers.v1.Containers/Delete": true,
	"/containerd.services.images.v1.Images/Create":         true,
	"/containerd.services.images.v1.Images/Update":         true,
	"/containerd.services.images.v1.Images/Delete":         true,
}

// note takes a call down.
func (e *effects) note(method string) {
	if e != nil && changing[method] {
		e.asked.Store(true)
	}
}

// undone says that everything is as it was before.
func (e *effects) undone() {
	if e != nil {
		e.asked.Store(false)
	}
}

// sure completes the error of an operation that lost its daemon: where it had
// asked for a change, the outcome is not known.
func (e *effects) sure(err error) error {
	if e == nil || !e.asked.Load() || !errdefs.IsUnavailable(err) {
		return err
	}
	out := resource.Error{Kind: errdefs.ErrUnavailable, Err: err}
	if own, ok := err.(*resource.Error); ok {
		if own.Outcome != resource.NotDone {
			return err
		}
		out = *own
	}
	out.Outcome = resource.OutcomeUnknown
	return &out
}
