//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

// pressAgain is how often the power button is pressed while a Stop waits: a guest
// that has not booted so far takes it for nothing.
const pressAgain = 2 * time.Second

// Stop implements compute.Instance. A virtual machine has a power button, and no
// signal is sent.
func (i *instance) Stop(ctx context.Context, opts compute.StopOptions) error {
	return i.change(ctx, "stop", func(ctx context.Context) error { return i.stop(ctx, opts) }, func(ctx context.Context) error {
		if err := opts.Validate().Err(); err != nil {
			return err
		}
		return i.hurry(ctx, opts)
	})
}

// hurry shortens the patience of a Stop that waits already.
func (i *instance) hurry(ctx context.Context, opts compute.StopOptions) error {
	if !i.p.turns.Waited(i.id) {
		return nil
	}
	d, err := i.load(ctx)
	if err != nil {
		return err
	}
	if d.facts.made() != nil || d.checkRevision(opts.IfRevision) != nil {
		return nil // it will be told when its turn has come
	}
	until := time.Now()
	if !opts.Force {
		until = until.Add(d.grace(opts))
	}
	i.p.turns.Hurry(i.id, until)
	return nil
}

func (i *instance) stop(ctx context.Context, opts compute.StopOptions) (err error) {
	d, err := i.load(ctx)
	if err == nil {
		err = d.facts.made()
	}
	if err == nil {
		err = d.checkRevision(opts.IfRevision)
	}
	if err != nil {
		return err
	}
	to, err := compute.CheckTransition(settled(d.state), compute.OpStop)
	if err == nil && d.policed() {
		if d, err = i.forgo(ctx, opts.IfRevision); err != nil {
			return err
		}
		// It may have begun a run that waited for one.
		to, err = compute.CheckTransition(settled(d.state), compute.OpStop)
	}
	if err != nil || to.NoOp {
		return err
	}
	defer func() {
		if err == nil {
			i.p.feed.settle(ctx, i.id, compute.Stopped)
		}
	}()
	run := d.lastRun()
	if d.state == compute.Suspended {
		if err := i.do(ctx, func(d *lv.Domain) error { return d.ManagedSaveRemove(0) }); err != nil {
			return err
		}
		return i.p.writeExit(ctx, i.id, exitRecord{Run: run, Known: true, Code: forcedCode, Reason: "forced", Started: d.facts.run.Started, Finished: time.Now().UTC()})
	}
	if !opts.Force {
		over, err := i.ask(ctx, d, opts)
		if over || err != nil {
			return err
		}
	}
	return i.destroy(ctx)
}

// settled is the state that decides what may be done in a passing one.
func settled(s compute.State) compute.State {
	switch s {
	case compute.Starting, compute.Stopping:
		return compute.Running
	}
	return s
}

// ask presses the power button until the run is over or the grace is. A guest that does
// not act upon it is asked by its agent too, if it has one.
func (i *instance) ask(ctx context.Context, d *domain, opts compute.StopOptions) (over bool, err error) {
	changed, stop := i.p.board.Await(watching.Key{Kind: resource.KindInstance, ID: i.id})
	defer stop()
	patience, done := i.p.turns.Wait(i.id, time.Now().Add(d.grace(opts)))
	defer done()
	if d.state == compute.Paused {
		// A guest that stands still could not act upon it.
		if err := i.do(ctx, (*lv.Domain).Resume); err != nil && !overtaken(err) {
			return false, err
		}
	}
	asking, given := context.WithCancel(ctx)
	defer given()
	for press, presses := true, 0; ; {
		if press {
			if over, err := i.press(ctx); over || err != nil {
				return over, err
			}
			if presses++; presses == 2 && d.agent {
				i.p.detached.Go(func() { i.askAgent(asking) })
			}
		}
		left := patience.Remaining()
		if left <= 0 {
			return false, nil
		}
		timer := time.NewTimer(min(left, pressAgain))
		press = false
		select {
		case <-changed:
			now, err := i.load(ctx)
			if err != nil {
				return false, err
			}
			over = !now.state.Active() || now.live != d.live
		case <-outlive.Asked(ctx).Done():
			err = givenUp(ctx)
		case <-patience.Shortened():
		case <-timer.C:
			press = true
		}
		timer.Stop()
		if over || err != nil {
			return over, err
		}
	}
}

// askAgent asks the guest's agent to switch off. Libvirt waits a minute for what comes of
// it, and longer than anybody else does here: the end of the run is told otherwise.
func (i *instance) askAgent(ctx context.Context) {
	_, _ = onDomain(ctx, i.p, i.id, func(d *lv.Domain) (struct{}, error) {
		return struct{}{}, d.ShutdownFlags(lv.DOMAIN_SHUTDOWN_GUEST_AGENT)
	})
}

// press presses the power button. That nothing runs any more is the end of it.
func (i *instance) press(ctx context.Context) (over bool, err error) {
	err = i.do(ctx, func(d *lv.Domain) error {
		flags := lv.DomainShutdownFlags(lv.DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
		if i.p.inProcess() {
			flags = lv.DOMAIN_SHUTDOWN_DEFAULT
		}
		return d.ShutdownFlags(flags)
	})
	if overtaken(err) {
		now, loadErr := i.load(ctx)
		if loadErr != nil {
			return false, err
		}
		return !now.state.Active(), nil
	}
	return false, err
}
