package providertest

import (
	"context"
	"fmt"
	"slices"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// actor carries out the steps of one sequence with one provider value. It knows
// what it has seen, and nothing of what ought to be.
type actor struct {
	ctx context.Context
	s   *suite
	p   univirt.Provider
	// offers are those of all providers that the sequence is tried on.
	offers []offer
	// settle waits for the end of what ends by itself, so that nothing depends
	// on which is faster.
	settle bool
	// present are the instances by name, and past those that were deleted, the
	// latest last.
	present map[int]*incarnation
	past    map[int][]*incarnation
	all     []*incarnation
	waits   []*pendingWait
}

// incarnation is one instance of a name, as it was seen.
type incarnation struct {
	number  int
	name    int
	inst    compute.Instance
	program modelProgram
	// seen is what Info said last.
	seen compute.Info
	gone bool
	// over says that the end of the run was told, so that Info shows it or will.
	over bool
	// resets counts those of the run under way.
	resets int
	// tokens are those of the runs so far, and revisions the present and all
	// earlier ones.
	tokens    []string
	revisions []string
}

// String names the incarnation: "a" for the first of the name in the sequence,
// "a (2)" for another.
func (i *incarnation) String() string {
	if i.number == 1 {
		return modelNames[i.name]
	}
	return fmt.Sprintf("%s (%d)", modelNames[i.name], i.number)
}

// fleeting reports whether no event need tell of the instance: it never ran, and
// was gone when whoever heard of it looked.
func (i *incarnation) fleeting(events []resource.Event) bool {
	return i.gone && len(i.tokens) == 0 && len(events) == 0
}

// pendingWait is a call of Wait in the background.
type pendingWait struct {
	of   *incarnation
	run  string
	done chan outcome
}

func newActor(ctx context.Context, s *suite, p univirt.Provider, offers ...offer) *actor {
	return &actor{
		ctx: ctx, s: s, p: p, offers: offers,
		present: make(map[int]*incarnation), past: make(map[int][]*incarnation),
	}
}

func (a *actor) offersAll(features ...resource.Feature) bool {
	return allOffer(a.offers, has(features...))
}

// target finds what a step acts on; nil where there was never such an instance.
func (a *actor) target(s step) *incarnation {
	past := a.past[s.name]
	if present := a.present[s.name]; present != nil && (!s.old || len(past) == 0) {
		return present
	}
	if len(past) > 0 {
		return past[len(past)-1]
	}
	return nil
}

// act carries out a step.
func (a *actor) act(s step) (*incarnation, outcome) {
	i := a.target(s)
	switch {
	case s.do.do == nil:
		panic("providertest: an action without effect: " + s.do.name)
	case i == nil && !s.do.nameless():
		// There is nothing to act on, which Get can say.
		_, err := a.p.Instances().Get(a.ctx, modelNames[s.name])
		return nil, outcome{err: err}
	}
	o := s.do.do(a, target{incarnation: i, revision: i.revision(s)}, s)
	if o.made != nil {
		i = &incarnation{
			number: len(a.past[s.name]) + 1, name: s.name, inst: o.made,
			program: modelPrograms[s.variant()],
		}
		a.present[s.name] = i
		a.all = append(a.all, i)
	}
	return i, o
}

// nameless actions make sense where there is no instance.
func (x *action) nameless() bool { return x.name == "create" || x.name == "list" || x.name == "get" }

// look reads an instance when a step has been carried out: until it is in a
// state that lasts, as nobody may depend on the others.
func (a *actor) look(i *incarnation) (compute.Info, error) {
	ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
	defer cancel()
	var info compute.Info
	var err error
	eventually(ctx, func() bool {
		info, err = i.inst.Info(ctx)
		lasting := info.State.Settled() || info.State == compute.Unknown
		return err != nil || lasting && !(i.over && info.State.Active())
	})
	if isNotFound(err) && !i.gone {
		i.gone = true
		delete(a.present, i.name)
		a.past[i.name] = append(a.past[i.name], i)
	}
	if err != nil {
		return info, err
	}
	i.over = false
	i.seen = info
	if info.Run != "" && !slices.Contains(i.tokens, info.Run) {
		i.tokens = append(i.tokens, info.Run)
	}
	if !slices.Contains(i.revisions, info.Revision) {
		i.revisions = append(i.revisions, info.Revision)
	}
	return info, nil
}

// revision is what the step says of the revision.
func (i *incarnation) revision(s step) string {
	if i == nil || !s.do.revised {
		return ""
	}
	switch s.revision {
	case presentRevision:
		return i.seen.Revision
	case staleRevision:
		if n := len(i.revisions); n > 1 {
			return i.revisions[n-2]
		}
		return "none"
	}
	return ""
}

// grace is long where the program ends by itself when it is asked to, so that a
// slow machine is no reason for force.
func (a *actor) grace(t target) time.Duration {
	if t.program.asked == 128+9 || t.seen.State == compute.Paused {
		return modelGrace
	}
	return a.s.h.Patience
}

func (a *actor) create(_ target, s step) outcome {
	program := modelPrograms[s.variant()]
	if !allOffer(a.offers, program.needs) {
		return outcome{skipped: true}
	}
	spec := compute.Spec{
		Name: modelNames[s.name], Kind: a.s.h.Kind, Image: a.s.h.Image, Pull: compute.PullNever,
		Process: program.process(), Resources: program.resources(),
	}
	if allOffer(a.offers, fields("labels")) {
		spec.Labels = resource.Labels{"made": "model"}
	}
	made, err := a.p.Instances().Create(a.ctx, spec)
	if err == nil && made == nil {
		err = disagree("error", "Create returns neither an instance nor an error")
	}
	return outcome{err: err, made: made}
}

// begin waits until a program that was begun is where it can be relied on.
func (a *actor) begin(t target, err error) outcome {
	if err != nil || t.gone {
		return outcome{err: err}
	}
	if t.program.ready && a.offersAll(compute.FeatureLogs) {
		return outcome{err: a.awaitReady(t)}
	}
	if a.settle && t.program.mortal {
		ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
		defer cancel()
		exit, err := t.inst.Wait(ctx, compute.WaitOptions{})
		if err != nil {
			return outcome{err: disagree("wait", "wait for the end of the program: %v", err)}
		}
		t.over = true
		return outcome{exit: &exit}
	}
	return outcome{}
}

// awaitReady waits until the program has said as often that it is ready as it
// was begun in this run.
func (a *actor) awaitReady(t target) error {
	said := 0
	ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
	defer cancel()
	for line, err := range compute.Logs(ctx, t.inst, compute.LogOptions{Follow: true}) {
		if err != nil {
			return disagree("logs", "follow the logs until the program is ready: %v", err)
		}
		if string(line.Text) == "ready" {
			said++
		}
		if said > t.resets {
			return nil
		}
	}
	return disagree("logs", "the logs ended before the program was ready")
}

func (a *actor) relabel(t target, s step) outcome {
	return outcome{err: t.inst.Update(a.ctx, compute.Change{Labels: labelChange(s), IfRevision: t.revision})}
}

// labelChange is the patch of a step.
func labelChange(s step) resource.LabelPatch {
	one, two := "1", "2"
	return []resource.LabelPatch{{"x": &one}, {"x": &two}, {"y": &one}, {"x": nil}}[s.variant()]
}

func (a *actor) resize(t target, s step) outcome {
	resources, apply := memoryChange(t.program, s)
	return outcome{err: t.inst.Update(a.ctx, compute.Change{Resources: &resources, Apply: apply, IfRevision: t.revision})}
}

// memoryChange is the change of a step. It gives no program less than what it
// was given, so that none ends for it.
func memoryChange(program modelProgram, s step) (compute.Resources, compute.ApplyMode) {
	if program.memory > 0 {
		return program.resources(), compute.ApplyNextStart
	}
	memory := []int64{512 * resource.MiB, 384 * resource.MiB}[s.variant()/2]
	return compute.Resources{Memory: memory}, []compute.ApplyMode{compute.ApplyAuto, compute.ApplyNextStart}[s.variant()%2]
}

func (a *actor) exec(t target, e modelExec) outcome {
	if t.program.memory > 0 {
		// Where memory runs out, the kernel may end the execution instead.
		return outcome{skipped: true}
	}
	ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
	defer cancel()
	var stdout, stderr buffer
	spec := e.spec
	spec.Stdout, spec.Stderr = &stdout, &stderr
	x, err := compute.Exec(ctx, t.inst, spec)
	if err != nil {
		return outcome{err: err}
	}
	exit, err := x.Wait(ctx)
	if err != nil {
		return outcome{err: disagree("exec", "wait for the execution: %v", err)}
	}
	return outcome{exec: &execResult{exit, stdout.String(), stderr.String()}}
}

// wait waits for the end of the run under way: in the background where only
// another step will bring it about.
func (a *actor) wait(t target) outcome {
	if state := t.seen.State; !t.gone && (state == compute.Failed || state == compute.Unknown) {
		return outcome{skipped: true}
	}
	endless := t.seen.State.Active() && !(t.program.mortal && t.seen.State == compute.Running) || t.seen.State == compute.Suspended
	if t.gone || !endless {
		o := a.waitFor(t.incarnation, "")
		t.over = o.err == nil
		return o
	}
	w := &pendingWait{of: t.incarnation, run: t.seen.Run, done: make(chan outcome, 1)}
	a.waits = append(a.waits, w)
	go func() { w.done <- a.waitFor(w.of, w.run) }()
	return outcome{later: true}
}

func (a *actor) waitFor(i *incarnation, run string) outcome {
	exit, err := i.inst.Wait(a.ctx, compute.WaitOptions{Run: run})
	return outcome{err: err, exit: &exit, run: run}
}

func (a *actor) waitRun(t target, s step) outcome {
	run := "none"
	if n := len(t.tokens); n > 1 && s.variant() < 2 {
		// What is the last run is no run that is over.
		run = t.tokens[[]int{0, n - 2}[s.variant()]]
	}
	return a.waitFor(t.incarnation, run)
}

// ended returns the waits in the background that must have come to an end, with
// their outcomes.
func (a *actor) ended() ([]*pendingWait, []outcome) {
	var over, rest []*pendingWait
	for _, w := range a.waits {
		if w.of.gone || w.of.seen.State == compute.Stopped || w.of.seen.Run != w.run {
			over = append(over, w)
		} else {
			rest = append(rest, w)
		}
	}
	a.waits = rest
	ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
	defer cancel()
	outcomes := make([]outcome, len(over))
	for i, w := range over {
		select {
		case outcomes[i] = <-w.done:
		case <-ctx.Done():
			outcomes[i] = outcome{err: disagree("wait", "it goes on though the run is over")}
		}
	}
	return over, outcomes
}

func (a *actor) logs(t target, _ step) outcome {
	ctx, cancel := context.WithTimeout(a.ctx, a.s.h.Patience)
	defer cancel()
	// What a run that is over has printed is complete only for who follows; and it
	// may be over since the instance was looked at.
	info, err := t.inst.Info(ctx)
	follow := err == nil && info.State == compute.Stopped
	lines, err := resource.Collect(compute.Logs(ctx, t.inst, compute.LogOptions{Follow: follow}))
	return outcome{err: err, lines: lines}
}

func (a *actor) get(t target, s step) outcome {
	which := modelNames[s.name]
	if s.variant() == 1 {
		if t.incarnation == nil {
			which = absentID
		} else {
			which = t.inst.ID()
		}
	}
	inst, err := a.p.Instances().Get(a.ctx, which)
	if err != nil {
		return outcome{err: err}
	}
	info, err := inst.Info(a.ctx)
	return outcome{err: err, info: &info}
}

func (a *actor) list(_ target, s step) outcome {
	filter := modelFilters[s.variant()].filter
	infos, err := resource.Collect(a.p.Instances().List(a.ctx, filter))
	return outcome{err: err, infos: infos, filter: filter}
}

// force has the harness bring about a state to which no operation leads.
func (a *actor) force(t target, s step) outcome {
	if t.gone || t.seen.State != compute.Running || t.program.mortal {
		return outcome{skipped: true}
	}
	err := a.s.h.Force(a.ctx, a.p, t.inst.ID(), s.forced())
	return outcome{err: err, skipped: isUnsupported(err)}
}
