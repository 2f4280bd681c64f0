package containerd

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/univirt/univirt/resource"
)

const (
	// markPatience is how long an event of our own may take to come back before
	// the stream is taken for broken.
	markPatience = 5 * time.Second
	// markAgain is when the first one is sent again: it may have been faster than
	// the subscription.
	markAgain = 50 * time.Millisecond
	// rereadTime is how often everything is read again while somebody watches,
	// since events can be lost, and rereadShare bounds what that may cost.
	rereadTime  = 5 * time.Second
	rereadShare = 100
)

// topics are the events that matter. Those of the processes of an exec do not.
var topics = []string{
	"/containers/create", "/containers/update", "/containers/delete",
	"/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/oom", "/tasks/paused", "/tasks/resumed", "/tasks/delete",
	"/images/create", "/images/update", "/images/delete",
}

// listen keeps a subscription while somebody listens or may come back.
func (h *eventHub) listen(p *Provider) {
	ctx := p.dress(p.alive)
	pause := 20 * time.Millisecond
	for {
		s := subscription{hub: h, p: p, topic: "/univirt/mark/" + resource.NewID(), marks: make(map[string]mark)}
		err := s.serve(ctx)
		if s.live {
			pause = 20 * time.Millisecond
		}
		if h.interrupted(ctx, err, &s) {
			return
		}
		p.opts.Logger.Debug("lost the stream of events", "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, time.Second)
	}
}

// interrupted fails the watches that have not begun, and reports whether nobody
// is left to listen for.
func (h *eventHub) interrupted(ctx context.Context, err error, s *subscription) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil && len(h.waiting) > 0 && ctx.Err() == nil {
		return false // somebody came when it was about to end
	}
	begun := h.waiting
	h.waiting = nil
	for _, m := range s.marks {
		begun = append(begun, m.watches...)
	}
	if err = translate(ctx, err); err == nil {
		err = ended(ctx)
	}
	for _, w := range begun {
		w.ready <- err
	}
	if ctx.Err() == nil && err != nil && len(h.watches)+len(h.hooks) > 0 {
		return false
	}
	h.picture, h.history, h.running = nil, history{}, false
	return true
}

// subscription is one connection to containerd's stream of events.
//
// Containerd does not say when a subscription is in place, nor which events came
// before a read. So it is sent events of our own, marks: once one has come back,
// all earlier events have.
type subscription struct {
	hub   *eventHub
	p     *Provider
	topic string
	// live says that the first mark has come back.
	live  bool
	marks map[string]mark
	// reread is when everything is read again.
	reread time.Time
}

// mark is a mark under way, and what it is for.
type mark struct {
	sent    time.Time
	watches []*watch
}

// serve reads the stream until it is lost, or nobody listens any more.
func (s *subscription) serve(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	filters := make([]string, 0, len(topics)+1)
	for _, topic := range append([]string{s.topic}, topics...) {
		filters = append(filters, "namespace=="+strconv.Quote(s.p.space)+",topic=="+strconv.Quote(topic))
	}
	stream, failed := s.p.client.EventService().Subscribe(ctx, filters...)
	if err := s.join(ctx, stream, failed); err != nil {
		return err
	}
	s.live = true
	if err := s.renew(ctx); err != nil {
		return err
	}
	s.hub.exited("")
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err = <-failed:
			return orEnded(ctx, err)
		case e := <-stream:
			err = s.handle(ctx, e)
		case <-s.hub.poke:
			err = s.serveWaiting(ctx)
		case now := <-tick.C:
			if s.unused(now) {
				return nil
			}
			err = s.check(ctx, now)
		}
		if err != nil {
			return err
		}
	}
}

// orEnded makes sure that the end of a stream is an error.
func orEnded(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err == nil:
		return resource.Errorf(errdefs.ErrUnavailable, "the stream of events ended")
	}
	return err
}

// join waits until the subscription is in place.
func (s *subscription) join(ctx context.Context, stream <-chan *events.Envelope, failed <-chan error) error {
	deadline := time.NewTimer(markPatience)
	defer deadline.Stop()
	again := time.NewTicker(markAgain)
	defer again.Stop()
	for sent := false; ; {
		if !sent {
			if err := s.send(ctx, "", nil); err != nil {
				return err
			}
			sent = true
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return orEnded(ctx, err)
		case <-deadline.C:
			return resource.Errorf(errdefs.ErrUnavailable, "containerd sends no events")
		case <-again.C:
			sent = false
		case e := <-stream:
			if e.Topic == s.topic {
				return nil
			}
			// What happened before the first read is in it.
		}
	}
}

// send sends a mark. The first ones have no name and are waited for by nobody.
func (s *subscription) send(ctx context.Context, name string, watches []*watch) error {
	payload, err := anypb.New(wrapperspb.String(name))
	if err != nil {
		return err
	}
	if name != "" {
		s.marks[name] = mark{time.Now(), watches}
	}
	bounded, cancel := context.WithTimeout(ctx, markPatience)
	defer cancel()
	err = s.p.client.EventService().Publish(bounded, s.topic, payload)
	if err != nil && bounded.Err() != nil && ctx.Err() == nil {
		err = resource.Errorf(errdefs.ErrUnavailable, "containerd does not answer: %w", err)
	}
	return err
}

// unused reports whether nobody listens any more. What is known is kept for a
// while.
func (s *subscription) unused(now time.Time) bool {
	for _, m := range s.marks {
		if len(m.watches) > 0 {
			return false
		}
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.watches)+len(h.waiting) > 0 || now.Sub(h.idle) < idleTime {
		return false
	}
	h.picture, h.history = nil, history{}
	return len(h.hooks) == 0
}

// check sees to it that the stream goes on, and that what it lost is found.
func (s *subscription) check(ctx context.Context, now time.Time) error {
	for _, m := range s.marks {
		if now.Sub(m.sent) > markPatience {
			return resource.Errorf(errdefs.ErrUnavailable, "the stream of events has stopped")
		}
	}
	s.hub.mu.Lock()
	watched := len(s.hub.watches) > 0
	s.hub.mu.Unlock()
	if !watched || now.Before(s.reread) || len(s.marks) > 0 {
		return nil
	}
	return s.send(ctx, resource.NewID(), nil)
}

// renew is called when a subscription is in place: what was known before is not
// to be relied on. Those who watched before the connection was lost are told all
// anew.
func (s *subscription) renew(ctx context.Context) error {
	h := s.hub
	h.mu.Lock()
	if len(h.waiting)+len(h.watches) == 0 {
		h.picture, h.history = nil, history{}
		h.mu.Unlock()
		return nil
	}
	s.marks[""] = mark{time.Now(), h.waiting}
	h.waiting = nil
	h.mu.Unlock()
	if err := s.readAll(ctx, true); err != nil {
		return err
	}
	s.start("")
	return nil
}

// start lets the watches of a mark begin.
func (s *subscription) start(name string) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	for _, w := range s.marks[name].watches {
		s.hub.begin(w)
	}
	delete(s.marks, name)
}

// serveWaiting sends a mark for the watches that wait.
func (s *subscription) serveWaiting(ctx context.Context) error {
	s.hub.mu.Lock()
	waiting := s.hub.waiting
	s.hub.waiting = nil
	s.hub.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	return s.send(ctx, resource.NewID(), waiting)
}

// arrived is called when a mark has come back: all that happened before it was
// sent is known now, and what is read next lags behind no event that was told.
func (s *subscription) arrived(ctx context.Context, name string) error {
	m, ok := s.marks[name]
	if !ok {
		return nil // one of the first
	}
	s.hub.mu.Lock()
	known := s.hub.picture != nil
	s.hub.mu.Unlock()
	var err error
	switch {
	case !known && len(m.watches) == 0:
	case !known || len(m.watches) == 0 || slices.ContainsFunc(m.watches, func(w *watch) bool { return w.id == "" }):
		err = s.readAll(ctx, !known)
	default:
		for _, w := range m.watches {
			err = errors.Join(err, s.readOne(ctx, w.id))
		}
	}
	if err != nil {
		return err
	}
	s.start(name)
	return nil
}

// readAll reads everything. Where the picture is made anew, whoever watches is
// told all; otherwise, what is other than it was thought to be.
func (s *subscription) readAll(ctx context.Context, anew bool) error {
	began := time.Now().UTC()
	containers, err := s.p.containers(ctx)
	if err != nil {
		return err
	}
	tasks, err := s.p.loadTasks(ctx)
	if err != nil {
		return err
	}
	records, err := s.p.client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	instances := make([]*trackedInstance, len(containers))
	for i, c := range containers {
		instances[i] = s.p.track(c, tasks[c.ID], began)
	}
	images := s.p.trackImages(records)
	now := time.Now().UTC()
	s.reread = now.Add(max(rereadTime, rereadShare*now.Sub(began)))
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if anew {
		h.picture, h.history = newPicture(h.told), history{}
		for _, i := range instances {
			h.picture.instances[i.ref.ID] = i
		}
		h.picture.images = images
		for w := range h.watches {
			w.lose(resource.Errorf(errdefs.ErrUnavailable, "the connection to containerd was lost"))
		}
	} else {
		h.picture.reconcileAll(instances, now)
		h.picture.reconcileImages(images, now)
	}
	h.picture.read = now
	return nil
}

// readOne reads one instance.
func (s *subscription) readOne(ctx context.Context, id string) error {
	if checkIdentifier(id) != "" {
		return nil
	}
	began := time.Now().UTC()
	c, err := s.p.client.ContainerService().Get(ctx, id)
	gone := errdefs.IsNotFound(err)
	if err != nil && !gone {
		return err
	}
	var read *trackedInstance
	if !gone {
		t, err := s.p.loadTask(ctx, id)
		if err != nil {
			return err
		}
		read = s.p.track(c, t, began)
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if now := time.Now().UTC(); gone {
		s.hub.picture.remove(id, now)
	} else {
		s.hub.picture.reconcile(read, now)
	}
	return nil
}

// handle takes one event.
func (s *subscription) handle(ctx context.Context, e *events.Envelope) error {
	decoded, err := typeurl.UnmarshalAny(e.Event)
	if err != nil {
		s.p.opts.Logger.Warn("an event that cannot be read", "topic", e.Topic, "error", err)
		return nil
	}
	switch event := decoded.(type) {
	case *wrapperspb.StringValue:
		return s.arrived(ctx, event.Value)
	case *eventsapi.TaskExit:
		if event.ID == event.ContainerID {
			defer s.hub.exited(event.ContainerID)
		}
	}
	s.hub.mu.Lock()
	known := s.hub.picture != nil
	s.hub.mu.Unlock()
	if !known {
		return nil
	}
	switch event := decoded.(type) {
	case *eventsapi.ContainerCreate:
		return s.containerCreated(ctx, event.ID, e.Timestamp)
	case *eventsapi.ContainerUpdate:
		s.hub.mu.Lock()
		s.hub.picture.noted(event.ID, event.Labels, e.Timestamp)
		s.hub.mu.Unlock()
		if err := s.startedMeanwhile(ctx, event.ID, e.Timestamp); err != nil {
			return err
		}
	case *eventsapi.ImageCreate, *eventsapi.ImageUpdate, *eventsapi.ImageDelete:
		return s.readImages(ctx, e.Timestamp)
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.picture.apply(decoded, e.Timestamp)
	return nil
}

// apply takes an event that says all by itself.
func (p *picture) apply(decoded any, at time.Time) {
	switch event := decoded.(type) {
	case *eventsapi.ContainerUpdate:
		p.updated(event.ID, event.Labels, at)
	case *eventsapi.ContainerDelete:
		p.remove(event.ID, at)
	case *eventsapi.TaskCreate:
		p.created(event.ContainerID, at)
	case *eventsapi.TaskStart:
		p.started(event.ContainerID, event.Pid, at)
	case *eventsapi.TaskExit:
		if event.ID != event.ContainerID {
			return // of an exec
		}
		if exited := event.ExitedAt; exited != nil && exited.IsValid() && exited.Seconds > 0 {
			at = exited.AsTime()
		}
		p.ended(event.ContainerID, event.Pid, at)
	case *eventsapi.TaskDelete:
		if event.ID == "" || event.ID == event.ContainerID {
			p.taskDeleted(event.ContainerID, event.Pid, at)
		}
	case *eventsapi.TaskOOM:
		p.ranOutOfMemory(event.ContainerID, at)
	case *eventsapi.TaskPaused:
		p.paused(event.ContainerID, at)
	case *eventsapi.TaskResumed:
		p.resumed(event.ContainerID, at)
	}
}

// containerCreated reads what the event does not say: name and labels. One that
// is gone already was there for nobody.
func (s *subscription) containerCreated(ctx context.Context, id string, at time.Time) error {
	s.hub.mu.Lock()
	known := s.hub.picture.instances[id] != nil
	s.hub.mu.Unlock()
	if known {
		return nil
	}
	c, err := s.p.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.picture.add(s.p.track(c, nil, at), at)
	return nil
}

// startedMeanwhile tells a start in front of an update that followed it: the
// events of tasks come from their shims, and those of containers can be faster.
func (s *subscription) startedMeanwhile(ctx context.Context, id string, at time.Time) error {
	s.hub.mu.Lock()
	i := s.hub.picture.instances[id]
	starting := i != nil && i.starting
	s.hub.mu.Unlock()
	if !starting {
		return nil
	}
	answer, err := s.p.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	if errdefs.IsNotFound(translate(ctx, err)) {
		return nil
	}
	if err != nil {
		return err
	}
	if !shownState(answer.Process).Active() {
		return nil
	}
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.picture.started(id, answer.Process.Pid, at)
	return nil
}

// readImages reads the images' records: their events do not say what a name
// meant before.
func (s *subscription) readImages(ctx context.Context, at time.Time) error {
	records, err := s.p.client.ImageService().List(ctx)
	if err != nil {
		return err
	}
	images := s.p.trackImages(records)
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.hub.picture.reconcileImages(images, at)
	return nil
}
