package providertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// lane is a namespace with the test image in it. One case at a time has it.
type lane struct {
	s         *suite
	namespace string
	// janitor is a provider value of the lane's own, so that what a case left
	// behind can be removed whatever it did to its own values.
	janitor univirt.Provider
	// images are the IDs of the images that were there from the start.
	images []string
	// worker is the ID of the instance that stays, where the lane is a workshop's.
	worker string
	// spoilt lanes are not used again: a failed case may have left anything.
	spoilt bool
}

// lanes hands out lanes, at most as many at once as the harness says.
type lanes struct {
	s     *suite
	slots chan struct{}
	mu    sync.Mutex
	idle  []*lane
	all   []*lane
}

func newLanes(s *suite) *lanes { return &lanes{s: s, slots: make(chan struct{}, s.h.Lanes)} }

// take returns an idle lane, or a new one.
func (ls *lanes) take(ctx context.Context) (*lane, error) {
	ls.slots <- struct{}{}
	ls.mu.Lock()
	if n := len(ls.idle); n > 0 {
		l := ls.idle[n-1]
		ls.idle = ls.idle[:n-1]
		ls.mu.Unlock()
		return l, nil
	}
	ls.mu.Unlock()
	l, err := ls.s.newLane(ctx)
	if err != nil {
		<-ls.slots
		return nil, err
	}
	ls.add(l)
	return l, nil
}

// add has a lane cleaned up at the end of the suite.
func (ls *lanes) add(l *lane) {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	ls.all = append(ls.all, l)
}

func (ls *lanes) give(l *lane) {
	ls.mu.Lock()
	if !l.spoilt {
		ls.idle = append(ls.idle, l)
	}
	ls.mu.Unlock()
	<-ls.slots
}

func (ls *lanes) close() error {
	ls.mu.Lock()
	defer ls.mu.Unlock()
	var errs []error
	for _, l := range ls.all {
		l.worker = ""
		errs = append(errs, l.clean(context.Background(), nil), l.janitor.Close())
	}
	ls.all, ls.idle = nil, nil
	return errors.Join(errs...)
}

func (s *suite) newLane(ctx context.Context) (*lane, error) {
	ctx, cancel := context.WithTimeout(ctx, s.h.Patience)
	defer cancel()
	l := &lane{s: s, namespace: s.namespace()}
	p, err := s.h.Open(ctx, OpenOptions{Namespace: l.namespace, Owner: owner})
	if err != nil {
		return nil, fmt.Errorf("open the provider: %w", err)
	}
	l.janitor = p
	if err := s.prepare(ctx, p); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	images, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
	if err != nil && !isUnsupported(err) {
		return nil, errors.Join(err, p.Close())
	}
	for _, image := range images {
		l.images = append(l.images, image.Ref.ID)
	}
	return l, nil
}

// prepare brings the test image to where a provider value sees it.
func (s *suite) prepare(ctx context.Context, p univirt.Provider) error {
	if s.h.Prepare == nil {
		return nil
	}
	if err := s.h.Prepare(ctx, p); err != nil {
		return fmt.Errorf("prepare the namespace: %w", err)
	}
	return nil
}

// clean deletes everything of the lane but the worker and the images to keep.
func (l *lane) clean(ctx context.Context, keep []string) error {
	ctx, cancel := context.WithTimeout(ctx, l.s.h.Patience)
	defer cancel()
	return errors.Join(
		sweepAll(ctx, "instance", l.janitor.Instances().List(ctx, compute.Filter{}),
			func(i compute.Info) error {
				if i.Ref.ID == l.worker {
					return l.tidy(ctx, i)
				}
				return l.janitor.Instances().Handle(i.Ref.ID).Delete(ctx, compute.DeleteOptions{Force: true})
			}),
		l.cleanNetworks(ctx),
		sweepAll(ctx, "volume", l.janitor.Volumes().List(ctx, storage.Filter{}),
			func(i storage.Info) error {
				v := l.janitor.Volumes().Handle(i.Ref.ID)
				return errors.Join(cleanSnapshots(ctx, v), v.Delete(ctx, storage.DeleteOptions{Force: true}))
			}),
		sweepAll(ctx, "image", l.janitor.Images().List(ctx, compute.ImageFilter{}),
			func(i compute.Image) error {
				if slices.Contains(keep, i.Ref.ID) {
					return nil
				}
				return l.janitor.Images().Delete(ctx, i.Ref.ID, compute.DeleteImageOptions{Force: true})
			}))
}

func (l *lane) cleanNetworks(ctx context.Context) error {
	return sweepAll(ctx, "network", l.janitor.Networks().List(ctx, network.Filter{}),
		func(i network.Info) error {
			n := l.janitor.Networks().Handle(i.Ref.ID)
			err := sweepAll(ctx, "endpoint", n.Endpoints(ctx, network.EndpointFilter{}),
				func(e network.EndpointInfo) error { return n.Endpoint(e.Ref.ID).Release(ctx) })
			return errors.Join(err, n.Delete(ctx, network.DeleteOptions{Force: true}))
		})
}

// cleanSnapshots deletes a volume's snapshots, which go before it.
func cleanSnapshots(ctx context.Context, v storage.Volume) error {
	s, err := storage.Snapshots(v)
	if err != nil {
		return nil
	}
	return sweepAll(ctx, "snapshot", s.Snapshots(ctx),
		func(i storage.SnapshotInfo) error { return s.DeleteSnapshot(ctx, i.Ref.Name) })
}

// sweepAll deletes all that a list yields. What is gone already is as wished.
func sweepAll[T any](_ context.Context, what string, list func(func(T, error) bool), remove func(T) error) error {
	items, err := resource.Collect(list)
	if isUnsupported(err) {
		return nil
	}
	errs := []error{err}
	for _, item := range items {
		if err := remove(item); err != nil && !isNotFound(err) {
			errs = append(errs, fmt.Errorf("clean up an %s: %w", what, err))
		}
	}
	return errors.Join(errs...)
}

// inventory lists what the backend holds of the lane, sorted.
func (l *lane) inventory(ctx context.Context) ([]string, error) {
	return l.s.inventory(ctx, l.namespace)
}

// inventory lists what the backend holds of a namespace, sorted.
func (s *suite) inventory(ctx context.Context, namespace string) ([]string, error) {
	if s.h.Inventory == nil {
		return nil, nil
	}
	items, err := s.h.Inventory(ctx, namespace)
	slices.Sort(items)
	return items, err
}

// check fails the case where the backend holds other things than before it.
// Backends collect garbage on their own time, so they are given some.
func (l *lane) check(t T, before []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), l.s.h.Patience/3)
	defer cancel()
	var after []string
	same := eventually(ctx, func() bool {
		// The last look may begin just before the time is over.
		look, cancel := context.WithTimeout(context.WithoutCancel(ctx), l.s.h.Patience)
		defer cancel()
		var err error
		if after, err = l.inventory(look); err != nil {
			t.Errorf("inventory after the case: %v", err)
			return true
		}
		// A case that failed has told what is wrong; waiting says no more.
		return slices.Equal(before, after) || t.Failed()
	})
	if !same {
		l.spoilt = true
		t.Errorf("the case left something at the backend:%s", difference(before, after))
	}
}

// difference shows two sorted lists as what is missing and what is new.
func difference(before, after []string) string {
	var b strings.Builder
	for len(before)+len(after) > 0 {
		switch {
		case len(after) == 0 || len(before) > 0 && before[0] < after[0]:
			fmt.Fprintf(&b, "\n\t- %s", before[0])
			before = before[1:]
		case len(before) == 0 || after[0] < before[0]:
			fmt.Fprintf(&b, "\n\t+ %s", after[0])
			after = after[1:]
		default:
			before, after = before[1:], after[1:]
		}
	}
	return b.String()
}

// eventually asks until the answer is yes or the context ends, and reports
// which. It is for what a backend or the runtime does without telling.
func eventually(ctx context.Context, ask func() bool) bool {
	for pause := time.Millisecond; ; pause = min(2*pause, 100*time.Millisecond) {
		if ask() {
			return true
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false
		case <-timer.C:
		}
	}
}
