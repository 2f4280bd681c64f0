package containerd

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/sweeping"
	"github.com/univirt/univirt/resource"
)

var _ univirt.Sweeper = (*Provider)(nil)

// The kinds of what a sweep removes beside instances.
const (
	// kindTask is a task whose start was never completed, or whose run ended and
	// that nobody deleted. The reference is otherwise its instance's.
	kindTask resource.Kind = "task"
	// kindLease is a lease of containerd, with what only it kept.
	kindLease resource.Kind = "lease"
	// kindLogs is the folder of an instance that is no more.
	kindLogs resource.Kind = "logs"
	// kindGeneration is what a dead provider value left in the state folder.
	kindGeneration resource.Kind = "generation"
)

const (
	// unreaped is how long a task may stay that has ended, before nobody is
	// thought to come for it.
	unreaped = time.Minute
)

// Sweep implements univirt.Sweeper. It reads containers, tasks, root filesystems
// and leases in one call each. What has no owner on record (folders, and tasks
// without a container) is swept where the options name no owner.
func (p *Provider) Sweep(ctx context.Context, opts univirt.SweepOptions) (univirt.SweepReport, error) {
	ref := p.ref("", "", "")
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return univirt.SweepReport{}, resource.Fail("sweep", ref, err)
	}
	defer done()
	if err := opts.Validate().Err(); err != nil {
		return univirt.SweepReport{}, resource.Fail("sweep", ref, err)
	}
	s := newSweep(p, opts)
	err = s.run(ctx)
	return s.Report(), resource.Fail("sweep", ref, translate(ctx, err))
}

// leftovers lists what is in the making and whose maker is dead.
func (p *Provider) leftovers(ctx context.Context) ([]resource.Ref, error) {
	return sweeping.Lasting(func() ([]resource.Ref, error) {
		s := newSweep(p, univirt.SweepOptions{DryRun: true})
		s.unfinished = true
		err := s.run(ctx)
		return s.Report().Removed, translate(ctx, err)
	})
}

// sweep is one sweep.
type sweep struct {
	*sweeping.Sweep
	p    *Provider
	opts univirt.SweepOptions
	// unfinished leaves out what is finished.
	unfinished bool

	all    []containers.Container
	here   map[string]bool // the IDs of the containers
	tasks  map[string]*task.Process
	living map[string]bool // generations, as far as they were asked about
}

func newSweep(p *Provider, opts univirt.SweepOptions) *sweep {
	return &sweep{Sweep: sweeping.New(opts), p: p, opts: opts, living: make(map[string]bool)}
}

func (s *sweep) run(ctx context.Context) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{
		s.instances, s.startedTasks, s.lostTasks, s.roots, s.leases, s.folders, s.generations,
	} {
		// A lease keeps what an earlier step removes.
		if err := s.Step(ctx, step); err != nil {
			return err
		}
		if done := ended(ctx); done != nil {
			return done
		}
	}
	return nil
}

func (s *sweep) read(ctx context.Context) (err error) {
	if s.all, err = s.p.containers(ctx); err != nil {
		return err
	}
	s.here = make(map[string]bool, len(s.all))
	for _, c := range s.all {
		s.here[c.ID] = true
	}
	s.tasks, err = s.p.loadTasks(ctx)
	return err
}

// alive reports whether a generation's value lives.
func (s *sweep) alive(generation string) bool {
	living, asked := s.living[generation]
	if !asked {
		living = s.p.state.generations().Alive(generation)
		s.living[generation] = living
	}
	return living
}

// take removes one thing and reports it.
func (s *sweep) take(ctx context.Context, ref resource.Ref, remove func() error) {
	s.Take(ctx, ref, func() error { return translate(ctx, remove()) })
}

func (s *sweep) decoded(c containers.Container) *known {
	k := &known{container: c}
	k.decode(s.p)
	return k
}

// mine reports whether the sweep is about an instance. Whose one is that cannot be read
// is not known.
func (s *sweep) mine(k *known) bool {
	if k.fault != nil {
		return s.opts.Owner == ""
	}
	return k.record != nil && s.Mine(k.record.Owner.Name)
}

// instances takes what is past its lifetime, or all.
func (s *sweep) instances(ctx context.Context) error {
	now := time.Now()
	for _, c := range s.all {
		k := s.decoded(c)
		if !s.mine(k) || s.unfinished {
			continue
		}
		r := k.record
		if !s.opts.All && (k.fault != nil || !r.spec.Lifetime.Expired(now, s.alive(r.Owner.Generation))) {
			continue
		}
		// Its task goes with it.
		delete(s.tasks, c.ID)
		s.take(ctx, s.p.ref(resource.KindInstance, r.Name, c.ID), func() error {
			return s.p.deleteInstance(ctx, c.ID, compute.DeleteOptions{Force: true})
		})
	}
	return nil
}

// startedTasks takes the tasks of starts that nobody completes, and of runs
// that ended and that nobody comes for.
func (s *sweep) startedTasks(ctx context.Context) error {
	for _, c := range s.all {
		t := s.tasks[c.ID]
		if t == nil {
			continue
		}
		k := s.decoded(c)
		if !s.mine(k) {
			continue
		}
		switch t.Status {
		case task.Status_CREATED:
			if s.p.state.changing(c.ID) {
				continue // somebody is about to start it
			}
		case task.Status_STOPPED:
			if s.unfinished || t.ExitedAt == nil || time.Since(t.ExitedAt.AsTime()) < unreaped {
				continue
			}
		default:
			continue
		}
		s.take(ctx, s.p.ref(kindTask, k.record.Name, c.ID), func() error {
			return s.p.clear(ctx, k)
		})
	}
	return nil
}

// lostTasks takes tasks of ours whose container is gone.
func (s *sweep) lostTasks(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for id, t := range s.tasks {
		if s.here[id] || runOf(t) == "" || s.p.state.changing(id) {
			continue
		}
		s.take(ctx, s.p.ref(kindTask, "", id), func() error {
			return s.p.locked(ctx, id, func() error {
				if !s.p.gone(ctx, id) {
					return resource.Errorf(errdefs.ErrNotFound, "it has a container")
				}
				_, err := s.p.endTask(ctx, id, true)
				return err
			})
		})
	}
	return nil
}

// roots takes the root filesystems of instances that were never finished, and
// of those that were not deleted to the end.
func (s *sweep) roots(ctx context.Context) error {
	var found []snapshots.Info
	err := s.p.client.SnapshotService(s.p.snapshotter).Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		found = append(found, info)
		return nil
	}, "labels."+strconv.Quote(labelID))
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	for _, info := range found {
		name, ok := nameOfKey(info.Name)
		id := s.p.unfinished(info)
		if !ok || id == "" || s.here[id] || !s.Mine(info.Labels[labelOwner]) {
			continue
		}
		s.take(ctx, s.p.ref(resource.KindInstance, name, id), func() error {
			free, err := s.p.clearName(ctx, name)
			if err == nil && !free {
				err = resource.Errorf(errdefs.ErrNotFound, "it is in use by now")
			}
			return err
		})
	}
	return nil
}

// used reports whether a lease is that of something that is being made.
func (s *sweep) used(l leases.Lease) bool {
	generation := l.Labels[labelGeneration]
	if generation == s.p.owner.Generation && strings.HasPrefix(l.ID, imageLease) {
		// This value knows what it is making, and the other is what it could not
		// clean up.
		return s.p.making.has(l.ID)
	}
	return s.alive(generation)
}

// leases takes the leases of the dead, and with them what only they kept.
func (s *sweep) leases(ctx context.Context) error {
	manager := s.p.client.LeasesService()
	all, err := manager.List(ctx, "labels."+strconv.Quote(labelGeneration))
	if err != nil {
		return err
	}
	for _, l := range all {
		if s.used(l) || !s.Mine(l.Labels[labelOwner]) {
			continue
		}
		s.take(ctx, s.p.ref(kindLease, "", l.ID), func() error {
			return manager.Delete(ctx, l, leases.SynchronousDelete)
		})
	}
	return nil
}

// folders takes what is kept of instances that are no more.
func (s *sweep) folders(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	entries, err := os.ReadDir(s.p.state.instances())
	if err != nil {
		return err
	}
	for _, e := range entries {
		id := e.Name()
		if was, ok := strings.CutPrefix(id, goneMark); ok && !s.unfinished {
			// Whoever removes it may live: two do no harm.
			s.take(ctx, s.p.ref(kindLogs, "", was), func() error {
				return os.RemoveAll(s.p.state.instance(id))
			})
			continue
		}
		if !resource.IsID(id) || s.here[id] || s.p.making.has(id) || s.p.state.changing(id) {
			continue
		}
		s.take(ctx, s.p.ref(kindLogs, "", id), func() error {
			removed := false
			// It removes the folder where there is no container.
			err := s.p.lockedThere(ctx, id, func() error {
				if removed = s.p.gone(ctx, id); removed {
					return errdefs.ErrNotFound
				}
				return nil
			})
			switch {
			case removed && errors.Is(err, errdefs.ErrNotFound):
				return nil
			case err == nil:
				err = resource.Errorf(errdefs.ErrNotFound, "it is in use by now")
			}
			return err
		})
	}
	return nil
}

// generations takes the marks and streams of the dead.
func (s *sweep) generations(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	dead, err := s.p.state.generations().Dead()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(s.p.state.fifos())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if resource.IsID(e.Name()) && !s.alive(e.Name()) && !slices.Contains(dead, e.Name()) {
			dead = append(dead, e.Name())
		}
	}
	for _, generation := range dead {
		s.take(ctx, s.p.ref(kindGeneration, "", generation), func() error {
			return s.p.state.generations().Forget(generation, func() error { return s.p.state.removeFIFOs(generation) })
		})
	}
	return nil
}

// changing reports whether somebody holds the lock of an instance.
func (s stateDir) changing(id string) bool {
	held, err := filelock.Held(filepath.Join(s.instance(id), "lock"))
	return held || err != nil && !errors.Is(err, os.ErrNotExist)
}
