package providertest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// truth is one history of an instance that fits all that was seen. There are
// several while a program may or may not have ended by itself; what is seen next
// rules some of them out, and where none is left the provider is wrong.
//
// The only source of what an operation leads to is the table of transitions.
type truth struct {
	state compute.State
	// runs counts those that were begun, and ends has one entry for each that is
	// over.
	runs int
	ends []ending
	// loose says that the state was brought about from outside, so that nothing
	// is known of the run.
	loose bool
	// told are the events that belong to the history.
	told []tale
}

// ending is how a run ended, as far as the model can tell: with one of the codes,
// or with any where there are none.
type ending struct {
	codes []int
	// oom says that memory ran out, natural that the program ended by itself.
	oom, natural bool
}

func (e ending) String() string {
	switch {
	case e.codes == nil:
		return "with any code"
	case e.oom:
		return fmt.Sprintf("with %v, out of memory", e.codes)
	}
	return fmt.Sprintf("with %v", e.codes)
}

// prospect is one thing that a step may lead to: an error or none, and the truth
// afterwards.
type prospect struct {
	kind  error
	field string
	next  truth
	// blurred says that the program may have ended in the middle of the step, so
	// that nothing can be said of its result.
	blurred bool
	// exec is the program that was executed, and logs says that its output was
	// read instead.
	exec modelExec
	logs bool
}

func (p prospect) String() string {
	want := "nil"
	if p.kind != nil {
		want = p.kind.Error()
	}
	if p.field != "" {
		want += " (" + p.field + ")"
	}
	return want
}

// over reports whether the run is over, or there was never one.
func (t truth) over() bool { return len(t.ends) == t.runs }

// tell returns the truth with further events.
func (t truth) tell(tales ...tale) truth {
	t.told = append(slices.Clip(t.told), tales...)
	return t
}

// end returns the truth with the run ended.
func (t truth) end(how ending) truth {
	t.ends = append(slices.Clip(t.ends), how)
	t.state = compute.Stopped
	return t
}

// mayEnd returns the truths that come of one by the program's ending by itself.
func (th *thing) mayEnd(truths []truth) []truth {
	if !th.program.mortal {
		return truths
	}
	out := slices.Clone(truths)
	for _, t := range truths {
		// A program whose end was under way when it was paused ends all the same.
		if (t.state == compute.Running || t.state == compute.Paused) && !t.loose {
			out = append(out, t.end(th.natural()).tell(runEnded))
		}
	}
	return out
}

// natural is how the program ends by itself.
func (th *thing) natural() ending {
	e := ending{codes: []int{th.program.code}, oom: th.program.memory > 0, natural: true}
	if !th.world.exitCodes {
		e.codes = nil
	}
	return e
}

// asked is how the program ends where Stop asks it to, from a state.
func (th *thing) asked(from compute.State) ending {
	switch {
	case !th.world.exitCodes || !th.world.readiness || from == compute.Suspended:
		return ending{}
	case th.program.mortal:
		// It may be asked before it can answer.
		return ending{}
	case from == compute.Paused:
		// Whether a frozen program gets to answer is the provider's choice.
		return ending{codes: []int{th.program.asked, 128 + 9}}
	}
	return ending{codes: []int{th.program.asked}}
}

// forced is how the program ends by force.
func (th *thing) forced(from compute.State) ending {
	switch {
	case !th.world.exitCodes || from == compute.Suspended:
		return ending{}
	case th.program.mortal:
		return ending{codes: []int{th.program.code, 128 + 9}}
	}
	return ending{codes: []int{128 + 9}}
}

// prospects says what a step may lead to from a truth.
func (th *thing) prospects(t truth, s step, revision string) []prospect {
	if t.state == compute.Gone {
		return []prospect{{kind: errdefs.ErrNotFound, next: t}}
	}
	if revision != "" && revision != th.revision {
		return []prospect{{kind: errdefs.ErrAborted, next: t}}
	}
	if s.do.op == "" {
		return th.reading(t, s)
	}
	transition, allowed := compute.Next(t.state, s.do.op)
	if !allowed {
		return []prospect{{kind: errdefs.ErrFailedPrecondition, next: t}}
	}
	if transition.NoOp {
		return []prospect{{next: t}}
	}
	next := t
	next.state = transition.To
	switch s.do.op {
	case compute.OpStart:
		return th.starting(t, next)
	case compute.OpStop:
		how := th.asked(t.state)
		if s.do.name == "stop by force" {
			how = th.forced(t.state)
		}
		return []prospect{{next: t.tell(stopTales(t)...).end(how)}}
	case compute.OpRestart:
		if t.state == compute.Stopped {
			return th.starting(t, next)
		}
		return th.starting(t, t.tell(stopTales(t)...).end(th.asked(t.state)))
	case compute.OpPause:
		return th.pausing(t, next)
	case compute.OpResume:
		return []prospect{{next: next.tell(changed(resource.ReasonResume, compute.Running))}}
	case compute.OpSuspend:
		return []prospect{{next: next.tell(changed(resource.ReasonSuspend, compute.Suspended))}}
	case compute.OpReset:
		return []prospect{{next: next.tell(changed(resource.ReasonReset, compute.Running))}}
	case compute.OpUpdate:
		updated := changed(resource.ReasonUpdate, t.state)
		updated.optional = th.unchanged(s)
		return []prospect{{next: next.tell(updated)}}
	case compute.OpDelete, compute.OpDeleteForce:
		return []prospect{{next: next.tell(deleteTales(t)...)}}
	case compute.OpDial:
		// Nothing listens.
		return []prospect{{kind: errdefs.ErrUnavailable, next: next}}
	case compute.OpExec:
		e := findExec(s.do)
		return []prospect{{kind: e.kind, field: e.field, next: next, blurred: th.program.mortal, exec: e}}
	}
	return []prospect{{next: next}}
}

// pausing is what a pause leads to.
func (th *thing) pausing(from, next truth) []prospect {
	paused := changed(resource.ReasonPause, compute.Paused)
	out := []prospect{{next: next.tell(paused)}}
	if th.program.mortal {
		// It may end while it is being paused, and then it may have been told that
		// it was.
		paused.optional = true
		out = append(out, prospect{
			kind: errdefs.ErrFailedPrecondition, next: from.tell(paused).end(th.natural()).tell(runEnded),
		})
	}
	return out
}

// starting is what a start leads to.
func (th *thing) starting(from, next truth) []prospect {
	if from.state == compute.Suspended {
		return []prospect{{next: next.tell(tale{types: changedType, reasons: []string{resource.ReasonStart, resource.ReasonResume}, state: compute.Running})}}
	}
	if th.program.missing {
		return []prospect{{kind: errdefs.ErrInvalidArgument, field: "process.command", next: from}}
	}
	next.state = compute.Running
	next.runs++
	return []prospect{{next: next.tell(changed(resource.ReasonStart, compute.Running))}}
}

// reading is what an action leads to that the table does not have.
func (th *thing) reading(t truth, s step) []prospect {
	switch s.do.name {
	case "wait":
		if t.runs == 0 {
			return []prospect{{kind: errdefs.ErrFailedPrecondition, next: t}}
		}
	case "wait for a run,":
		if t.runs == 0 {
			// It never ran, and the run is unknown: both are true.
			return []prospect{{next: t}, {kind: errdefs.ErrFailedPrecondition, next: t}}
		}
	case "logs":
		return []prospect{{next: t, logs: true}}
	case "break":
		next := t.tell(tale{types: changedType, optional: true, any: true})
		next.state, next.loose = s.forced(), true
		return []prospect{{next: next}}
	}
	return []prospect{{next: t}}
}

// matches reports whether an error is what the prospect says.
func (p prospect) matches(err error) bool {
	if p.kind == nil || err == nil {
		return p.kind == nil && err == nil
	}
	var re *resource.Error
	return errors.As(err, &re) && re.Kind == p.kind && (p.field == "" || re.Field == p.field)
}
