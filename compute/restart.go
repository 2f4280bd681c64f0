package compute

import "context"

// Restarter is an instance whose provider restarts it in another way than by
// Stop and Start.
type Restarter interface {
	Instance
	// Restart ends the run under way as Stop does, and begins another. A stopped
	// instance is started.
	Restart(ctx context.Context, opts StopOptions) error
}

// Restart ends the run under way and begins another. It works with every
// instance: where the provider has no way of its own, by Stop and Start. A
// failed start leaves the instance Stopped.
func Restart(ctx context.Context, inst Instance, opts StopOptions) error {
	if r, err := extension[Restarter](inst, OpRestart); err == nil {
		return r.Restart(ctx, opts)
	}
	info, err := inst.Info(ctx)
	if err != nil {
		return err
	}
	// Stop could do more than the table allows here: throw the memory of a
	// suspended instance away, say. In a state that passes it queues.
	if info.State.Settled() || info.State == Unknown {
		if _, err := CheckTransition(info.State, OpRestart); err != nil {
			return fail(OpRestart, info.Ref, err)
		}
	}
	if err := inst.Stop(ctx, opts); err != nil {
		return err
	}
	return inst.Start(ctx, StartOptions{})
}

// Resetter is a virtual machine with a reset button.
type Resetter interface {
	Instance
	// Reset restarts the guest at once, without asking it. The run goes on.
	Reset(ctx context.Context) error
}

// Reset resets a virtual machine; errors.ErrUnsupported for what has no reset.
func Reset(ctx context.Context, inst Instance) error {
	r, err := extension[Resetter](inst, OpReset)
	if err != nil {
		return err
	}
	return r.Reset(ctx)
}
