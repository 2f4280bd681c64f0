package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/containerd/errdefs"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// world is the model of one sequence: what ought to be, beside the actor, who
// knows what was seen.
type world struct {
	*actor
	tape   *tape
	things map[*incarnation]*thing
	pairs  *pairs
	// exitCodes and readiness say what the provider offers: that exits have a
	// code, and that a program can say that it is ready.
	exitCodes, readiness bool
	// lines are the transcript.
	lines []string
}

// disagreement says in what a provider and the model differ.
type disagreement struct {
	// class is the same for two disagreements of the same nature.
	class string
	text  string
}

func (d *disagreement) Error() string { return d.text }

func disagree(class, format string, args ...any) *disagreement {
	return &disagreement{class, fmt.Sprintf(format, args...)}
}

// tryModel carries out a sequence, and what is needed to end it with nothing
// left. It returns the transcript and what was wrong.
func tryModel(ctx context.Context, s *suite, p univirt.Provider, counted *pairs, steps []step) ([]string, *disagreement) {
	ctx, cancel := context.WithTimeout(ctx, 4*s.h.Patience)
	defer cancel()
	tape, err := recordTape(ctx, s, p)
	if err != nil {
		return nil, disagree("watch", "%v", err)
	}
	defer tape.stop()
	w := &world{
		actor: newActor(ctx, s, p, s.offer), tape: tape, things: make(map[*incarnation]*thing), pairs: counted,
	}
	w.exitCodes, w.readiness = w.offersAll(compute.FeatureExitCode), w.offersAll(compute.FeatureLogs)
	for _, step := range steps {
		if d := w.step(step); d != nil {
			return w.lines, d
		}
	}
	return w.lines, w.close()
}

// step carries out a step and compares.
func (w *world) step(s step) *disagreement {
	tried := w.tried(s)
	i, o, err := w.actInTime(s)
	if err != nil {
		w.say(s, outcome{err: err}, nil)
		return disagree("hang", "%v", err)
	}
	if o.skipped {
		if isUnsupported(o.err) && s.do.name == "break" {
			w.pairs.refuse(s.forced())
		}
		return nil
	}
	w.pairs.count(tried, s.do.op)
	d := w.compare(s, i, o)
	w.say(s, o, i)
	return d
}

// tried returns the histories of the instance that a step speaks of. There are
// none where the operation is refused before its state is asked for.
func (w *world) tried(s step) []truth {
	th := w.things[w.target(s)]
	if th == nil {
		return nil
	}
	if revision := th.incarnation.revision(s); revision != "" && revision != th.revision {
		return nil
	}
	return th.mayEnd(th.truths)
}

// actInTime has the actor act, and fails where that does not return.
func (w *world) actInTime(s step) (*incarnation, outcome, error) {
	type result struct {
		i *incarnation
		o outcome
	}
	done := make(chan result, 1)
	go func() {
		i, o := w.act(s)
		done <- result{i, o}
	}()
	select {
	case r := <-done:
		return r.i, r.o, nil
	case <-w.ctx.Done():
	}
	// Its context has ended: the last chance.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), w.s.h.Patience)
	defer cancel()
	select {
	case r := <-done:
		return r.i, r.o, fmt.Errorf("takes too long, and ends with: %w", errors.Join(r.o.err, w.ctx.Err()))
	case <-ctx.Done():
		return nil, outcome{}, errors.New("does not return, though its context has ended")
	}
}

// compare compares what came of a step with the model, and all that can be seen
// with it.
func (w *world) compare(s step, i *incarnation, o outcome) *disagreement {
	var d *disagreement
	if errors.As(o.err, &d) {
		return d
	}
	if fault := malformed(o.err); fault != "" {
		return disagree("error", "%s: %v", fault, o.err)
	}
	switch {
	case s.do.name == "create":
		d = w.created(s, o)
	case s.do.name == "list":
		d = w.listed(o)
	case s.do.name == "get":
		d = w.got(s, i, o)
	case i == nil:
		if !isNotFound(o.err) {
			d = disagree("error", "want not found")
		}
	default:
		d = w.things[i].done(s, o)
	}
	if d != nil {
		return d
	}
	return w.see(i)
}

// created compares what came of a Create.
func (w *world) created(s step, o outcome) *disagreement {
	taken := false
	for _, th := range w.things {
		taken = taken || th.name == s.name && !th.vanished()
	}
	switch {
	case taken && !errdefs.IsAlreadyExists(o.err):
		return disagree("error", "want already exists: the name is taken")
	case taken:
		return nil
	case o.err != nil:
		return disagree("error", "want nil: the name is free")
	}
	i := w.present[s.name]
	w.things[i] = &thing{
		incarnation: i, world: w, program: i.program, memory: i.program.memory, live: i.program.memory,
		labels: resource.Labels{},
		truths: []truth{{state: compute.Stopped, told: []tale{{
			types: resource.EventAdded, reasons: []string{resource.ReasonCreate}, state: compute.Stopped,
		}}}},
	}
	if allOffer(w.offers, fields("labels")) {
		w.things[i].labels["made"] = "model"
	}
	for j, other := range w.all {
		if other != i && other.inst.ID() == i.inst.ID() {
			return disagree("identity", "the ID of %s was that of %s", i, w.all[j])
		}
	}
	return nil
}

// vanished reports whether the instance is gone in every history.
func (th *thing) vanished() bool {
	return !slices.ContainsFunc(th.truths, func(t truth) bool { return t.state != compute.Gone })
}

// got compares what came of a Get.
func (w *world) got(s step, i *incarnation, o outcome) *disagreement {
	if s.variant() == 0 {
		i = w.present[s.name]
	}
	if i == nil || w.things[i].vanished() {
		if !isNotFound(o.err) {
			return disagree("error", "want not found")
		}
		return nil
	}
	if o.err != nil {
		return disagree("error", "want nil")
	}
	return w.things[i].narrowByInfo("get", *o.info)
}

// listed compares a list with all instances that its filter lets through.
func (w *world) listed(o outcome) *disagreement {
	if o.err != nil {
		return disagree("error", "want nil")
	}
	infos := make(map[string]compute.Info)
	for _, info := range o.infos {
		if _, twice := infos[info.Ref.ID]; twice {
			return disagree("list", "%s is listed twice", info.Ref)
		}
		if !o.filter.Matches(info) {
			return disagree("list", "%s is listed against the filter", info.Ref)
		}
		infos[info.Ref.ID] = info
	}
	for _, i := range w.all {
		info, listed := infos[i.inst.ID()]
		delete(infos, i.inst.ID())
		if d := w.things[i].narrowByList(o.filter, info, listed); d != nil {
			return d
		}
	}
	for id := range infos {
		return disagree("list", "an instance is listed that nobody made: %s", infos[id].Ref)
	}
	return nil
}

// see compares all that can be seen: the instance that the step was about, all
// instances, and the waits that must have ended.
func (w *world) see(i *incarnation) *disagreement {
	if i != nil {
		info, err := w.look(i)
		th := w.things[i]
		switch {
		case isNotFound(err):
			if fault := malformed(err); fault != "" {
				return disagree("error", "info: %s: %v", fault, err)
			}
			if d := th.narrow("state", "is gone", func(t truth) string {
				if t.state != compute.Gone {
					return "is " + string(t.state)
				}
				return ""
			}); d != nil {
				return d
			}
		case err != nil:
			return disagree("error", "info: %v", err)
		default:
			if d := th.narrowByInfo("info", info); d != nil {
				return d
			}
		}
	}
	infos, err := resource.Collect(w.p.Instances().List(w.ctx, compute.Filter{}))
	if d := w.listed(outcome{infos: infos, err: err}); d != nil {
		return disagree(d.class, "list: %v: %s", err, d.text)
	}
	over, outcomes := w.ended()
	for j, p := range over {
		if d := w.things[p.of].waited(p.run, outcomes[j]); d != nil {
			return disagree("wait", "the wait for a run of %s: %s", p.of, d.text)
		}
	}
	return nil
}

// close deletes what is left, and compares the events.
func (w *world) close() *disagreement {
	for _, name := range slices.Sorted(maps.Keys(w.present)) {
		if d := w.step(step{do: deleteAction, name: name}); d != nil {
			return d
		}
	}
	var late string
	w.tape.await(w.ctx, w.s, func() bool {
		late = ""
		all := true
		for _, i := range w.all {
			id := i.inst.ID()
			if w.tape.deleted(id) {
				continue
			}
			all = false
			if !i.fleeting(w.tape.events[id]) {
				late = i.String()
			}
		}
		return all
	})
	w.tape.stop()
	if w.tape.err != nil && !contextError(w.tape.err) {
		return disagree("watch", "%v", w.tape.err)
	}
	known := make(map[string]bool)
	for _, i := range w.all {
		known[i.inst.ID()] = true
		if d := w.things[i].told(w.tape.events[i.inst.ID()]); d != nil {
			return d
		}
	}
	for id, events := range w.tape.events {
		if !known[id] {
			return disagree("events", "an event of an instance that nobody made: %s %s", events[0].Ref, eventString(events[0]))
		}
	}
	if late != "" {
		return disagree("events", "no event tells that %s is deleted", late)
	}
	return nil
}

// told compares the events of an instance with those of its histories.
func (th *thing) told(all []resource.Event) *disagreement {
	if th.fleeting(all) {
		return nil
	}
	events := settledEvents(th.program, all)
	d := th.narrow("events", "the events: "+joined(events, eventString), func(t truth) string {
		if tellsAll(t.told, events) {
			return ""
		}
		return "ought to be told: " + joined(t.told, tale.String)
	})
	if d != nil {
		return d
	}
	for _, e := range events {
		if e.Ref != th.seen.Ref {
			return disagree("events", "the events speak of %s, not of %s", e.Ref, th.seen.Ref)
		}
		if e.Time.IsZero() {
			return disagree("events", "the event %s of %s has no time", eventString(e), th)
		}
	}
	for _, e := range slices.Backward(events) {
		if e.Type != resource.EventDeleted {
			if !maps.Equal(e.Labels, th.labels) {
				return disagree("events", "the last event of %s has the labels %v, want %v", th, e.Labels, th.labels)
			}
			break
		}
	}
	return nil
}
