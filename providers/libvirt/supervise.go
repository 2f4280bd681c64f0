//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// supervisorPath is the lock of whoever supervises the namespace of the hypervisor.
func (p *Provider) supervisorPath() string {
	hypervisor := p.opts.URI
	switch {
	case p.daemon != nil:
		hypervisor = p.opts.Managed.Dir
	case p.inProcess():
		hypervisor += " " + strconv.Itoa(os.Getpid())
	}
	sum := sha256.Sum256([]byte(hypervisor))
	return filepath.Join(p.opts.StateDir, fmt.Sprintf("%s-%x.supervisor", p.opts.Namespace, sum[:8]))
}

// supervised reports whether somebody on this host supervises the namespace: another
// value does where this one waits for its turn.
func (p *Provider) supervised() bool { return p.opts.Supervise || supervise.Runs(p.supervisorPath()) }

// superviseNamespace begins to supervise, where that is this value's task.
func (p *Provider) superviseNamespace() error {
	if !p.opts.Supervise {
		return nil
	}
	return atField("stateDir", supervise.Begin(p.alive, p.supervisorPath(), target{p}, p.opts.Logger, &p.supervising))
}

// target is what a supervisor acts on.
type target struct{ p *Provider }

var _ supervise.Target = target{}

// Watch implements supervise.Target.
func (t target) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		source := watching.Source{Refresh: t.p.feed.refresh, Closed: t.p.alive.Done(), Err: errClosed}
		opts := resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}
		if left, err := t.p.board.Range(ctx, source, opts, yield); err != nil && !left {
			yield(resource.Event{}, err)
		}
	}
}

// All implements supervise.Target.
func (t target) All(ctx context.Context) ([]supervise.Status, error) {
	all, err := t.p.known(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]supervise.Status, 0, len(all))
	for _, d := range all {
		if t.p.ours(d.facts) && d.owned() == nil {
			out = append(out, t.p.withExit(ctx, d).status())
		}
	}
	return out, nil
}

// Look implements supervise.Target.
func (t target) Look(ctx context.Context, id string) (supervise.Status, error) {
	d, err := t.p.handle(id, "").load(ctx)
	if err != nil {
		return supervise.Status{}, err
	}
	if d.owned() != nil {
		return supervise.Status{}, errNotFound()
	}
	return t.p.withExit(ctx, d).status(), nil
}

// Restart implements supervise.Target.
func (t target) Restart(ctx context.Context, id string, due func(supervise.Status) (int, bool)) error {
	i := t.p.handle(id, "")
	return i.change(ctx, "restart", func(ctx context.Context) error {
		begun := false
		err := i.p.locked(ctx, id, func() error {
			d, err := i.loadOwned(ctx, "")
			if err != nil {
				return err
			}
			restarts, ok := due(d.status())
			if !ok {
				return nil
			}
			begun = true
			return i.withVolumes(ctx, func(d *domain) error { return i.start(ctx, d, compute.StartOptions{}, restarts) })
		})
		if err == nil && begun {
			i.p.feed.settle(ctx, id, compute.Running)
		}
		return err
	})
}

// Check implements supervise.Target.
func (t target) Check(ctx context.Context, id string, probe compute.Probe, ports []network.Port) error {
	return compute.Check(ctx, t.p.handle(id, ""), probe, ports)
}

// Note implements supervise.Target.
func (t target) Note(ctx context.Context, id, run string, resets int, found supervise.Findings) error {
	number, err := strconv.Atoi(run)
	if err != nil {
		return err
	}
	return t.p.handle(id, "").found(ctx, foundRecord{number, resets, found})
}

// found writes down what was found out about a run. Nobody else does.
func (i *instance) found(ctx context.Context, found foundRecord) error {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return i.fail("note health", err)
	}
	defer done()
	return i.fail("note health", i.p.write(ctx, i.id, metaFound, found))
}

// status is what a supervisor knows of an instance.
func (d *domain) status() supervise.Status {
	out := supervise.Status{ID: d.id, State: d.state}
	f, run := d.facts, d.lastRun()
	if run == 0 {
		return out
	}
	out.Run = strconv.Itoa(run)
	if f.run.Run == run {
		out.Started, out.Restarts = f.run.Started, f.run.Restarts
	}
	if d.state == compute.Stopped || d.state == compute.Failed {
		e := f.exit
		if d.endedRun() != run {
			now := d.exitOf(run, time.Time{})
			e = &now
		}
		exit := e.exit()
		out.Exit, out.Again = &exit, e.Again && f.stop.Run != run
	}
	if f.reset.Run == run {
		out.Resets = f.reset.Resets
	}
	if f.found.Run == run && f.found.Resets == out.Resets {
		out.Found = f.found.Findings
	}
	spec := f.record.spec
	out.Policy, out.Health, out.Readiness, out.Ports = spec.Restart, spec.Health, spec.Readiness, spec.Ports
	return out
}

// policed reports whether the instance has a policy by which runs follow others.
func (d *domain) policed() bool {
	if d.facts.record == nil {
		return false // nobody begins a run of what cannot be read
	}
	mode := d.facts.record.spec.Restart.Mode
	return mode != "" && mode != compute.RestartNever
}

// forgo writes down that no other run follows the present one, or the last. Whoever
// begins another looks at that under the same lock, so that none begins when it has
// returned. A Stop that gets no further leaves a run that goes on, and that nothing
// follows when it ends by itself: that is nearer to what was asked for than a machine
// that comes back.
func (i *instance) forgo(ctx context.Context, revision string) (d *domain, err error) {
	err = i.p.locked(ctx, i.id, func() error {
		if d, err = i.loadOwned(ctx, revision); err != nil {
			return err
		}
		now := d.status()
		if now.Run == "" || d.facts.stop.Run == d.lastRun() || now.Exit != nil && !now.Again {
			return nil
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		d.facts.stop.Run = d.lastRun()
		return i.p.write(ctx, i.id, metaStop, d.facts.stop)
	})
	return d, err
}

// noteReset writes down that the guest of an instance with probes is a new one.
func (i *instance) noteReset(ctx context.Context) error {
	d, err := i.loadOwned(ctx, "")
	if err != nil {
		return err
	}
	s := d.status()
	if s.Health == nil && s.Readiness == nil {
		return nil
	}
	return i.p.write(ctx, i.id, metaReset, resetRecord{d.lastRun(), s.Resets + 1})
}

// judge completes what is told of an instance by what probes have found out.
func (d *domain) judge(info *compute.Info, supervised bool) {
	if info.Supervised = supervised; supervised && d.facts.record != nil {
		d.status().Judge(info)
	}
}
