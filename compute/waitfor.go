package compute

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// WaitFor waits until the instance has reached the level, and returns what is
// known of it then. It ends as soon as the outcome is decided: where the run
// ends first, the error is FailedPrecondition and has the exit, as *EndedError,
// and the last lines of output; an instance that does not run, or a level that
// this instance can never reach, is FailedPrecondition at once.
//
// It is driven by events where the provider has them. The readiness probe of
// LevelHealthy is carried out by the caller's process, unless a supervisor
// already does.
func WaitFor(ctx context.Context, inst Instance, level Level) (Info, error) {
	ctx, cancel := context.WithCancel(ctx)
	w := waiter{inst: inst, level: level, failed: make(chan error, 1)}
	var changed <-chan struct{}
	stop := func() {}
	defer func() {
		cancel()
		w.helpers.Wait()
		stop()
	}()
	for {
		info, err := inst.Info(ctx)
		if err != nil {
			return Info{}, err
		}
		if done, err := w.decide(ctx, info); done || err != nil {
			return info, err
		}
		if changed == nil {
			// A watch begins with what is there, so that nothing is missed.
			changed, stop = changes(ctx, inst)
		}
		select {
		case <-ctx.Done():
			return info, fail("wait for", info.Ref, ctx.Err())
		case err := <-w.failed:
			if err != nil {
				return info, err
			}
		case <-changed:
		}
	}
}

// EndedError says that a run ended while something else was waited for.
type EndedError struct {
	// Exit says how it ended.
	Exit Exit
}

// Error says how the run ended.
func (e *EndedError) Error() string {
	switch {
	case !e.Exit.Known:
		return "the run ended, how is not known"
	case e.Exit.OOM:
		return "the run ended for want of memory"
	case e.Exit.Signal != "":
		return "the run ended by " + e.Exit.Signal
	}
	return fmt.Sprintf("the run ended with exit code %d", e.Exit.Code)
}

type waiter struct {
	inst  Instance
	level Level
	// run is the run whose end decides the wait.
	run    string
	failed chan error
	prober *prober
	// helpers are the goroutines of this wait.
	helpers sync.WaitGroup
}

// decide says whether the wait is over.
func (w *waiter) decide(ctx context.Context, info Info) (bool, error) {
	if w.level <= LevelCreated {
		return info.State != Creating, nil
	}
	if w.run != "" && info.Run != w.run {
		exit := Exit{Run: w.run}
		if info.Exit != nil && info.Exit.Run == w.run {
			exit = *info.Exit
		}
		return false, w.ended(ctx, info, exit)
	}
	switch info.State {
	case Running:
	case Creating, Starting, Unknown:
		return false, nil
	case Stopping:
		// The end of the run follows, and watchRun tells how it was.
		if w.run != "" {
			return false, nil
		}
		fallthrough
	default:
		if w.run != "" && info.Exit != nil && info.Exit.Run == w.run {
			return false, w.ended(ctx, info, *info.Exit)
		}
		_, err := CheckTransition(info.State, OpExec)
		return false, fail("wait for", info.Ref, err)
	}
	if w.run == "" {
		w.run = info.Run
		w.helpers.Go(func() { w.watchRun(ctx, info) })
	}
	if w.level >= LevelAddress && len(info.Endpoints) == 0 && w.level != LevelHealthy {
		return false, &resource.Error{Op: "wait for", Ref: info.Ref, Kind: errdefs.ErrFailedPrecondition,
			Err: errors.New("the instance has no network to have an address on")}
	}
	if w.level < LevelHealthy {
		return info.Level >= w.level || w.level == LevelAddress && addressed(info.Endpoints), nil
	}
	return w.healthy(ctx, info)
}

// addressed reports whether a guest shows that it has its addresses, also one that has
// no agent, by which it would reach the level: what was only assigned shows nothing.
func addressed(endpoints []network.EndpointInfo) bool {
	return !slices.ContainsFunc(endpoints, func(e network.EndpointInfo) bool {
		return len(e.Addresses) == 0 || e.Source == "" || e.Source == "assigned"
	})
}

func (w *waiter) healthy(ctx context.Context, info Info) (bool, error) {
	var readiness, probe *Probe
	if info.Spec != nil {
		readiness = info.Spec.Readiness
		probe = cmp.Or(readiness, info.Spec.Health)
	}
	switch {
	case info.Level >= LevelHealthy || readiness == nil && info.Health == HealthHealthy:
		return true, nil
	case probe == nil && info.Kind == VM:
		return info.Level >= LevelBooted, nil
	case probe == nil:
		return info.Level >= LevelRunning, nil
	case info.Supervised:
		return false, nil
	}
	if w.prober == nil {
		w.prober = &prober{inst: w.inst, probe: *probe, ports: info.Spec.Ports}
		w.helpers.Go(func() { w.probeUntilReady(ctx) })
	}
	return w.prober.passed.Load(), nil
}

// watchRun turns the end of the run into the end of the wait.
func (w *waiter) watchRun(ctx context.Context, info Info) {
	exit, err := w.inst.Wait(ctx, WaitOptions{Run: info.Run})
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		err = w.ended(ctx, info, exit)
	}
	w.tell(err)
}

func (w *waiter) probeUntilReady(ctx context.Context) {
	for {
		if err := w.prober.once(ctx); err == nil {
			w.prober.passed.Store(true)
			w.tell(nil)
			return
		} else if errors.Is(err, errors.ErrUnsupported) {
			w.tell(err)
			return
		}
		if !sleep(ctx, w.prober.interval()) {
			return
		}
	}
}

func (w *waiter) tell(err error) {
	select {
	case w.failed <- err:
	default:
	}
}

// ended makes the error of a run that ended, with its last output.
func (w *waiter) ended(ctx context.Context, info Info, exit Exit) error {
	return &resource.Error{
		Op: "wait for", Ref: info.Ref, Kind: errdefs.ErrFailedPrecondition,
		Err:  &EndedError{exit},
		Logs: LastLines(ctx, w.inst, exit.Run, 10),
	}
}

// LastLines returns the last lines of a run's output, for an error's message;
// none where they cannot be had within a second.
func LastLines(ctx context.Context, inst Instance, run string, most int) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	var lines []string
	for line, err := range Logs(ctx, inst, LogOptions{Run: run, Tail: most}) {
		if err != nil {
			break
		}
		lines = append(lines, string(line.Text))
	}
	return lines
}

// changes returns a channel that is sent to when the instance may have changed.
func changes(ctx context.Context, inst Instance) (<-chan struct{}, func()) {
	ctx, cancel := context.WithCancel(ctx)
	changed := make(chan struct{}, 1)
	note := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if watcher, ok := resource.As[Watcher](inst); ok {
			for _, err := range watcher.Watch(ctx) {
				if err != nil {
					break
				}
				note()
			}
		}
		// Without events, or after the end of them, ask: often at first, then
		// seldom.
		for pause := 10 * time.Millisecond; sleep(ctx, pause); pause = min(2*pause, time.Second) {
			note()
		}
	}()
	return changed, func() { cancel(); <-done }
}

// sleep waits, and reports whether the context is still open.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
