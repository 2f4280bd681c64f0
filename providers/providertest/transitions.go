package providertest

import (
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
)

// transitionCases makes a case of every pair of a state and an operation, from
// the one table. States to which no operation leads need the harness' help.
func transitionCases() []testCase {
	var cases []testCase
	for _, state := range compute.States() {
		into, ok := waysInto[state]
		if !ok {
			continue
		}
		for _, op := range compute.Operations() {
			o := findOperation(op)
			c := testCase{needs: all(into.needs, o.needs)}
			if t, allowed := compute.Next(state, op); allowed {
				c.name = fmt.Sprintf("%s of a %s instance leaves it %s", op, state, t.To)
				if t.NoOp {
					c.name = fmt.Sprintf("%s of a %s instance is nil and changes nothing", op, state)
				}
				c.run = func(e *env) { e.allowed(into.make(e), o, t) }
			} else {
				c.name = fmt.Sprintf("%s of a %s instance is FailedPrecondition and changes nothing", op, state)
				c.run = func(e *env) { e.forbidden(into.make(e), o, state) }
			}
			cases = append(cases, c)
			if o.needs != nil {
				cases = append(cases, testCase{
					name:  fmt.Sprintf("%s of a %s instance is Unsupported where it is not declared", op, state),
					needs: into.needs,
					run:   func(e *env) { e.undeclared(into.make, o, state) },
				})
			}
		}
	}
	return cases
}

// way says how an instance comes into a state.
type way struct {
	needs []need
	make  func(e *env) compute.Instance
}

var waysInto = map[compute.State]way{
	compute.Stopped: {nil, func(e *env) compute.Instance { return e.stopped("web") }},
	compute.Running: {nil, func(e *env) compute.Instance { return e.running("web") }},
	compute.Paused: {has(compute.FeaturePause), func(e *env) compute.Instance {
		inst := e.running("web")
		require.NoError(e, compute.Pause(e.ctx, inst))
		return inst
	}},
	compute.Suspended: {has(compute.FeatureSuspend), func(e *env) compute.Instance {
		inst := e.running("web")
		require.NoError(e, compute.Suspend(e.ctx, inst, compute.SuspendOptions{}))
		return inst
	}},
	compute.Failed:  {hook("Force"), func(e *env) compute.Instance { return e.forcedInto(compute.Failed) }},
	compute.Unknown: {hook("Force"), func(e *env) compute.Instance { return e.forcedInto(compute.Unknown) }},
}

// forcedInto makes an instance whose state the harness brings about. Where it
// cannot, the instance is nil.
func (e *env) forcedInto(state compute.State) compute.Instance {
	e.Helper()
	inst := e.running("web")
	err := e.s.h.Force(e.ctx, e.p, inst.ID(), state)
	if isUnsupported(err) {
		return nil
	}
	require.NoError(e, err, "bring the instance into the state %s", state)
	return inst
}

// allowed does an operation that the table allows.
func (e *env) allowed(inst compute.Instance, o operation, t compute.Transition) {
	e.Helper()
	if inst == nil {
		return
	}
	before := e.info(inst)
	require.Equal(e, t.From, before.State)
	err := e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
	if t.Op == compute.OpDial && errdefs.IsUnavailable(err) {
		// Nothing listens, which is no matter of the state.
		err = nil
	}
	require.NoError(e, err)
	if t.To == compute.Gone {
		e.gone(inst, "web")
		return
	}
	after := e.info(inst)
	require.Equal(e, t.To, after.State)
	if t.NoOp {
		require.Equal(e, before.Run, after.Run)
		require.Equal(e, before.Exit, after.Exit)
		require.Equal(e, before.Revision, after.Revision)
	}
}

// forbidden does an operation that the table does not have.
func (e *env) forbidden(inst compute.Instance, o operation, state compute.State) {
	e.Helper()
	if inst == nil {
		return
	}
	before := e.info(inst)
	require.Equal(e, state, before.State)
	err := e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
	re := e.fails(err, errdefs.ErrFailedPrecondition)
	if o.word != "" {
		require.Equal(e, o.word, re.Op)
	}
	require.Equal(e, inst.ID(), re.Ref.ID)
	require.Contains(e, re.Error(), string(state), "the message says the state")
	after := e.info(inst)
	require.Equal(e, before.State, after.State)
	require.Equal(e, before.Run, after.Run)
	require.Equal(e, before.Labels, after.Labels)
	require.Equal(e, before.Revision, after.Revision)
}

// undeclared does an operation that the provider does not declare: it never
// does it, whatever the state.
func (e *env) undeclared(make func(*env) compute.Instance, o operation, state compute.State) {
	e.Helper()
	for _, n := range o.needs {
		if e.missing(n) == "" {
			return
		}
	}
	inst := make(e)
	if inst == nil {
		return
	}
	e.fails(o.do(e.ctx, e, inst), errors.ErrUnsupported)
	e.inState(inst, state)
}
