package providertest

import (
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// action is one thing that a step may do.
type action struct {
	name string
	// op is the operation of the table of transitions, empty where it is none.
	op compute.Operation
	// weight is how often the action is drawn, among those of all actions.
	weight   int
	variants []string
	// revised actions have an option IfRevision.
	revised bool
	needs   []need
	do      func(a *actor, t target, s step) outcome
}

// target is what a step acts on: an instance, or none of the name.
type target struct {
	*incarnation
	// revision is what IfRevision shall say.
	revision string
}

// outcome is what came of an action.
type outcome struct {
	err error
	// skipped actions had no sense, and did nothing.
	skipped bool
	// made is the instance that was created.
	made compute.Instance
	info *compute.Info
	exit *compute.Exit
	// run is the token that Wait was given.
	run string
	// later says that the exit is waited for in the background.
	later bool
	exec  *execResult
	lines []compute.LogLine
	// infos are what was listed, by filter.
	infos  []compute.Info
	filter compute.Filter
}

// modelActions are what steps may do, the simplest first.
var modelActions = slices.Concat(lifeActions(), changeActions(), readActions())

var (
	createAction = findAction("create")
	startAction  = findAction("start")
	deleteAction = findAction("delete by force")
	resizeAction = findAction("update the memory,")
	logsAction   = findAction("logs")
)

func findAction(name string) *action {
	for _, a := range modelActions {
		if a.name == name {
			return a
		}
	}
	panic("providertest: no action " + name)
}

// lifeActions are those that lead from state to state.
func lifeActions() []*action {
	return []*action{
		{name: "create", weight: 6, variants: programNames(), do: (*actor).create},
		{name: "start", op: compute.OpStart, weight: 9, revised: true, do: func(a *actor, t target, _ step) outcome {
			err := t.inst.Start(a.ctx, compute.StartOptions{IfRevision: t.revision})
			if err == nil && t.seen.State == compute.Stopped {
				t.resets = 0
			}
			return a.begin(t, err)
		}},
		{name: "stop", op: compute.OpStop, weight: 2, revised: true, do: func(a *actor, t target, _ step) outcome {
			return outcome{err: t.inst.Stop(a.ctx, compute.StopOptions{Grace: a.grace(t), IfRevision: t.revision})}
		}},
		{name: "stop by force", op: compute.OpStop, weight: 2, revised: true, do: func(a *actor, t target, _ step) outcome {
			return outcome{err: t.inst.Stop(a.ctx, compute.StopOptions{Force: true, IfRevision: t.revision})}
		}},
		{name: "pause", op: compute.OpPause, weight: 5, needs: has(compute.FeaturePause), do: func(a *actor, t target, _ step) outcome {
			return outcome{err: compute.Pause(a.ctx, t.inst)}
		}},
		{name: "resume", op: compute.OpResume, weight: 2, needs: has(compute.FeaturePause), do: func(a *actor, t target, _ step) outcome {
			return a.begin(t, compute.Resume(a.ctx, t.inst))
		}},
		{name: "suspend", op: compute.OpSuspend, weight: 5, needs: has(compute.FeatureSuspend), do: func(a *actor, t target, _ step) outcome {
			return outcome{err: compute.Suspend(a.ctx, t.inst, compute.SuspendOptions{})}
		}},
		{name: "restart", op: compute.OpRestart, weight: 2, do: func(a *actor, t target, _ step) outcome {
			err := compute.Restart(a.ctx, t.inst, compute.StopOptions{Grace: a.grace(t)})
			if err == nil {
				t.resets = 0
			}
			return a.begin(t, err)
		}},
		{name: "reset", op: compute.OpReset, weight: 2, needs: has(compute.FeatureReset), do: func(a *actor, t target, _ step) outcome {
			err := compute.Reset(a.ctx, t.inst)
			if err == nil {
				t.resets++
			}
			return a.begin(t, err)
		}},
		{name: "delete", op: compute.OpDelete, weight: 2, revised: true, do: func(a *actor, t target, _ step) outcome {
			return outcome{err: t.inst.Delete(a.ctx, compute.DeleteOptions{IfRevision: t.revision})}
		}},
		{name: "delete by force", op: compute.OpDeleteForce, weight: 2, revised: true, do: func(a *actor, t target, _ step) outcome {
			return outcome{err: t.inst.Delete(a.ctx, compute.DeleteOptions{Force: true, IfRevision: t.revision})}
		}},
		{name: "break", weight: 1, variants: forcedNames(), needs: hook("Force"), do: (*actor).force},
	}
}

// changeActions are those that change what an instance is, or what happens in it.
func changeActions() []*action {
	exec := has(compute.FeatureExec)
	actions := []*action{
		{name: "update the labels,", op: compute.OpUpdate, weight: 3, revised: true, needs: changes("labels"),
			variants: []string{"set x=1", "set x=2", "set y=1", "remove x"}, do: (*actor).relabel},
		{name: "update the memory,", op: compute.OpUpdate, weight: 2, revised: true, needs: changes("resources.memory"),
			variants: []string{"more at once or later", "more at the next start", "less at once or later", "less at the next start"}, do: (*actor).resize},
		{name: "attach", op: compute.OpAttach, weight: 2, needs: has(compute.FeatureAttach), do: func(a *actor, t target, _ step) outcome {
			attachment, err := compute.Attach(a.ctx, t.inst, compute.AttachOptions{})
			if err != nil {
				return outcome{err: err}
			}
			return outcome{err: attachment.Close()}
		}},
		{name: "dial", op: compute.OpDial, weight: 2, needs: has(compute.FeatureDial), do: func(a *actor, t target, _ step) outcome {
			conn, err := compute.Dial(a.ctx, t.inst, "9")
			if err == nil {
				_ = conn.Close()
				err = disagree("error", "somebody listens at port 9")
			}
			return outcome{err: err}
		}},
	}
	for i, e := range modelExecs {
		a := &action{name: "exec " + e.name, op: compute.OpExec, weight: 1, needs: exec, do: func(a *actor, t target, _ step) outcome {
			return a.exec(t, e)
		}}
		if i == 0 {
			a.weight = 2
		}
		actions = append(actions, a)
	}
	return actions
}

// readActions are those that change nothing.
func readActions() []*action {
	return []*action{
		{name: "wait", weight: 4, do: func(a *actor, t target, _ step) outcome { return a.wait(t) }},
		{name: "wait for a run,", weight: 1, variants: []string{"the first", "the last but one", "none that there was"}, do: (*actor).waitRun},
		{name: "logs", weight: 2, needs: has(compute.FeatureLogs), do: (*actor).logs},
		{name: "get", weight: 1, variants: []string{"by name", "by ID"}, do: (*actor).get},
		{name: "list", weight: 1, variants: filterNames(), do: (*actor).list},
	}
}

// modelExec is a program that is executed in an instance, with what it does.
type modelExec struct {
	name           string
	spec           compute.ExecSpec
	code           int
	stdout, stderr string
	// kind and field are the error where the program cannot be started.
	kind  error
	field string
}

var modelExecs = []modelExec{
	{name: "echo", spec: guestExec("echo", "hello"), stdout: "hello\n"},
	{name: "both", spec: guestExec("both", "2"), stdout: "out 1\nout 2\n", stderr: "err 1\nerr 2\n"},
	{name: "exit", spec: guestExec("exit", "3"), code: 3},
	{name: "die", spec: guestExec("die", "TERM"), code: 128 + 15},
	{name: "a program that is missing", spec: compute.ExecSpec{Process: compute.Process{Command: []string{"/bin/no-such-program"}}},
		kind: errdefs.ErrInvalidArgument, field: "process.command"},
}

// findExec returns the program that an action executes.
func findExec(a *action) modelExec {
	for _, e := range modelExecs {
		if a.name == "exec "+e.name {
			return e
		}
	}
	panic("providertest: no program of the action " + a.name)
}

// modelFilter is a filter with which instances are listed.
type modelFilter struct {
	name   string
	filter compute.Filter
}

var modelFilters = []modelFilter{
	{"all", compute.Filter{}},
	{"those that run", compute.Filter{States: []compute.State{compute.Running}}},
	{"those that do not run", compute.Filter{States: []compute.State{compute.Stopped}}},
	{"a and b", compute.Filter{Names: []string{"a", "b"}}},
	{"with x=1", compute.Filter{Selector: resource.Select(resource.Equals("x", "1"))}},
	{"with x, paused", compute.Filter{States: []compute.State{compute.Paused}, Selector: resource.Select(resource.Exists("x"))}},
}

func filterNames() []string {
	names := make([]string, len(modelFilters))
	for i, f := range modelFilters {
		names[i] = f.name
	}
	return names
}

func forcedNames() []string {
	names := make([]string, len(forcedStates))
	for i, state := range forcedStates {
		names[i] = string(state)
	}
	return names
}

func programNames() []string {
	names := make([]string, len(modelPrograms))
	for i, p := range modelPrograms {
		names[i] = p.name
	}
	return names
}

// offeredActions are those that every one of the providers offers.
func offeredActions(offers ...offer) []*action {
	var offered []*action
	for _, a := range modelActions {
		if allOffer(offers, a.needs) {
			offered = append(offered, a)
		}
	}
	return offered
}

func allOffer(offers []offer, needs []need) bool {
	for _, o := range offers {
		for _, n := range needs {
			if o.missing(n) != "" {
				return false
			}
		}
	}
	return true
}

// modelGrace is what Stop waits where force will be needed.
const modelGrace = 50 * time.Millisecond
