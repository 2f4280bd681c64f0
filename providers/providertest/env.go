package providertest

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/stretchr/testify/require"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// env is what a case works with: its test, its provider value and the words of
// the suite. Its own methods fail the case where what they need goes wrong.
type env struct {
	T
	s    *suite
	lane *lane
	// ctx ends when the case has taken far too long.
	ctx    context.Context
	cancel context.CancelFunc
	// p is a provider value of the case's own.
	p univirt.Provider
	// shop is where the case works by now, if it has a worker that others have too.
	shop *workshop
	// traits are the case's.
	traits
	// label marks the goroutines of the case.
	label string

	mu     sync.Mutex
	opened []univirt.Provider
	extra  []*lane
}

func newEnv(t T, s *suite, l *lane) *env {
	// A case consists of several waits, each of which may take the patience.
	ctx, cancel := context.WithTimeout(context.Background(), 4*s.h.Patience)
	return &env{T: t, s: s, lane: l, ctx: ctx, cancel: cancel, label: resource.NewID()}
}

// finish removes what is left of the case, closes what it opened, and fails it
// where a goroutine of it goes on.
func (e *env) finish() {
	e.Helper()
	e.cancel()
	if err := e.lane.clean(context.Background(), e.lane.images); err != nil {
		e.Errorf("clean up after the case: %v", err)
		e.lane.spoilt = true
	}
	for _, l := range e.extra {
		if err := l.clean(context.Background(), nil); err != nil {
			e.Errorf("clean up after the case: %v", err)
		}
	}
	for _, p := range e.opened {
		if err := p.Close(); err != nil {
			e.Errorf("close the provider after the case: %v", err)
		}
	}
	for _, l := range e.extra {
		if err := l.janitor.Close(); err != nil {
			e.Errorf("close the provider after the case: %v", err)
		}
	}
	e.checkGoroutines()
}

// open opens a further provider value on the namespace of the case, or on the
// one that the options name. It is closed at the end of the case.
func (e *env) open(opts OpenOptions) univirt.Provider {
	e.Helper()
	if opts.Namespace == "" {
		opts.Namespace = e.lane.namespace
	}
	if opts.Owner == "" {
		opts.Owner = owner
	}
	p, err := e.s.h.Open(e.ctx, opts)
	require.NoError(e, err, "open a provider value")
	e.mu.Lock()
	defer e.mu.Unlock()
	e.opened = append(e.opened, p)
	return p
}

// forget leaves a provider value alone at the end of the case.
func (e *env) forget(p univirt.Provider) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, o := range e.opened {
		if o == p {
			e.opened = append(e.opened[:i:i], e.opened[i+1:]...)
			return
		}
	}
}

// otherNamespace makes another namespace with the test image in it, and opens a
// provider value on it.
func (e *env) otherNamespace() univirt.Provider {
	e.Helper()
	l, err := e.s.newLane(e.ctx)
	require.NoError(e, err, "make another namespace")
	e.mu.Lock()
	e.extra = append(e.extra, l)
	e.mu.Unlock()
	return e.open(OpenOptions{Namespace: l.namespace})
}

// instances are those of the case's provider value.
func (e *env) instances() compute.Instances { return e.p.Instances() }

// missing says why something is not offered, or returns "".
func (e *env) missing(n need) string { return e.s.offer.missing(n) }

// offers reports whether the provider declares the features of instances.
func (e *env) offers(features ...resource.Feature) bool {
	for _, n := range has(features...) {
		if e.missing(n) != "" {
			return false
		}
	}
	return true
}

// spec returns a spec that runs a program of package guest.
func (e *env) spec(name string, program ...string) compute.Spec {
	spec := compute.Spec{
		Name:    name,
		Kind:    e.s.h.Kind,
		Image:   e.s.h.Image,
		Pull:    compute.PullNever,
		Process: compute.Process{Command: append([]string{GuestPath}, program...)},
	}
	if e.idle && e.s.h.AdaptIdle != nil {
		if idle, ok := e.s.h.AdaptIdle(spec); ok {
			return idle
		}
	}
	adapt := e.s.h.Adapt
	if e.fleeting && e.s.h.AdaptFleeting != nil {
		adapt = e.s.h.AdaptFleeting
	}
	if adapt == nil {
		return spec
	}
	spec, ok := adapt(spec)
	if !ok {
		panic(leftOut{"the harness's instances do not run " + strings.Join(program, " ")})
	}
	return spec
}

// inert is the program of an instance that does nothing.
var inert = []string{"sleep", "1h"}

// leftOut is what a case panics with that needs what the harness has not. A call
// on a goroutine of its own has it as its error, which goes on from where the
// goroutine is waited for.
type leftOut struct{ reason string }

func (l leftOut) Error() string { return l.reason }

// panicked is the error of a call that panicked.
type panicked struct {
	value any
	stack []byte
}

func (p panicked) Error() string {
	return fmt.Sprintf("panic: %v\n%s", p.value, p.stack)
}

// caught makes a call whose panic becomes its error: that with leftOut, and those of a
// wrong provider, which must not end the test of all others.
func caught(call func() error) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case leftOut:
			err = r
		default:
			err = panicked{r, debug.Stack()}
		}
	}()
	return call()
}

// unlessLeftOut runs a case, and says why it was left out.
func (e *env) unlessLeftOut(run func(*env)) (reason string) {
	switch err := caught(func() error { run(e); return nil }).(type) {
	case nil:
		return ""
	case leftOut:
		return err.reason
	default:
		e.Errorf("the case panicked, as where a call returns nil without an error: %v", err)
		e.FailNow()
		return ""
	}
}

// create makes an instance.
func (e *env) create(spec compute.Spec) compute.Instance {
	e.Helper()
	inst, err := e.instances().Create(e.ctx, spec)
	require.NoError(e, err, "create %s", spec.Name)
	require.NotNil(e, inst, "create %s", spec.Name)
	return inst
}

// stopped makes an instance that never ran.
func (e *env) stopped(name string, program ...string) compute.Instance {
	e.Helper()
	if len(program) == 0 {
		program = inert
	}
	return e.create(e.spec(name, program...))
}

// start begins a run.
func (e *env) start(inst compute.Instance) {
	e.Helper()
	require.NoError(e, inst.Start(e.ctx, compute.StartOptions{}), "start")
}

// running makes an instance that runs a program, by default one that sleeps.
func (e *env) running(name string, program ...string) compute.Instance {
	e.Helper()
	inst := e.stopped(name, program...)
	e.start(inst)
	return inst
}

// ready makes an instance that runs a program and has said that it is ready.
func (e *env) ready(name string, program ...string) compute.Instance {
	e.Helper()
	inst := e.running(name, program...)
	e.awaitLine(inst, "ready")
	return inst
}

// kill ends the run without asking.
func (e *env) kill(inst compute.Instance) {
	e.Helper()
	require.NoError(e, inst.Stop(e.ctx, compute.StopOptions{Force: true}), "stop by force")
}

// wait waits for the end of the run under way, or of the last.
func (e *env) wait(inst compute.Instance) compute.Exit {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	require.NoError(e, err, "wait")
	return exit
}

// ended makes an instance whose program has ended by itself.
func (e *env) ended(name string, program ...string) compute.Instance {
	e.Helper()
	inst := e.running(name, program...)
	e.wait(inst)
	e.awaitState(inst, compute.Stopped)
	return inst
}

// info reads an instance.
func (e *env) info(inst compute.Instance) compute.Info {
	e.Helper()
	info, err := inst.Info(e.ctx)
	require.NoError(e, err, "info")
	return info
}

// inState requires an instance to be in a state now.
func (e *env) inState(inst compute.Instance, state compute.State) {
	e.Helper()
	require.Equal(e, state, e.info(inst).State, "the instance's state")
}

// awaitState waits for a state to which nothing that the case waits for leads.
func (e *env) awaitState(inst compute.Instance, state compute.State) compute.Info {
	e.Helper()
	var info compute.Info
	e.eventually("the instance becomes "+string(state), func() bool {
		info = e.info(inst)
		return info.State == state
	})
	return info
}

// eventually requires the answer to become yes.
func (e *env) eventually(what string, ask func() bool) {
	e.Helper()
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	require.True(e, eventually(ctx, ask), "waited for long: %s", what)
}

// delete deletes an instance, running or not.
func (e *env) delete(inst compute.Instance) {
	e.Helper()
	require.NoError(e, inst.Delete(e.ctx, compute.DeleteOptions{Force: true}), "delete by force")
}

// names lists the instances that a filter lets through, by name.
func (e *env) names(instances compute.Instances, filter compute.Filter) []string {
	e.Helper()
	infos, err := resource.Collect(instances.List(e.ctx, filter))
	require.NoError(e, err, "list")
	names := []string{}
	for _, info := range infos {
		names = append(names, info.Ref.Name)
	}
	return names
}

// returns requires a call to return within the suite's patience, and returns
// its error. It is for calls that a wrong provider would hang in.
func (e *env) returns(what string, call func() error) error {
	e.Helper()
	done := make(chan error, 1)
	go func() { done <- caught(call) }()
	ctx, cancel := context.WithTimeout(e.ctx, e.s.h.Patience)
	defer cancel()
	select {
	case err := <-done:
		if left, ok := err.(leftOut); ok {
			panic(left)
		}
		return err
	case <-ctx.Done():
		require.Fail(e, fmt.Sprintf("%s does not return", what))
		return nil
	}
}

// together makes calls at the same time and returns their errors.
func (e *env) together(n int, call func(i int) error) []error {
	e.Helper()
	errs := make([]error, n)
	start := make(chan struct{})
	var calls sync.WaitGroup
	for i := range n {
		calls.Go(func() {
			<-start
			errs[i] = caught(func() error { return call(i) })
		})
	}
	close(start)
	err := e.returns("calls at the same time", func() error { calls.Wait(); return nil })
	require.NoError(e, err)
	for _, err := range errs {
		if left, ok := err.(leftOut); ok {
			panic(left)
		}
	}
	return errs
}

// contextError reports whether the error is that of a context.
func contextError(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}
