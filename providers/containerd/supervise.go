package containerd

import (
	"context"
	"encoding/json"
	"iter"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/containers"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// What a supervisor has to know lies with the containers, so that another one goes on
// where it ended: how many restarts led to a run in the run's token, what a run's end
// asked for in the record of its exit, and in labels which run a Stop has ended and what
// probes have found out.

// supervised reports whether somebody on this host supervises the namespace: another
// value does where this one waits for its turn.
func (p *Provider) supervised() bool { return p.opts.Supervise || supervise.Runs(p.state.supervisor()) }

// superviseNamespace begins to supervise, where that is this value's task.
func (p *Provider) superviseNamespace() error {
	if !p.opts.Supervise {
		return nil
	}
	return supervise.Begin(p.alive, p.state.supervisor(), target{p}, p.opts.Logger, &p.supervising)
}

// target is what a supervisor acts on.
type target struct{ p *Provider }

var _ supervise.Target = target{}

// Watch implements supervise.Target.
func (t target) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return t.p.Watch(ctx, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}})
}

// All implements supervise.Target.
func (t target) All(ctx context.Context) ([]supervise.Status, error) {
	ctx, done, err := t.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	all, err := t.p.readAll(ctx, compute.Filter{})
	if err != nil {
		return nil, err
	}
	out := make([]supervise.Status, 0, len(all))
	for _, k := range all {
		if k.owned() == nil {
			out = append(out, t.p.status(k))
		}
	}
	return out, nil
}

// Look implements supervise.Target.
func (t target) Look(ctx context.Context, id string) (supervise.Status, error) {
	ctx, done, err := t.p.begin(ctx)
	if err != nil {
		return supervise.Status{}, err
	}
	defer done()
	k, err := t.p.loadOwned(ctx, id)
	if err != nil {
		return supervise.Status{}, err
	}
	return t.p.status(k), nil
}

// loadOwned reads the container and the task of an instance that this module made, and
// once more where a run seems lost.
func (p *Provider) loadOwned(ctx context.Context, id string) (*known, error) {
	k, err := p.loadWhole(ctx, id)
	if err == nil {
		err = k.owned()
	}
	if err == nil {
		k, err = p.reread(ctx, k)
	}
	return k, err
}

// Restart implements supervise.Target.
func (t target) Restart(ctx context.Context, id string, due func(supervise.Status) (int, bool)) error {
	i := t.p.handle(id, "")
	return i.change(ctx, "restart", func(ctx context.Context) error {
		return i.p.lockedThere(ctx, id, func() error {
			k, err := i.p.loadOwned(ctx, id)
			if err != nil {
				return err
			}
			restarts, ok := due(i.p.status(k))
			if !ok {
				return nil
			}
			return i.begin(ctx, k, restarts)
		})
	})
}

// Check implements supervise.Target.
func (t target) Check(ctx context.Context, id string, probe compute.Probe, ports []network.Port) error {
	return compute.Check(ctx, t.p.handle(id, ""), probe, ports)
}

// Note implements supervise.Target. Containers have no reset.
func (t target) Note(ctx context.Context, id, run string, _ int, found supervise.Findings) error {
	ctx, done, err := t.p.begin(ctx)
	if err != nil {
		return err
	}
	defer done()
	text, err := json.Marshal(foundRecord{run, found})
	if err != nil {
		return err
	}
	// An update of the instance writes all labels.
	return t.p.lockedThere(ctx, id, func() error { return t.p.setLabel(ctx, id, labelFound, string(text)) })
}

// setLabel writes one of our labels of a container.
func (p *Provider) setLabel(ctx context.Context, id, label, value string) error {
	_, err := p.client.ContainerService().Update(ctx,
		containers.Container{ID: id, Labels: map[string]string{label: value}}, "labels."+label)
	return translate(ctx, err)
}

// foundRecord is what the supervisor has found out about a run.
type foundRecord struct {
	Run string `json:"run"`
	supervise.Findings
}

// readFound reads what was found out; the zero value where there is nothing.
func readFound(labels map[string]string) foundRecord {
	var found foundRecord
	if text := labels[labelFound]; text == "" || json.Unmarshal([]byte(text), &found) != nil {
		return foundRecord{}
	}
	return found
}

// status is what a supervisor knows of an instance.
func (p *Provider) status(k *known) supervise.Status {
	info := p.info(k, false) // whether memory ran out makes no difference
	out := supervise.Status{ID: k.container.ID, State: info.State, Run: info.Run}
	if out.Run == "" {
		return out
	}
	out.Started, out.Restarts = runStarted(out.Run), runRestarts(out.Run)
	spec := k.record.spec
	if info.Exit != nil && info.Exit.Run == out.Run {
		out.Exit, out.Again = info.Exit, k.again(*info.Exit)
		if last, _ := lastExit(k.container); last.Run == out.Run {
			out.Again = last.Again && !k.forgone(out.Run)
		}
	}
	if found := readFound(k.container.Labels); found.Run == out.Run {
		out.Found = found.Findings
	}
	out.Policy, out.Health, out.Readiness, out.Ports = spec.Restart, spec.Health, spec.Readiness, spec.Ports
	return out
}

// again says of the end of a run whether another one is to follow, by what the spec
// asks for now.
func (k *known) again(exit compute.Exit) bool {
	return k.record != nil && !k.forgone(exit.Run) && supervise.Wants(k.record.spec.Restart, exit)
}

// forgone reports whether a Stop has ended a run, or was about to.
func (k *known) forgone(run string) bool { return k.container.Labels[labelStop] == run }

// policed reports whether the instance has a policy by which runs follow others.
func (k *known) policed() bool {
	mode := k.record.spec.Restart.Mode
	return mode != "" && mode != compute.RestartNever
}

// forgo writes down that no other run follows the present one, or the last. Whoever
// begins another looks at that under the same lock, so that none begins when it has
// returned. A Stop that gets no further leaves a run that goes on, and that nothing
// follows when it ends by itself: that is nearer to what was asked for than a container
// that comes back. It returns the instance as it is then.
func (i *instance) forgo(ctx context.Context, k *known) (*known, error) {
	if k.fault != nil {
		return k, nil // nobody begins a run of what cannot be read
	}
	if !k.policed() {
		if last, found := lastExit(k.container); !found || !last.Again {
			return k, nil
		}
	}
	err := i.p.locked(ctx, i.id, func() (err error) {
		if k, err = i.p.loadOwned(ctx, i.id); err != nil {
			return err
		}
		now := i.p.status(k)
		if now.Run == "" || k.forgone(now.Run) || now.Exit != nil && !now.Again {
			return nil
		}
		if err := givenUp(ctx); err != nil {
			return err
		}
		if err := i.p.setLabel(ctx, i.id, labelStop, now.Run); err != nil {
			return err
		}
		if k.container.Labels == nil {
			k.container.Labels = map[string]string{}
		}
		k.container.Labels[labelStop] = now.Run
		return nil
	})
	return k, err
}

// judge completes what is told of an instance by what probes have found out.
func (p *Provider) judge(k *known, info *compute.Info, supervised bool) {
	if info.Supervised = supervised; supervised && k.owned() == nil {
		p.status(k).Judge(info)
	}
}

// runRestarts is how many restarts of a row led to a run.
func runRestarts(run string) int {
	_, rest, _ := strings.Cut(run, "-")
	_, number, _ := strings.Cut(rest, "-")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 {
		return 0
	}
	return n
}
