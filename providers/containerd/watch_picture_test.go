package containerd

import (
	"fmt"
	"testing"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var (
	pictureStart = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at           = func(seconds int) time.Time { return pictureStart.Add(time.Duration(seconds) * time.Second) }
)

// readContainer is what is read of the instance "web" at second 10.
func readContainer(p *Provider, t *task.Process, labels map[string]string) *trackedInstance {
	all := map[string]string{labelName: "web"}
	for k, v := range labels {
		all[k] = v
	}
	read := p.track(containers.Container{ID: "web-id", Labels: all}, t, at(10))
	read.managed = true
	read.ref.Name = "web"
	return read
}

// labels are what an instance without a task is read with.
type labels map[string]string

func exitLabel(exit string) labels { return labels{labelExit: exit} }

func revision(n string) labels { return labels{labelRevision: n} }

func process(status task.Status, pid uint32) *task.Process {
	return &task.Process{Status: status, Pid: pid}
}

func TestPicture(t *testing.T) {
	p := &Provider{opts: Options{Namespace: "test"}}
	none, running, paused := (*task.Process)(nil), process(task.Status_RUNNING, 7), process(task.Status_PAUSED, 7)
	ended, made := process(task.Status_STOPPED, 7), process(task.Status_CREATED, 8)
	// Each step is an event at its second, or what was read.
	type step struct {
		second int
		what   any
	}
	const id = "web-id"
	started := func(pid uint32) any { return &eventsapi.TaskStart{ContainerID: id, Pid: pid} }
	exited := func(pid uint32) any { return &eventsapi.TaskExit{ContainerID: id, ID: id, Pid: pid} }
	exitedAt := func(second int, pid uint32) any {
		return &eventsapi.TaskExit{ContainerID: id, ID: id, Pid: pid, ExitedAt: timestamppb.New(at(second))}
	}
	updated := func(pairs ...string) any {
		labels := map[string]string{labelName: "web"}
		for i := 0; i < len(pairs); i += 2 {
			labels[pairs[i]] = pairs[i+1]
		}
		return &eventsapi.ContainerUpdate{ID: id, Labels: labels}
	}
	const start, exit, start2 = "changed running start", "changed stopped exit", "changed running start"
	const update = "changed stopped update"
	for name, c := range map[string]struct {
		first *task.Process
		steps []step
		want  []string
	}{
		"a life": {none, []step{
			{11, &eventsapi.TaskCreate{ContainerID: id, Pid: 8}}, {12, started(8)}, {13, &eventsapi.TaskPaused{ContainerID: id}},
			{14, &eventsapi.TaskResumed{ContainerID: id}}, {15, &eventsapi.TaskOOM{ContainerID: id}}, {16, exited(8)},
			{17, &eventsapi.TaskDelete{ContainerID: id, ID: id, Pid: 8}}, {18, &eventsapi.ContainerDelete{ID: id}},
		}, []string{start, "changed paused pause", "changed running resume", "changed running oom", exit, "deleted"}},
		"each event twice": {none, []step{
			{12, started(8)}, {12, started(8)}, {13, &eventsapi.TaskPaused{ContainerID: id}}, {13, &eventsapi.TaskPaused{ContainerID: id}},
			{16, exited(8)}, {16, exited(8)}, {18, &eventsapi.ContainerDelete{ID: id}}, {18, &eventsapi.ContainerDelete{ID: id}},
		}, []string{start, "changed paused pause", exit, "deleted"}},
		"events of what was read already": {running, []step{{12, started(7)}, {9, started(6)}, {9, exited(6)}}, nil},
		"late events of a run that was over when all was read": {none, []step{
			{8, &eventsapi.TaskCreate{ContainerID: id, Pid: 7}}, {8, started(7)}, {11, exitedAt(9, 7)},
		}, nil},
		"a late exit of an ended task":       {ended, []step{{11, exited(7)}}, nil},
		"the exit of an earlier run":         {running, []step{{12, exited(6)}}, nil},
		"the exit of an exec":                {running, []step{{12, &eventsapi.TaskExit{ContainerID: id, ID: "exec", Pid: 9}}}, nil},
		"the deletion of an exec":            {running, []step{{12, &eventsapi.TaskDelete{ContainerID: id, ID: "exec", Pid: 9}}}, nil},
		"an exit whose start was lost":       {none, []step{{12, exited(9)}}, []string{exit}},
		"a lost exit, then the task deleted": {running, []step{{12, &eventsapi.TaskDelete{ContainerID: id, Pid: 7}}}, []string{exit}},
		"a lost exit, then the next start":   {running, []step{{12, started(8)}}, []string{exit, start2}},
		"a lost exit, then all deleted":      {running, []step{{12, &eventsapi.ContainerDelete{ID: id}}}, []string{exit, "deleted"}},
		"deleted before the events of its run": {none, []step{
			{12, pastRun{8, at(12)}}, {13, &eventsapi.ContainerDelete{ID: id}}, {14, started(8)}, {14, exited(8)},
		}, []string{start, exit, "deleted"}},
		"deleted before the exit of its run": {none, []step{
			{11, started(8)}, {12, pastRun{8, at(12)}}, {13, &eventsapi.ContainerDelete{ID: id}}, {14, exited(8)},
		}, []string{start, exit, "deleted"}},
		"deleted behind the events of its run": {running, []step{
			{11, exited(7)}, {12, pastRun{7, at(11)}}, {13, &eventsapi.ContainerDelete{ID: id}},
		}, []string{exit, "deleted"}},
		"deleted with a run that was over when all was read": {none, []step{
			{12, pastRun{8, at(9)}}, {13, &eventsapi.ContainerDelete{ID: id}},
		}, []string{"deleted"}},
		"out of memory after the end": {ended, []step{{12, &eventsapi.TaskOOM{ContainerID: id}}}, nil},
		"a start that failed": {none, []step{
			{11, &eventsapi.TaskCreate{ContainerID: id, Pid: 8}}, {12, &eventsapi.TaskDelete{ContainerID: id, Pid: 8}},
		}, nil},
		"labels, by somebody else's hand": {none, []step{{12, updated("tier", "web")}, {13, updated("tier", "web")}, {14, updated()}},
			[]string{update, update}},
		"updates": {none, []step{
			{12, updated(labelRevision, "1")}, {13, updated(labelRevision, "2", "tier", "web")}, {14, updated(labelRevision, "3")},
		}, []string{update, update, update}},
		"updates, told twice and late": {none, []step{
			{12, updated(labelRevision, "1")}, {12, updated(labelRevision, "1")}, {14, updated(labelRevision, "2", "tier", "web")},
			{15, updated(labelRevision, "1")}, {15, updated(labelRevision, "2", "tier", "web")},
		}, []string{update, update}},
		"updates while all was read, and not read": {none, []step{{9, updated(labelRevision, "1")}, {9, updated(labelRevision, "2")}}, []string{update, update}},
		"read again: updated": {none, []step{
			{20, revision("2")}, {19, updated(labelRevision, "1")}, {19, updated(labelRevision, "2")}, {21, updated(labelRevision, "3")},
		}, []string{update, update, update}},
		"read again: an update that is lost": {none, []step{{20, revision("1")}, {21, &eventsapi.ContainerDelete{ID: id}}}, []string{update, "deleted"}},
		"the label of an exit is no update": {running, []step{{12, exited(7)}, {13, updated(labelExit, "{}")}, {14, updated(labelExit, "{}")}},
			[]string{exit}},
		"an update in front of the exit that it followed": {running, []step{
			{12, updated(labelExit, "{}")}, {13, updated(labelExit, "{}", "tier", "web")}, {14, exited(7)},
		}, []string{exit, "changed stopped update"}},
		"the same of a run that was out of memory": {running, []step{
			{12, updated(labelExit, `{"oom":true}`)}, {13, &eventsapi.TaskOOM{ContainerID: id}}, {14, exited(7)},
		}, []string{"changed running oom", exit}},
		"the same, the memory told before": {running, []step{
			{11, &eventsapi.TaskOOM{ContainerID: id}}, {12, updated(labelExit, `{"oom":true}`)}, {14, exited(7)},
		}, []string{"changed running oom", exit}},
		"an update of a run whose start is slow, too": {none, []step{
			{12, updated(labelExit, "{}")}, {13, started(8)}, {14, exited(8)},
		}, []string{start, exit}},
		"a run of which its record tells first": {none, []step{
			{12, updated(labelExit, `{"pid":8}`)}, {13, started(8)}, {14, exited(8)},
		}, []string{start, exit}},
		"a run of which its record tells alone, out of memory": {none, []step{
			{12, updated(labelExit, `{"pid":8,"oom":true}`)}, {13, &eventsapi.ContainerDelete{ID: id}},
		}, []string{start, "changed running oom", exit, "deleted"}},
		"a lost exit, and the record of the next run": {running, []step{{12, updated(labelExit, `{"pid":8}`)}}, []string{exit, start2, exit}},
		"the record of a run before the present one, late": {none, []step{{12, started(9)}, {11, updated(labelExit, `{"pid":8}`)}},
			[]string{start}},
		"read again: ran meanwhile":              {none, []step{{20, ended}, {21, started(7)}, {21, exited(7)}}, []string{start, exit}},
		"read again: ran and was reaped":         {none, []step{{20, exitLabel(`{"pid":7}`)}, {21, exited(7)}}, []string{start, exit}},
		"read again: ended, and it is on record": {running, []step{{20, exitLabel(`{"pid":7}`)}, {21, exited(7)}}, []string{exit}},
		"the label of a Stop is no update":       {running, []step{{12, updated(labelStop, "1")}, {13, exited(7)}}, []string{exit}},
		"what probes find": {running, []step{
			{12, updated(labelFound, `{"run":"1","health":"unhealthy"}`)}, {13, updated(labelFound, `{"run":"1","health":"healthy","ready":true}`)},
			{14, updated(labelFound, `{"run":"1","health":"healthy","ready":true}`, "tier", "web")}, {15, updated(labelFound, "{", "tier", "web")},
		}, []string{"changed running health", "changed running health", "changed running ready", "changed running update"}},
		"what probes found of another run": {running, []step{
			{12, updated(labelFound, `{"run":"1","health":"healthy","ready":true}`)}, {13, updated(labelFound, `{"run":"2","health":"healthy","ready":true}`)},
		}, []string{"changed running health", "changed running ready", "changed running health", "changed running ready"}},
		"what probes found of a run that is over": {running, []step{
			{12, exited(7)}, {13, updated(labelFound, `{"run":"1","health":"healthy"}`)},
		}, []string{exit}},
		"unknown instances": {none, []step{
			{12, &eventsapi.TaskStart{ContainerID: "other", Pid: 1}}, {12, &eventsapi.ContainerDelete{ID: "other"}},
			{12, &eventsapi.TaskExit{ContainerID: "other", ID: "other"}}, {12, &eventsapi.TaskOOM{ContainerID: "other"}},
			{12, &eventsapi.TaskPaused{ContainerID: "other"}}, {12, &eventsapi.ContainerUpdate{ID: "other"}},
		}, nil},
		"read again: nothing":                {running, []step{{20, running}}, nil},
		"read again: started":                {none, []step{{20, running}, {21, started(7)}}, []string{start}},
		"read again: started and paused":     {none, []step{{20, paused}}, []string{start, "changed paused pause"}},
		"read again: paused, resumed":        {running, []step{{20, paused}, {30, running}}, []string{"changed paused pause", "changed running resume"}},
		"read again: ended":                  {running, []step{{20, ended}, {21, exited(7)}}, []string{exit}},
		"read again: ended and deleted":      {running, []step{{20, none}, {21, exited(7)}}, []string{exit}},
		"read again: another run":            {running, []step{{20, process(task.Status_RUNNING, 9)}, {21, started(9)}}, []string{exit, start2}},
		"read again: gone":                   {running, []step{{20, "gone"}}, []string{exit, "deleted"}},
		"read again: about to start":         {none, []step{{20, made}, {21, started(8)}}, []string{start}},
		"read again: shim lost, then found":  {running, []step{{20, process(task.Status_UNKNOWN, 0)}, {30, running}}, []string{"changed unknown ", "changed running "}},
		"read for the first time, starting":  {made, []step{{21, started(8)}}, []string{start}},
		"paused, of which nobody knows that": {none, []step{{12, &eventsapi.TaskResumed{ContainerID: id}}, {12, &eventsapi.TaskPaused{ContainerID: id}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var told []string
			w := newWatch(resource.WatchOptions{})
			picture := newPicture(func(c change) {
				e, ok := w.view(&c, "")
				require.True(t, ok)
				require.False(t, e.event.Time.IsZero())
				line := string(e.event.Type)
				if e.event.Type != resource.EventDeleted {
					line += fmt.Sprintf(" %s %s", e.event.State, e.event.Reason)
				}
				told = append(told, line)
			})
			picture.read = at(10)
			first := readContainer(p, c.first, nil)
			picture.instances[first.ref.ID] = first
			for _, s := range c.steps {
				switch what := s.what.(type) {
				case *task.Process:
					read := readContainer(p, what, nil)
					read.seen = at(s.second)
					picture.reconcileAll([]*trackedInstance{read}, at(s.second))
				case labels:
					read := readContainer(p, nil, what)
					read.seen = at(s.second)
					picture.reconcileAll([]*trackedInstance{read}, at(s.second))
				case pastRun:
					picture.last[id] = what
				case string:
					picture.reconcileAll(nil, at(s.second))
				case *eventsapi.ContainerUpdate:
					picture.noted(what.ID, what.Labels, at(s.second))
					picture.apply(what, at(s.second))
				default:
					picture.apply(what, at(s.second))
				}
			}
			require.Equal(t, c.want, told)
		})
	}
}

// TestPictureOfForeignUpdates holds that what somebody else changes of a container is
// told, but for what may have been read already.
func TestPictureOfForeignUpdates(t *testing.T) {
	told := 0
	picture := newPicture(func(change) { told++ })
	picture.read = at(10)
	i := readContainer(&Provider{opts: Options{Namespace: "test"}}, nil, nil)
	i.managed = false
	picture.instances[i.ref.ID] = i
	update := &eventsapi.ContainerUpdate{ID: i.ref.ID}
	picture.apply(update, at(10))
	require.Zero(t, told)
	picture.apply(update, at(11))
	require.Equal(t, 1, told)
}

func TestPictureOfImages(t *testing.T) {
	var told []string
	p := &Provider{opts: Options{Namespace: "test"}}
	p.images = newImages(p)
	defer p.images.close()
	w := newWatch(resource.WatchOptions{Names: []string{"app:v1"}})
	picture := newPicture(func(c change) {
		if e, ok := w.view(&c, ""); ok {
			told = append(told, fmt.Sprintf("%s %s", e.event.Type, e.event.Ref.Name))
		}
	})
	record := func(name, content string) images.Image {
		return images.Image{Name: name, Target: ocispec.Descriptor{Digest: digest.FromString(content)}}
	}
	const app, other, alias = "docker.io/library/app:v1", "docker.io/library/other:v1", "docker.io/library/zzz:v1"
	for i, c := range []struct {
		there []images.Image
		want  []string
	}{
		{[]images.Image{record(other, "x")}, nil},
		{[]images.Image{record(other, "x"), record(app, "a")}, []string{"added " + app}},
		{[]images.Image{record(other, "x"), record(app, "a"), record(alias, "a")}, []string{"changed " + app}},
		{[]images.Image{record(other, "x"), record(app, "b"), record(alias, "a")}, []string{"deleted " + alias, "added " + app}},
		{[]images.Image{record(other, "x"), record(app, "x"), record(alias, "a")}, []string{"deleted " + app, "added " + app}},
		{[]images.Image{record(alias, "a")}, []string{"deleted " + app}},
		{nil, nil},
	} {
		told = nil
		picture.reconcileImages(p.trackImages(c.there), at(i))
		require.ElementsMatch(t, c.want, told, "step %d", i)
	}
}

func TestHistory(t *testing.T) {
	var h history
	_, known := h.from("")
	require.False(t, known)
	first := h.cursor(0)
	for range historySize + 10 {
		h.add(change{})
	}
	_, known = h.from(first)
	require.False(t, known, "too old")
	last := h.cursor(h.next)
	n, known := h.from(last)
	require.True(t, known)
	require.Equal(t, h.next, n)
	n, known = h.from(h.cursor(h.next - historySize))
	require.True(t, known)
	require.NotNil(t, h.at(n))
	var other history
	other.add(change{})
	for _, c := range []resource.Cursor{
		"nonsense", ".", ".1", resource.Cursor(h.token + "."), resource.Cursor(h.token + ".x"), h.cursor(h.next + 1), other.cursor(1),
		resource.Cursor(h.token + ".99999999999999999999"),
	} {
		_, known := h.from(c)
		require.False(t, known, c)
	}
}

// TestHubOfSlowReaders holds the bound of what waits.
func TestHubOfSlowReaders(t *testing.T) {
	w := newWatch(resource.WatchOptions{Buffer: 3})
	s := &subject{managed: true, state: compute.Stopped}
	for range 3 {
		w.offer(&change{after: s}, "")
	}
	require.Len(t, w.pending, 3)
	require.False(t, w.due)
	w.offer(&change{after: s}, "")
	require.Empty(t, w.pending)
	require.True(t, w.due)
	require.Error(t, w.gap)
	w.offer(&change{after: s}, "")
	require.Empty(t, w.pending, "nothing is kept of what is told anew")
}
