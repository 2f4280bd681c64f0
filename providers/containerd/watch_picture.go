package containerd

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// subject is what a watch tells of a resource. It is never changed, but replaced.
type subject struct {
	ref     resource.Ref
	managed bool
	// names are those by which a watch finds it; an image may have several.
	names  []string
	labels resource.Labels
	state  compute.State // empty for an image
}

type subjectKey struct {
	kind resource.Kind
	id   string
}

func (s *subject) key() subjectKey { return subjectKey{s.ref.Kind, s.ref.ID} }

func (s *subject) with(change func(*subject)) *subject {
	out := *s
	change(&out)
	return &out
}

func sortedSubjects(all map[subjectKey]*subject) []*subject {
	return slices.SortedFunc(maps.Values(all), func(a, b *subject) int {
		return cmp.Or(cmp.Compare(a.ref.Kind, b.ref.Kind), cmp.Compare(a.ref.Name, b.ref.Name), cmp.Compare(a.ref.ID, b.ref.ID))
	})
}

// change is something that happened to a resource: it came to be where before is
// nil, and is gone where after is.
type change struct {
	before, after *subject
	reason        string
	time          time.Time
}

// picture is what is known of the resources of a namespace, between two reads
// from what events say. Events may come twice, late and, with containerd 2.4, not
// at all; so each one is taken for what it says, and not for a difference.
type picture struct {
	instances map[string]*trackedInstance
	images    map[string]*subject
	// last are the last runs of instances that are about to be deleted.
	last map[string]pastRun
	// tell is called with each change.
	tell func(change)
	// read is when the last read was complete.
	read time.Time
}

// trackedInstance is an instance, and by what its next event is judged.
type trackedInstance struct {
	*subject
	// pid is the main process of the run that the state is of, whether it has ended
	// or not; 0 where none was seen.
	pid uint32
	// starting says that a task was made and not seen to run.
	starting bool
	// revision is the record's; 0 for a container that has none.
	revision int
	// exit is the label that holds the last exit, stop the one that says which run a
	// Stop has ended, and found what probes have found out.
	exit, stop string
	found      foundRecord
	// oom says that the run was told to be out of memory.
	oom bool
	// seen is when it was read. An event of a task that is older than that comes
	// late, from a slow shim.
	seen time.Time
}

// maxMissed bounds how many updates that were read together are told one by one.
const maxMissed = 16

// pastRun is a run that is over: its main process and its end. Without a process there
// was none.
type pastRun struct {
	pid   uint32
	ended time.Time
}

func newPicture(tell func(change)) *picture {
	return &picture{instances: map[string]*trackedInstance{}, images: map[string]*subject{}, last: map[string]pastRun{}, tell: tell}
}

// shownState is the state that a watch tells for a task's. A task that has not
// been started is none yet: no event would say that it was given up.
func shownState(t *task.Process) compute.State {
	if s := stateOf(t); s != compute.Starting {
		return s
	}
	return compute.Stopped
}

// track makes what the picture has of an instance that was read at a time.
func (p *Provider) track(c containers.Container, t *task.Process, at time.Time) *trackedInstance {
	s := &subject{ref: p.ref(resource.KindInstance, "", c.ID), labels: userLabels(c.Labels), state: shownState(t)}
	tracked := &trackedInstance{
		subject: s, exit: c.Labels[labelExit], stop: c.Labels[labelStop], found: readFound(c.Labels), revision: readRevision(c.Labels), seen: at,
	}
	if tracked.starting = stateOf(t) == compute.Starting; !tracked.starting {
		tracked.pid = t.GetPid()
	}
	if c.Extensions[extension] != nil {
		s.managed = true
		s.ref.Name = c.Labels[labelName]
	} else if resource.CheckName(c.ID) == "" {
		s.ref.Name = c.ID
	}
	s.names = []string{s.ref.Name}
	return tracked
}

// trackImages groups containerd's records by what they name.
func (p *Provider) trackImages(records []images.Image) map[string]*subject {
	byID := make(map[string][]images.Image)
	for _, r := range records {
		id := r.Target.Digest.String()
		byID[id] = append(byID[id], r)
	}
	all := make(map[string]*subject, len(byID))
	for id, same := range byID {
		slices.SortFunc(same, func(a, b images.Image) int { return cmp.Compare(a.Name, b.Name) })
		image := p.images.describe(same[0].Name, same, nil)
		all[id] = &subject{ref: image.Ref, managed: true, names: image.Names, labels: image.Labels}
	}
	return all
}

// set replaces what is known of an instance and tells the change, unless nothing
// of it is told.
func (p *picture) set(i *trackedInstance, next *subject, reason string, at time.Time) {
	before := i.subject
	i.subject = next
	p.tell(change{before: before, after: next, reason: reason, time: at})
}

func (p *picture) setState(i *trackedInstance, state compute.State, reason string, at time.Time) {
	p.set(i, i.with(func(s *subject) { s.state = state }), reason, at)
}

// add tells of an instance that was not there.
func (p *picture) add(i *trackedInstance, at time.Time) {
	p.instances[i.ref.ID] = i
	p.tell(change{after: i.subject, reason: resource.ReasonCreate, time: at})
}

// remove tells that an instance is gone. What is gone has ended before, and may have
// had a run of which the shim's events come later, or never.
func (p *picture) remove(id string, at time.Time) {
	last, ran := p.last[id]
	delete(p.last, id)
	i := p.instances[id]
	if i == nil {
		return
	}
	if ran {
		p.ran(i, last, last.ended)
	}
	if i.state.Active() {
		p.setState(i, compute.Stopped, resource.ReasonExit, at)
	}
	delete(p.instances, id)
	p.tell(change{before: i.subject, time: at})
}

// ran tells of a run that is over as far as it was not told: events of tasks come from
// their shims, so that they can be slower than what is known by other ways, or be lost.
func (p *picture) ran(i *trackedInstance, run pastRun, at time.Time) {
	p.started(i.ref.ID, run.pid, at)
	if i.pid == run.pid {
		p.ended(i.ref.ID, run.pid, at)
	}
}

// created, started, ended and the following say what happened to the task of an
// instance. One that is not in the picture is of no concern.

func (p *picture) created(id string, at time.Time) {
	if i := p.instances[id]; i != nil && at.After(i.seen) && !i.state.Active() {
		i.pid, i.starting = 0, true
	}
}

func (p *picture) started(id string, pid uint32, at time.Time) {
	i := p.instances[id]
	if i == nil || i.pid == pid || !at.After(i.seen) {
		return // known, whether it has ended since or not
	}
	if i.state.Active() {
		p.setState(i, compute.Stopped, resource.ReasonExit, at)
	}
	i.pid, i.starting, i.oom, i.seen = pid, false, false, at
	p.setState(i, compute.Running, resource.ReasonStart, at)
}

func (p *picture) ended(id string, pid uint32, at time.Time) {
	i := p.instances[id]
	if i == nil || i.pid == pid && !i.state.Active() || i.pid != pid && (i.state.Active() || !at.After(i.seen)) {
		return // known, or the end of an earlier run
	}
	i.pid, i.starting = pid, false
	p.setState(i, compute.Stopped, resource.ReasonExit, at)
}

// taskDeleted tells the end of a run if its event was lost.
func (p *picture) taskDeleted(id string, pid uint32, at time.Time) {
	i := p.instances[id]
	if i == nil {
		return
	}
	i.starting = false
	if i.state.Active() && (pid == 0 || i.pid == pid) {
		p.setState(i, compute.Stopped, resource.ReasonExit, at)
	}
}

func (p *picture) ranOutOfMemory(id string, at time.Time) {
	if i := p.instances[id]; i != nil && i.state.Active() {
		i.oom = true
		p.set(i, i.subject, resource.ReasonOOM, at)
	}
}

func (p *picture) paused(id string, at time.Time) {
	if i := p.instances[id]; i != nil && i.state == compute.Running {
		p.setState(i, compute.Paused, resource.ReasonPause, at)
	}
}

func (p *picture) resumed(id string, at time.Time) {
	if i := p.instances[id]; i != nil && i.state == compute.Paused {
		p.setState(i, compute.Running, resource.ReasonResume, at)
	}
}

// noted tells the end of a run that is on record now, and its start, where their events
// are slower. No other run can be under way, as the end of one is recorded before the
// next is made.
func (p *picture) noted(id string, all map[string]string, at time.Time) {
	i := p.instances[id]
	if i == nil || i.exit == all[labelExit] {
		return
	}
	e, ok := lastExit(containers.Container{Labels: all})
	if !ok {
		return
	}
	if e.PID != 0 {
		p.started(id, e.PID, at)
	}
	if !i.state.Active() || e.PID != 0 && e.PID != i.pid {
		return
	}
	if e.OOM && !i.oom {
		p.ranOutOfMemory(id, at)
	}
	p.setState(i, compute.Stopped, resource.ReasonExit, at)
}

// judged tells what a supervisor has found out. Of a run that is over nobody wants to
// know it.
func (p *picture) judged(i *trackedInstance, now foundRecord, at time.Time) {
	was := i.found
	i.found = now
	if was.Run != now.Run {
		was = foundRecord{}
	}
	if !i.state.Active() {
		return
	}
	if now.Health != was.Health {
		p.set(i, i.subject, resource.ReasonHealth, at)
	}
	if now.Ready && !was.Ready {
		p.set(i, i.subject, resource.ReasonReady, at)
	}
}

// updated tells a change of the container. That of the exit's label alone is the
// end of a run, which is told by itself; those of our other labels are none.
func (p *picture) updated(id string, all map[string]string, at time.Time) {
	i := p.instances[id]
	if i == nil {
		return
	}
	labels, exit, stop, found := userLabels(all), all[labelExit], all[labelStop], readFound(all)
	same, noted := maps.Equal(labels, i.labels), i.exit != exit || i.stop != stop || i.found != found
	i.exit, i.stop = exit, stop
	p.judged(i, found, at)
	revision := readRevision(all)
	switch {
	case revision < i.revision:
		return // was read already
	case revision == i.revision && same && (i.managed || noted || !at.After(p.read)):
		// It was read already, or is none. Of one that is not ours, what is no label
		// may have changed.
		return
	}
	p.revise(i, i.with(func(s *subject) { s.labels = labels }), revision, at)
}

// revise tells what became of an instance by an update, or by several that were read
// together.
func (p *picture) revise(i *trackedInstance, next *subject, revision int, at time.Time) {
	for range max(1, min(revision-i.revision, maxMissed)) {
		p.set(i, next, resource.ReasonUpdate, at)
	}
	i.revision = revision
}

// reconcile brings an instance of the picture to what was read, and tells what
// must have happened between.
func (p *picture) reconcile(read *trackedInstance, at time.Time) {
	i := p.instances[read.ref.ID]
	if i == nil {
		p.add(read, at)
		return
	}
	if !maps.Equal(i.labels, read.labels) || i.managed != read.managed || i.ref != read.ref || i.revision != read.revision {
		p.revise(i, read.with(func(s *subject) { s.state = i.state }), read.revision, at)
	}
	if i.state != compute.Unknown {
		p.noted(i.ref.ID, map[string]string{labelExit: read.exit}, at)
		if read.state == compute.Stopped && read.pid != 0 && !i.state.Active() {
			p.ran(i, pastRun{pid: read.pid}, at)
		}
	}
	i.exit, i.stop, i.starting, i.seen = read.exit, read.stop, read.starting, read.seen
	if i.state != read.state && (i.state == compute.Unknown || read.state == compute.Unknown) {
		p.setState(i, read.state, "", at)
		return
	}
	if i.state.Active() && (!read.state.Active() || i.pid != read.pid && read.pid != 0) {
		p.setState(i, compute.Stopped, resource.ReasonExit, at)
	}
	if read.starting {
		i.pid = 0
	} else if read.pid != 0 {
		i.pid = read.pid
	}
	if !i.state.Active() && read.state.Active() {
		p.setState(i, compute.Running, resource.ReasonStart, at)
	}
	switch {
	case i.state == compute.Running && read.state == compute.Paused:
		p.setState(i, compute.Paused, resource.ReasonPause, at)
	case i.state == compute.Paused && read.state == compute.Running:
		p.setState(i, compute.Running, resource.ReasonResume, at)
	}
	p.judged(i, read.found, at)
}

// reconcileAll brings the instances of the picture to what was read.
func (p *picture) reconcileAll(read []*trackedInstance, at time.Time) {
	there := make(map[string]bool, len(read))
	for _, i := range read {
		there[i.ref.ID] = true
	}
	for _, id := range slices.Sorted(maps.Keys(p.instances)) {
		if !there[id] {
			p.remove(id, at)
		}
	}
	for _, i := range read {
		p.reconcile(i, at)
	}
}

// reconcileImages brings the images of the picture to what was read.
func (p *picture) reconcileImages(read map[string]*subject, at time.Time) {
	for _, id := range slices.Sorted(maps.Keys(p.images)) {
		if read[id] == nil {
			p.tell(change{before: p.images[id], time: at})
			delete(p.images, id)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(read)) {
		before, after := p.images[id], read[id]
		p.images[id] = after
		switch {
		case before == nil:
			p.tell(change{after: after, reason: resource.ReasonCreate, time: at})
		case !slices.Equal(before.names, after.names) || !maps.Equal(before.labels, after.labels):
			p.tell(change{before: before, after: after, reason: resource.ReasonUpdate, time: at})
		}
	}
}
