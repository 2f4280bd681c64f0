package providertest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// narrowByInfo compares what is known of an instance, and keeps the histories
// that it fits.
func (th *thing) narrowByInfo(where string, info compute.Info) *disagreement {
	if fault := th.fixedDiffers(info); fault != "" {
		return disagree(where, "%s of %s: %s", where, th, fault)
	}
	th.truths = th.mayEnd(th.truths)
	if !info.State.Settled() && info.State != compute.Unknown {
		return nil
	}
	d := th.narrow(where, where+" says "+infoString(info), func(t truth) string { return th.infoDiffers(t, info) })
	if d != nil {
		return d
	}
	if info.Run != "" && !slices.Contains(th.runs, info.Run) {
		th.runs = append(th.runs, info.Run)
		th.live, th.vague = th.memory, false
	}
	return th.pendingDiffers(info)
}

// pendingDiffers compares what waits for the next start.
func (th *thing) pendingDiffers(info compute.Info) *disagreement {
	under := info.State == compute.Running || info.State == compute.Paused
	if under && (th.program.mortal || th.vague) || !under && info.State != compute.Stopped {
		return nil
	}
	var want []string
	if under && th.live != th.memory {
		want = []string{"resources.memory"}
	}
	if !slices.Equal(info.Pending, want) {
		return disagree("pending", "%s: waits for the next start: %q, want %q", th, info.Pending, want)
	}
	return nil
}

// narrowByList compares an instance's part in a list.
func (th *thing) narrowByList(filter compute.Filter, info compute.Info, listed bool) *disagreement {
	th.truths = th.mayEnd(th.truths)
	d := th.narrow("list", fmt.Sprintf("listed: %t", listed), func(t truth) string {
		if t.state == compute.Gone {
			if listed {
				return "is gone"
			}
			return ""
		}
		known := th.seen
		known.State, known.Labels = t.state, th.labels
		if listed || !filter.Matches(known) {
			return ""
		}
		return "matches as it is " + string(t.state)
	})
	if d != nil || !listed {
		return d
	}
	return th.narrowByInfo("list", info)
}

// fixedDiffers says how what has nothing to do with the state differs.
func (th *thing) fixedDiffers(info compute.Info) string {
	offer := th.world.s.offer
	want := resource.Ref{
		Provider: offer.desc.Provider, Kind: resource.KindInstance,
		Namespace: info.Ref.Namespace, Name: modelNames[th.name], ID: th.inst.ID(),
	}
	switch {
	case info.Ref != want || info.Ref.Namespace == "":
		return fmt.Sprintf("is %s, want %s", info.Ref, want)
	case !info.Managed || info.Kind != offer.kind || info.Spec == nil:
		return fmt.Sprintf("want a managed %s with its spec", offer.kind)
	case !maps.Equal(info.Labels, th.labels):
		return fmt.Sprintf("has the labels %v, want %v", info.Labels, th.labels)
	case !maps.Equal(info.Spec.Labels, th.labels):
		return fmt.Sprintf("has the labels %v in its spec, want %v", info.Spec.Labels, th.labels)
	case info.Spec.Resources.Memory != th.memory:
		return fmt.Sprintf("has %d bytes of memory in its spec, want %d", info.Spec.Resources.Memory, th.memory)
	}
	return th.revisionDiffers(info.Revision)
}

// revisionDiffers says what is wrong with a revision, and takes a new one.
func (th *thing) revisionDiffers(revision string) string {
	renewed := th.renewed
	th.renewed = sameRevision
	switch {
	case revision == "":
		return "has no revision"
	case th.revision == "" && len(th.revisions) == 0:
	case revision == th.revision:
		if renewed == newRevision {
			return fmt.Sprintf("still has the revision %q after an update", revision)
		}
		return ""
	case renewed == sameRevision:
		return fmt.Sprintf("has the revision %q, want %q, as nothing was updated", revision, th.revision)
	case slices.Contains(th.revisions, revision):
		return fmt.Sprintf("has the revision %q, which it had before", revision)
	}
	th.revision = revision
	th.revisions = append(th.revisions, revision)
	return ""
}

// infoDiffers says how what is known of an instance differs from a history.
func (th *thing) infoDiffers(t truth, info compute.Info) string {
	switch {
	case t.state != info.State:
		return "want the state " + string(t.state)
	case t.loose:
		return ""
	}
	if reason := th.runDiffers(t, info); reason != "" {
		return reason
	}
	switch {
	case t.state == compute.Running && info.Level < compute.LevelRunning:
		return fmt.Sprintf("want a level of %s at least, have %s", compute.LevelRunning, info.Level)
	case t.state == compute.Stopped && info.Level != compute.LevelCreated:
		return fmt.Sprintf("want the level %s, have %s", compute.LevelCreated, info.Level)
	}
	return ""
}

// runDiffers says how the run and the exit that Info shows differ.
func (th *thing) runDiffers(t truth, info compute.Info) string {
	switch {
	case t.runs == 0:
		if info.Run != "" || info.Exit != nil {
			return "want neither run nor exit, as it never ran"
		}
		return ""
	case t.runs <= len(th.runs) && info.Run != th.runs[t.runs-1]:
		return fmt.Sprintf("want run %d, %q", t.runs, th.runs[t.runs-1])
	case t.runs > len(th.runs) && (info.Run == "" || slices.Contains(th.runs, info.Run)):
		return "want the token of a new run"
	case info.Runs != 0 && info.Runs != t.runs:
		return fmt.Sprintf("want the count of runs %d, have %d", t.runs, info.Runs)
	case len(t.ends) == 0:
		if info.Exit != nil {
			return "want no exit during the first run"
		}
		return ""
	case info.Exit == nil:
		return fmt.Sprintf("want the exit of run %d", len(t.ends))
	case len(t.ends) > len(th.runs) && info.Exit.Run != info.Run:
		return "want an exit of the run that is shown"
	}
	return th.exitDiffers(t, len(t.ends)-1, *info.Exit)
}

func infoString(info compute.Info) string {
	text := fmt.Sprintf("%s, run %q", info.State, info.Run)
	if info.Exit != nil {
		text += fmt.Sprintf(", exit %d of %q", info.Exit.Code, info.Exit.Run)
		if !info.Exit.Known {
			text += " (not known)"
		}
	}
	return text
}

// malformed says what is wrong with the form of an error, or returns "".
func malformed(err error) string {
	if err == nil {
		return ""
	}
	re, ok := err.(*resource.Error)
	switch {
	case !ok && contextError(err):
		return ""
	case !ok:
		return fmt.Sprintf("the error is a %T and neither a *resource.Error nor that of a context", err)
	case re.Op == "":
		return "the error has no operation"
	case re.Kind == nil && !contextError(re.Err):
		return "the error has no kind"
	case re.Kind != nil && !slices.Contains(kinds, re.Kind):
		return "the error's kind is not of the contract"
	case re.Ref.Kind != resource.KindInstance:
		return "the error's reference is to no instance"
	}
	return ""
}

// say adds a step to the transcript, with what came of it.
func (w *world) say(s step, o outcome, i *incarnation) {
	text := fmt.Sprintf("%-45s ", s)
	var d *disagreement
	switch {
	case errors.As(o.err, &d):
		text += d.text
	case o.err != nil:
		text += firstLine(o.err.Error())
	case o.later:
		text += "goes on"
	case o.exit != nil:
		text += fmt.Sprintf("exit %d", o.exit.Code)
		if !o.exit.Known {
			text += " (not known)"
		}
	case o.exec != nil:
		text += fmt.Sprintf("exit %d, %q, %q", o.exec.exit.Code, o.exec.stdout, o.exec.stderr)
	default:
		text += "nil"
	}
	if i != nil {
		state := "gone"
		if !i.gone {
			state = string(i.seen.State)
		}
		text += fmt.Sprintf("  [%s is %s]", i, state)
	}
	w.lines = append(w.lines, text)
}

func firstLine(text string) string {
	first, _, _ := strings.Cut(text, "\n")
	return first
}

// joined lists things in one line.
func joined[T any](all []T, text func(T) string) string {
	parts := make([]string, len(all))
	for i, v := range all {
		parts[i] = text(v)
	}
	return strings.Join(parts, ", ")
}
