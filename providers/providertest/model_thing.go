package providertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// thing is the model of one instance: its histories, and what depends on none of
// them.
type thing struct {
	*incarnation
	world   *world
	program modelProgram
	truths  []truth
	labels  resource.Labels
	// memory is the limit in the spec, and live that of the run under way, unless
	// it is vague.
	memory, live int64
	vague        bool
	// revision is the present one and revisions all there were. renewed says what
	// the last step did to it.
	revision  string
	revisions []string
	renewed   renewal
	// runs are the tokens of the runs that were seen.
	runs []string
}

// renewal says whether a step gives the instance another revision.
type renewal int

const (
	sameRevision renewal = iota
	newRevision
	// eitherRevision is where an update changes nothing.
	eitherRevision
)

// narrow keeps the histories in which nothing differs from what was seen.
func (th *thing) narrow(class, seen string, differs func(truth) string) *disagreement {
	var rest []truth
	var reasons []string
	for _, t := range th.truths {
		reason := differs(t)
		if reason == "" {
			rest = append(rest, t)
		} else if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
	}
	if len(rest) == 0 {
		return disagree(class, "%s: %s; %s", th, seen, strings.Join(reasons, "; or "))
	}
	th.truths = rest
	return nil
}

// done compares what came of a step, and follows it in each history.
func (th *thing) done(s step, o outcome) *disagreement {
	revision := th.incarnation.revision(s)
	var next []truth
	var wants []string
	for _, t := range th.mayEnd(th.truths) {
		for _, p := range th.prospects(t, s, revision) {
			want := fmt.Sprintf("%s of a %s instance", p, t.state)
			if p.matches(o.err) {
				if want = th.resultDiffers(p, t, o); want == "" {
					next = append(next, p.next)
					continue
				}
			}
			if !slices.Contains(wants, want) {
				wants = append(wants, want)
			}
		}
	}
	if len(next) == 0 {
		return disagree("result of "+s.do.name, "want %s", strings.Join(wants, "; or "))
	}
	if o.err == nil && s.do.op == compute.OpUpdate {
		th.updated(s)
	}
	th.truths = next
	return nil
}

// unchanged reports whether an update leaves everything as it is.
func (th *thing) unchanged(s step) bool {
	if s.do == resizeAction {
		resources, _ := memoryChange(th.program, s)
		return resources.Memory == th.memory
	}
	return maps.Equal(labelChange(s).Apply(th.labels), th.labels)
}

// updated makes the change of an update that succeeded.
func (th *thing) updated(s step) {
	th.renewed = newRevision
	if th.unchanged(s) {
		th.renewed = eitherRevision
	}
	if s.do != resizeAction {
		th.labels = labelChange(s).Apply(th.labels)
		return
	}
	resources, apply := memoryChange(th.program, s)
	th.memory = resources.Memory
	if apply == compute.ApplyAuto {
		// A virtual machine may have to be started with more, or not give any back.
		if th.world.offersAll(compute.FeatureUpdateLive) && th.seen.State == compute.Running && th.seen.Kind != compute.VM {
			th.live = th.memory
		} else {
			th.vague = true
		}
	}
}

// resultDiffers says how the result of a step differs from what it is in a
// history, or returns "".
func (th *thing) resultDiffers(p prospect, t truth, o outcome) string {
	switch {
	case o.err != nil || p.blurred || t.loose || o.later:
		return ""
	case o.exec != nil:
		return execDiffers(p.exec, *o.exec)
	case o.exit != nil:
		return th.waitDiffers(t, o)
	case p.logs:
		return th.logsDiffer(t, o.lines)
	}
	return ""
}

func execDiffers(e modelExec, r execResult) string {
	switch {
	case !r.exit.Known || r.exit.Cut:
		return fmt.Sprintf("want a known exit and whole output, have %+v", r.exit)
	case r.exit.Code != e.code:
		return fmt.Sprintf("want the exit code %d, have %d", e.code, r.exit.Code)
	case r.stdout != e.stdout:
		return fmt.Sprintf("want the standard output %q, have %q", e.stdout, r.stdout)
	case r.stderr != e.stderr:
		return fmt.Sprintf("want the standard error %q, have %q", e.stderr, r.stderr)
	}
	return ""
}

// waitDiffers says how the exit that Wait returned differs.
func (th *thing) waitDiffers(t truth, o outcome) string {
	which := t.runs - 1
	if o.run != "" {
		which = slices.Index(th.runs, o.run)
		if which < 0 {
			if o.exit.Known || o.exit.Run != o.run {
				return fmt.Sprintf("want an exit that is not known of the run asked for, have %+v", *o.exit)
			}
			return ""
		}
		if !o.exit.Known && o.exit.Run == o.run && which < t.runs-1 {
			// It may have been forgotten.
			return ""
		}
	}
	if which >= len(t.ends) {
		return "want no exit, as the run goes on"
	}
	return th.exitDiffers(t, which, *o.exit)
}

// exitDiffers says how an exit differs from the end of a run.
func (th *thing) exitDiffers(t truth, run int, exit compute.Exit) string {
	e := t.ends[run]
	switch {
	case run < len(th.runs) && exit.Run != th.runs[run]:
		return fmt.Sprintf("want the exit of run %d, %q, have that of %q", run+1, th.runs[run], exit.Run)
	case e.codes == nil:
		return ""
	case !exit.Known:
		return "want a known exit"
	case !slices.Contains(e.codes, exit.Code):
		return fmt.Sprintf("want an exit %s, have the code %d", e, exit.Code)
	case exit.OOM != e.oom && (e.natural || th.program.memory == 0):
		return fmt.Sprintf("want OOM %t, have %t", e.oom, exit.OOM)
	case exit.Signal != "" && signalCode(exit.Signal) != exit.Code:
		return fmt.Sprintf("the signal %s does not go with the code %d", exit.Signal, exit.Code)
	case !exit.Started.IsZero() && !exit.Finished.IsZero() && exit.Finished.Before(exit.Started):
		return "the run finished before it started"
	}
	return ""
}

func signalCode(name string) int {
	n, err := compute.ParseSignal(name)
	if err != nil {
		return -1
	}
	return 128 + n
}

// waited compares what a wait in the background returned.
func (th *thing) waited(run string, o outcome) *disagreement {
	which := slices.Index(th.runs, run)
	seen := fmt.Sprintf("the exit is %+v", *exitOrNone(o))
	return th.narrow("wait", seen, func(t truth) string {
		switch {
		case t.loose:
			return ""
		case isNotFound(o.err):
			if t.state != compute.Gone {
				return "want an exit, not an error: " + o.err.Error()
			}
			return malformed(o.err)
		case o.err != nil:
			return "want an exit, not an error: " + o.err.Error()
		case t.state == compute.Gone && which >= len(t.ends):
			// The end of the run was part of the delete.
			if o.exit.Run != run {
				return "the exit is another run's"
			}
			return ""
		}
		return th.waitDiffers(t, o)
	})
}

func exitOrNone(o outcome) *compute.Exit {
	if o.exit == nil {
		return &compute.Exit{}
	}
	return o.exit
}

// logsDiffer says how the lines of the last run differ from what the program
// prints.
func (th *thing) logsDiffer(t truth, lines []compute.LogLine) string {
	if t.runs == 0 {
		if len(lines) > 0 {
			return "want no output, as there was no run"
		}
		return ""
	}
	var stdout, stderr []string
	for n, l := range lines {
		if l.Run != th.runs[t.runs-1] {
			return fmt.Sprintf("line %d is of the run %q, want %q", n+1, l.Run, th.runs[t.runs-1])
		}
		// A program that is begun anew by a reset goes on with the line.
		if l.Partial != strings.HasSuffix(string(l.Text), "no newline") {
			return fmt.Sprintf("line %d, %q, has Partial %t", n+1, l.Text, l.Partial)
		}
		if l.Stream == compute.Stderr {
			stderr = append(stderr, string(l.Text))
		} else {
			stdout = append(stdout, string(l.Text))
		}
	}
	if !th.world.offersAll(compute.FeatureLogsSplit) || th.resets > 0 {
		return ""
	}
	whole := !th.program.mortal || t.over() && t.ends[t.runs-1].natural && t.state == compute.Stopped
	answered := slices.Concat(th.program.stdout, th.program.said)
	for _, stream := range []struct {
		name       string
		have, want []string
	}{{"standard output", stdout, th.program.stdout}, {"standard error", stderr, th.program.stderr}} {
		switch {
		case slices.Equal(stream.have, stream.want):
		case t.over() && stream.name == "standard output" && slices.Equal(stream.have, answered):
		case !whole && len(stream.have) < len(stream.want) && slices.Equal(stream.have, stream.want[:len(stream.have)]):
		default:
			return fmt.Sprintf("want the %s %q, have %q", stream.name, stream.want, stream.have)
		}
	}
	return ""
}
