package providertest

import (
	"errors"
	"fmt"
	"slices"

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
			c := testCase{needs: into.needs}
			t, allowed := compute.Next(state, op)
			switch {
			case !allowed:
				c.name = fmt.Sprintf("%s in the state %s is FailedPrecondition and changes nothing", op, state)
			case t.NoOp:
				c.name = fmt.Sprintf("%s in the state %s is nil and changes nothing", op, state)
			default:
				c.name = fmt.Sprintf("%s in the state %s leads to %s", op, state, t.To)
			}
			c.run = func(e *env) {
				if allowed && o.answered() {
					e.idle = false
				}
				inst := into.make(e)
				switch {
				case inst == nil:
				case e.lacks(o.needs):
					e.undeclared(inst, o, state)
				case allowed:
					e.allowed(inst, o, t)
				default:
					e.forbidden(inst, o, state)
				}
			}
			cases = append(cases, c)
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

// lacks reports whether one of the needs is not met.
func (e *env) lacks(needs []need) bool {
	return slices.ContainsFunc(needs, func(n need) bool { return e.missing(n) != "" })
}

// undeclared does an operation that the provider does not declare: it never
// does it, whatever the state.
func (e *env) undeclared(inst compute.Instance, o operation, state compute.State) {
	e.Helper()
	e.fails(o.do(e.ctx, e, inst), errors.ErrUnsupported)
	e.inState(inst, state)
}
