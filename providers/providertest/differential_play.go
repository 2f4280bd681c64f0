package providertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// play is the transcript of a program on one provider.
type play []scene

// scene is what came of one step, in words that any provider would use.
type scene struct {
	step string
	// what is the action, the same for all its variants.
	what  string
	facts []fact
}

// fact is one thing that two providers must agree on.
type fact struct {
	about, text string
	// signal need be told by none.
	signal string
}

// player carries out a program and takes it down.
type player struct {
	*actor
	tape *tape
	// vague are the runs of which it is the provider's choice how they ended.
	vague map[string]bool
	// forced are the instances whose run was ended by their delete.
	forced map[*incarnation]bool
	play   play
}

// newPlayer begins to record.
func newPlayer(ctx context.Context, l *settler, offers []offer) (*player, error) {
	tape, err := recordTape(ctx, l.s, l.p)
	if err != nil {
		return nil, err
	}
	p := &player{actor: newActor(ctx, l.s, l.p, offers...), tape: tape, vague: map[string]bool{}, forced: map[*incarnation]bool{}}
	p.settle = true
	return p, nil
}

// end takes down the events of everything there was, all of which is deleted.
func (p *player) end() {
	p.tape.await(p.ctx, p.s, func() bool {
		return !slices.ContainsFunc(p.all, func(i *incarnation) bool { return !p.tape.deleted(i.inst.ID()) })
	})
	p.tape.stop()
	for _, i := range p.all {
		p.play = append(p.play, scene{step: "events of " + i.String(), what: "events", facts: p.told(i)})
	}
}

// take carries out a step and takes down what came of it.
func (p *player) take(s step) {
	var before compute.State
	if i := p.target(s); i != nil && !i.gone {
		before = i.seen.State
		if before == compute.Paused || before == compute.Suspended {
			switch s.do.op {
			case compute.OpStop, compute.OpRestart, compute.OpDeleteForce:
				p.vague[i.seen.Run] = true
			}
		}
	}
	i, o := p.act(s)
	sc := scene{step: s.String(), what: s.do.name}
	if i != nil {
		_, err := p.look(i)
		if i.gone && before.Active() || i.gone && before == compute.Suspended {
			p.forced[i] = true
		}
		sc.facts = append(p.result(i, o), p.state(i, err)...)
	} else {
		sc.facts = p.result(nil, o)
	}
	sc.facts = append(sc.facts, p.over()...)
	p.play = append(p.play, sc)
}

// result is what a step returned.
func (p *player) result(i *incarnation, o outcome) []fact {
	if o.skipped {
		return []fact{{about: "result", text: "skipped"}}
	}
	facts := []fact{{about: "error", text: errorText(o.err)}}
	if o.err != nil {
		return facts
	}
	switch {
	case o.exit != nil:
		facts = append(facts, p.exit("exit", i, *o.exit))
	case o.exec != nil:
		facts = append(facts, fact{about: "exit", text: fmt.Sprint(o.exec.exit.Code), signal: o.exec.exit.Signal},
			fact{about: "output", text: fmt.Sprintf("%q, %q", o.exec.stdout, o.exec.stderr)})
	case o.lines != nil:
		facts = append(facts, p.output(i, o.lines))
	case o.info != nil:
		facts = append(facts, fact{about: "state", text: string(o.info.State)})
	case o.infos != nil:
		var names []string
		for _, info := range o.infos {
			names = append(names, info.Ref.Name+" is "+string(info.State))
		}
		slices.Sort(names)
		facts = append(facts, fact{about: "list", text: strings.Join(names, ", ")})
	}
	return facts
}

// state is what can be seen of an instance.
func (p *player) state(i *incarnation, err error) []fact {
	if err != nil {
		return []fact{{about: "state", text: errorText(err)}}
	}
	info := i.seen
	facts := []fact{
		{about: "state", text: string(info.State)},
		{about: "run", text: fmt.Sprint(len(i.tokens))},
		{about: "revision", text: fmt.Sprint(len(i.revisions))},
		{about: "labels", text: fmt.Sprint(info.Labels)},
		{about: "pending", text: strings.Join(info.Pending, ", ")},
	}
	if info.Spec != nil {
		facts = append(facts, fact{about: "memory", text: fmt.Sprint(info.Spec.Resources.Memory)})
	}
	if info.Exit != nil {
		facts = append(facts, p.exit("last exit", i, *info.Exit))
	}
	return facts
}

// exit is how a run ended.
func (p *player) exit(about string, i *incarnation, exit compute.Exit) fact {
	run := slices.Index(i.tokens, exit.Run) + 1
	switch {
	case run > 0 && run < len(i.tokens):
		return fact{about: about, text: fmt.Sprintf("run %d, which may be forgotten", run)}
	case !exit.Known:
		return fact{about: about, text: fmt.Sprintf("run %d, not known", run)}
	case p.vague[exit.Run]:
		return fact{about: about, text: fmt.Sprintf("run %d", run)}
	}
	text := fmt.Sprintf("run %d, %d", run, exit.Code)
	if exit.OOM {
		text += ", out of memory"
	}
	return fact{about: about, text: text, signal: exit.Signal}
}

// output is what a run printed, by stream: which line of one came before which of
// the other is left to chance.
func (p *player) output(i *incarnation, lines []compute.LogLine) fact {
	split := p.offersAll(compute.FeatureLogsSplit)
	streams := map[compute.Stream][]string{}
	for _, l := range lines {
		if p.vague[l.Run] {
			return fact{about: "logs", text: "of a run that ended in one way or another"}
		}
		text := fmt.Sprintf("%d %q", slices.Index(i.tokens, l.Run)+1, l.Text)
		if l.Partial {
			text += " (partial)"
		}
		stream := l.Stream
		if !split {
			stream = ""
		}
		streams[stream] = append(streams[stream], text)
	}
	if !split {
		slices.Sort(streams[""])
	}
	var parts []string
	for _, stream := range slices.Sorted(maps.Keys(streams)) {
		parts = append(parts, strings.TrimSpace(string(stream)+" "+strings.Join(streams[stream], " ")))
	}
	return fact{about: "logs", text: strings.Join(parts, "; ")}
}

// over are the outcomes of waits in the background. A delete may end one with
// the exit or with NotFound.
func (p *player) over() []fact {
	over, outcomes := p.ended()
	var facts []fact
	for n, w := range over {
		f := fact{about: "background wait of " + w.of.String(), text: errorText(outcomes[n].err)}
		if outcomes[n].err == nil {
			f = p.exit(f.about, w.of, *outcomes[n].exit)
		}
		if w.of.gone && (outcomes[n].err == nil || isNotFound(outcomes[n].err)) {
			f.text, f.signal = "ended by the delete", ""
		}
		facts = append(facts, f)
	}
	return facts
}

// told are the events of an instance, without those that a provider may leave
// out.
func (p *player) told(i *incarnation) []fact {
	var facts []fact
	events := settledEvents(i.program, p.tape.events[i.inst.ID()])
	if len(i.tokens) == 0 && len(i.revisions) < 2 {
		return []fact{{about: "event", text: "of what came and went, if any"}}
	}
	for n, e := range events {
		last := n == len(events)-1
		switch {
		case !last && e.Reason == resource.ReasonResume && events[n+1].Reason == resource.ReasonExit,
			!last && p.forced[i] && e.Reason == resource.ReasonExit && events[n+1].Type == resource.EventDeleted:
			continue
		}
		text := string(e.Type)
		if e.Type != resource.EventDeleted {
			text = fmt.Sprintf("%s (%s) %s %v", e.Type, e.Reason, e.State, e.Labels)
		}
		facts = append(facts, fact{about: "event", text: text})
	}
	return facts
}

// errorText is what two providers must agree on of an error.
func errorText(err error) string {
	var d *disagreement
	var re *resource.Error
	switch {
	case err == nil:
		return "nil"
	case errors.As(err, &d):
		return d.text
	case !errors.As(err, &re), re.Kind == nil:
		return "without a kind: " + firstLine(err.Error())
	case re.Field == "":
		return re.Kind.Error()
	}
	return re.Kind.Error() + ", field " + re.Field
}

// sideBySide shows two plays, with a mark at what differs.
func sideBySide(a, b offer, left, right play) []string {
	const width = 70
	row := func(mark, l, r string) string { return fmt.Sprintf("%-2s%-*s | %s", mark, width, l, r) }
	lines := []string{row("", a.desc.Provider, b.desc.Provider)}
	for i := range max(len(left), len(right)) {
		var l, r scene
		if i < len(left) {
			l = left[i]
		}
		if i < len(right) {
			r = right[i]
		}
		lines = append(lines, row("", l.step, r.step))
		for j := range max(len(l.facts), len(r.facts)) {
			var f, g fact
			if j < len(l.facts) {
				f = l.facts[j]
			}
			if j < len(r.facts) {
				g = r.facts[j]
			}
			mark := ""
			if !f.agrees(g) {
				mark = "!"
			}
			lines = append(lines, row(mark, "    "+f.String(), "    "+g.String()))
		}
	}
	return lines
}
