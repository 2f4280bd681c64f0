package providertest

import (
	"context"
	"errors"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

// workshop is a namespace with an instance that runs, the worker. One case at a time has
// it, and leaves the worker to the next.
type workshop struct {
	s *suite
	// turn is full while a case has it.
	turn chan struct{}
	// lane is nil before the first case, and made anew after one that spoilt it.
	lane *lane
	// before is what the backend held of it when the case came.
	before []string
}

func newWorkshop(s *suite) *workshop { return &workshop{s: s, turn: make(chan struct{}, 1)} }

// enter waits for the case's turn, which leave ends, whatever enter returns.
func (w *workshop) enter() error {
	w.turn <- struct{}{}
	if w.lane == nil || w.lane.spoilt {
		l, ref, err := w.s.inhabited(traits{}, w.s.answers, "sleep", "1h")
		if err != nil {
			return err
		}
		w.lane, l.worker = l, ref.ID
	}
	var err error
	w.before, err = w.lane.inventory(context.Background())
	return err
}

// leave fails a case that left something behind, and lets the next one in.
func (w *workshop) leave(t T) {
	t.Helper()
	if w.lane != nil {
		w.lane.check(t, w.before)
		w.lane.spoilt = w.lane.spoilt || t.Failed()
	}
	<-w.turn
}

// tidy takes from a worker what a case gave it.
func (l *lane) tidy(ctx context.Context, info compute.Info) error {
	inst := l.janitor.Instances().Handle(info.Ref.ID)
	var errs []error
	for _, mount := range info.Spec.Mounts {
		errs = append(errs, compute.DetachVolume(ctx, inst, mount.Path))
	}
	for _, endpoint := range info.Endpoints {
		errs = append(errs, compute.DetachNetwork(ctx, inst, endpoint.Ref.ID))
	}
	if s, err := compute.Snapshots(inst); err == nil {
		errs = append(errs, sweepAll(ctx, "snapshot", s.Snapshots(ctx),
			func(i compute.SnapshotInfo) error { return s.DeleteSnapshot(ctx, i.Ref.Name) }))
	}
	return errors.Join(errs...)
}

// visit has the case work from now on in the namespace of a worker, where the harness
// says that cases have one after the other.
func (e *env) visit() {
	e.Helper()
	if !e.lent() || e.shop != nil {
		return
	}
	e.shop = e.s.workshop
	require.NoError(e, e.shop.enter(), "make the worker")
	// The case has waited for others.
	e.cancel()
	e.ctx, e.cancel = context.WithTimeout(context.Background(), 4*e.s.h.Patience)
	e.lane = e.shop.lane
	e.p = e.open(OpenOptions{})
}

// worker returns an instance with the image's disk that runs and answers: that which
// visit leads to, which is left running and of whose content nothing is known; or else
// one of a name.
func (e *env) worker(name string) compute.Instance {
	e.Helper()
	if !e.lent() {
		return e.running(name)
	}
	e.visit()
	return e.instances().Handle(e.lane.worker)
}

// lent reports whether the case's worker is one that others have too.
func (e *env) lent() bool {
	return e.s.h.Shared && e.offers(compute.FeatureExec, compute.FeatureAttachVolume)
}

// forgets has the kernel of a machine forget what its memory keeps of the disks, such
// that what is read next is what is on them.
func (e *env) forgets(inst compute.Instance) {
	e.Helper()
	const caches = "/proc/sys/vm/drop_caches"
	if e.s.kind() == compute.VM && e.exec(inst, "stat", caches).exit.Code == 0 {
		e.output(inst, "write", caches, "3")
	}
}

// holding returns an instance that runs and has a volume at a path: the worker, or one
// of a name.
func (e *env) holding(name, volume, path string, readOnly bool) compute.Instance {
	e.Helper()
	mount := compute.Mount{Type: compute.MountVolume, Source: volume, Path: path, ReadOnly: readOnly}
	if !e.lent() {
		inst := e.create(e.withMount(name, mount))
		e.start(inst)
		return inst
	}
	inst := e.worker(name)
	require.NoError(e, compute.AttachVolume(e.ctx, inst, mount))
	e.eventually("the volume is there", func() bool { return e.exec(inst, "ls", path).exit.Code == 0 })
	return inst
}

// letsGo has an instance that holding returned hold the volume no more.
func (e *env) letsGo(inst compute.Instance, path string) {
	e.Helper()
	if e.lent() {
		require.NoError(e, compute.DetachVolume(e.ctx, inst, path))
		return
	}
	e.delete(inst)
}
