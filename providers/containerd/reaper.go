package containerd

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	eventsapi "github.com/containerd/containerd/api/events"
	"github.com/containerd/containerd/v2/core/events"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"

	"github.com/univirt/univirt/compute"
)

const (
	// reapDelay leaves the task to whoever waits for the run's end and deletes the
	// instance then, at no cost of ours.
	reapDelay = 250 * time.Millisecond
	// reapers is how many tasks are reaped at a time.
	reapers = 4
)

// reaper deletes the tasks of runs that have ended when nobody else does, so
// that no shim and no log writer outlives the run for long. It is one goroutine,
// which starts with the first run that this value starts.
type reaper struct {
	p      *Provider
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
	over   sync.WaitGroup
}

func (r *reaper) start(p *Provider) {
	r.p = p
	r.ctx, r.cancel = context.WithCancel(p.dress(p.alive))
}

// expect says that a run is about to start.
func (r *reaper) expect(string) {
	r.once.Do(func() { r.over.Go(r.watch) })
}

func (r *reaper) stop() {
	r.cancel()
	r.once.Do(func() {})
	r.over.Wait()
}

// ended is a run's end that was seen, and when it is to be reaped.
type endedRun struct {
	id string
	at time.Time
}

// watch reads the exits, and reads all tasks after each new subscription: what
// ended before it was told to nobody.
func (r *reaper) watch() {
	slots := make(chan struct{}, reapers)
	for r.ctx.Err() == nil {
		ctx, cancel := context.WithCancel(r.ctx)
		stream, failed := r.p.client.EventService().Subscribe(ctx,
			fmt.Sprintf("namespace==%q,topic==%q", r.p.space, "/tasks/exit"))
		r.read(ctx, stream, failed, slots)
		cancel()
		select {
		case <-r.ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (r *reaper) read(ctx context.Context, stream <-chan *events.Envelope, failed <-chan error, slots chan struct{}) {
	var queue []endedRun // in the order of time
	look := time.NewTimer(2 * reapDelay)
	defer look.Stop()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if len(queue) > 0 {
			timer.Reset(time.Until(queue[0].at))
		}
		select {
		case <-ctx.Done():
			return
		case err := <-failed:
			if err != nil && ctx.Err() == nil {
				r.p.opts.Logger.Debug("lost the stream of events", "error", err)
			}
			return
		case envelope := <-stream:
			if id := exitedInstance(envelope); id != "" {
				queue = append(queue, endedRun{id, time.Now().Add(reapDelay)})
			}
		case <-look.C:
			// By now the subscription is in place.
			tasks, err := r.p.loadTasks(ctx)
			if err != nil {
				return
			}
			for id, t := range tasks {
				if stateOf(t) == compute.Stopped {
					queue = append(queue, endedRun{id, time.Now()})
				}
			}
		case <-timer.C:
			if len(queue) == 0 {
				timer.Reset(time.Hour)
				continue
			}
			id := queue[0].id
			queue = queue[1:]
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			r.over.Go(func() {
				defer func() { <-slots }()
				r.reap(id)
			})
		}
	}
}

func (r *reaper) reap(id string) {
	_, err := r.p.collect(r.ctx, id, "")
	if err != nil && r.ctx.Err() == nil && !errors.Is(err, errdefs.ErrNotFound) {
		r.p.opts.Logger.Warn("could not delete the task of a run that has ended", "instance", id, "error", err)
	}
}

// exitedInstance returns the container whose main process an event says has
// ended.
func exitedInstance(envelope *events.Envelope) string {
	if envelope == nil {
		return ""
	}
	decoded, err := typeurl.UnmarshalAny(envelope.Event)
	if err != nil {
		return ""
	}
	exit, ok := decoded.(*eventsapi.TaskExit)
	if !ok || exit.ID != exit.ContainerID {
		return ""
	}
	return exit.ContainerID
}
