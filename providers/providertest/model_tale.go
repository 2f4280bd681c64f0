package providertest

import (
	"fmt"
	"slices"
	"strings"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// tale is an event that ought to be told of an instance.
type tale struct {
	types   resource.EventType
	reasons []string
	state   compute.State
	// optional events may be left out; any says that nothing of it matters.
	optional bool
	any      bool
}

const changedType = resource.EventChanged

func changed(reason string, state compute.State) tale {
	return tale{types: changedType, reasons: []string{reason}, state: state}
}

func (t tale) String() string {
	text := string(t.types)
	if len(t.reasons) > 0 {
		text += " (" + strings.Join(t.reasons, " or ") + ")"
	}
	if t.state != "" {
		text += " " + string(t.state)
	}
	if t.optional {
		text = "[" + text + "]"
	}
	return text
}

// runEnded tells the end of a run.
var runEnded = changed(resource.ReasonExit, compute.Stopped)

// stopTales tell of a run's end that was asked for. A provider may have to let
// a paused program go on before it can end it.
func stopTales(from truth) []tale {
	switch {
	case from.loose:
		return []tale{{types: changedType, optional: true, any: true}}
	case from.state == compute.Paused:
		resumed := changed(resource.ReasonResume, compute.Running)
		resumed.optional = true
		return []tale{resumed, runEnded}
	}
	return []tale{runEnded}
}

// deleteTales tell of an instance's end, and may tell that of its run.
func deleteTales(from truth) []tale {
	deleted := tale{types: resource.EventDeleted}
	if from.state == compute.Stopped {
		return []tale{deleted}
	}
	tales := stopTales(from)
	for i := range tales {
		tales[i].optional = true
	}
	return append(tales, deleted)
}

// fits reports whether an event is the one.
func (t tale) fits(e resource.Event) bool {
	if t.any {
		return e.Type == changedType
	}
	return e.Type == t.types &&
		(t.reasons == nil || slices.Contains(t.reasons, e.Reason)) &&
		(t.state == "" || compute.State(e.State) == t.state)
}

// tellsAll reports whether the events are those that ought to be told, in their
// order.
func tellsAll(tales []tale, events []resource.Event) bool {
	if len(tales) == 0 {
		return len(events) == 0
	}
	if len(events) > 0 && tales[0].fits(events[0]) && tellsAll(tales[1:], events[1:]) {
		return true
	}
	return tales[0].optional && tellsAll(tales[1:], events)
}

// settledEvents leaves out what nobody may depend on: changes to transitional
// states, and when it is told that a program which needs too much memory runs
// out of it.
func settledEvents(program modelProgram, events []resource.Event) []resource.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e resource.Event) bool {
		state := compute.State(e.State)
		return e.Type == changedType && !state.Settled() && state != compute.Unknown ||
			e.Reason == resource.ReasonOOM && program.memory > 0
	})
}

func eventString(e resource.Event) string {
	text := string(e.Type)
	if e.Reason != "" {
		text += " (" + e.Reason + ")"
	}
	if e.State != "" {
		text += " " + e.State
	}
	if e.Err != nil {
		text += fmt.Sprintf(": %v", e.Err)
	}
	return text
}
