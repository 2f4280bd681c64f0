package containerd

import (
	"context"
	"strconv"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Info implements compute.Instance. It makes two calls.
func (i *instance) Info(ctx context.Context) (compute.Info, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return compute.Info{}, i.fail("info", err)
	}
	defer done()
	k, err := i.load(ctx)
	if err == nil {
		k.task, err = i.p.loadTask(ctx, i.id)
	}
	if err == nil {
		k, err = i.p.reread(ctx, k)
	}
	if err != nil {
		return compute.Info{}, i.fail("info", err)
	}
	outOfMemory := false
	if killedTask(k) {
		var known bool
		if outOfMemory, known = i.p.outOfMemory(ctx, map[string]string{i.id: runOf(k.task)})[i.id]; !known {
			// The task was reaped meanwhile, and its record says it.
			if k, err = i.p.loadWhole(ctx, i.id); err != nil {
				return compute.Info{}, i.fail("info", err)
			}
		}
	}
	info := i.p.info(k, outOfMemory)
	i.p.judge(k, &info, i.p.supervised())
	return info, nil
}

// Get implements compute.Instances. It makes one call.
func (s instances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	ref := s.p.ref(resource.KindInstance, idOrName, "")
	byID := resource.IsID(idOrName)
	if byID {
		ref.Name, ref.ID = "", idOrName
	}
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	defer done()
	if byID {
		i := s.p.handle(idOrName, "")
		if _, err := i.load(ctx); err != nil {
			return nil, resource.Fail("get", ref, err)
		}
		return i, nil
	}
	if reason := resource.CheckName(idOrName); reason != "" {
		return nil, resource.Fail("get", s.p.ref(resource.KindInstance, "", ""),
			resource.Faults{{Field: "idOrName", Reason: reason}})
	}
	found, err := s.p.containers(ctx, byLabel(labelName, idOrName))
	if err != nil {
		return nil, resource.Fail("get", ref, translate(ctx, err))
	}
	for _, c := range found {
		if c.Extensions[extension] != nil {
			return s.p.handle(c.ID, idOrName), nil
		}
	}
	return nil, resource.Fail("get", ref, resource.Errorf(errdefs.ErrNotFound, "no such instance"))
}

// killedTask reports whether the instance has a task that ended by SIGKILL, the
// one case in which it must be asked whether memory ran out.
func killedTask(k *known) bool {
	return k.task != nil && stateOf(k.task) == compute.Stopped && k.task.ExitStatus == killed
}

// info translates what is known of an instance. It makes no call.
func (p *Provider) info(k *known, outOfMemory bool) compute.Info {
	c, r := k.container, k.record
	out := compute.Info{
		Ref:     p.ref(resource.KindInstance, "", c.ID),
		Kind:    compute.Container,
		State:   stateOf(k.task),
		Created: c.CreatedAt,
		Level:   compute.LevelCreated,
	}
	switch {
	case r == nil:
		p.foreign(c, &out)
	case k.fault != nil:
		out.Ref.Name, out.Labels, out.Managed, out.Reason = r.Name, r.spec.Labels, true, k.fault.Error()
		out.Image = p.ref(resource.KindImage, c.Image, "")
		out.Revision = strconv.Itoa(r.Revision)
	default:
		spec := r.spec
		out.Ref.Name, out.Labels = r.Name, spec.Labels
		out.Managed, out.Owner, out.Spec = true, r.Owner, &spec
		out.Image = p.ref(resource.KindImage, r.Image, r.ImageID)
		out.Annotations = spec.Annotations
		out.Revision = strconv.Itoa(r.Revision)
	}
	last, found := lastExit(c)
	if found {
		exit := last.exit()
		out.Exit, out.Run, out.Runs = &exit, last.Run, last.Runs
	}
	switch run := runOf(k.task); {
	case k.task == nil:
		if lost := p.lostRun(k); lost != "" {
			// The run's task is gone, and with it how it ended.
			out.Run, out.Exit = lost, &compute.Exit{Run: lost, Started: runStarted(lost)}
			out.Runs++
		}
	case out.State == compute.Stopped && run != out.Run:
		exit := exitFrom(k.task, outOfMemory).exit()
		out.Run, out.Exit = run, &exit
		out.Runs++
	case out.State != compute.Stopped:
		out.Run = run
		out.Runs++
		out.Started = runStarted(run)
		out.PID = int(k.task.Pid)
	}
	if out.Exit != nil && out.Exit.Run == out.Run {
		out.Started, out.Finished = out.Exit.Started, out.Exit.Finished
	}
	if k.owned() == nil && out.State.Active() {
		out.Pending = resourcePaths(resource.Diff(r.live(out.Run), r.spec.Resources))
	}
	switch out.State {
	case compute.Running:
		out.Level = compute.LevelAgent
	case compute.Paused:
		out.Level = compute.LevelRunning
	}
	return out
}

// lostRun returns the last run where neither a task nor the container says how
// it ended. It makes no call.
func (p *Provider) lostRun(k *known) string {
	if k.task != nil || k.record == nil || k.neverRan {
		return ""
	}
	if !k.sought {
		k.sought = true
		last, _ := lastExit(k.container)
		if run := p.lastRun(k.container.ID); run > last.Run {
			k.lost = run
		}
	}
	return k.lost
}

// reread reads an instance once more where a run seems lost: its exit is written
// into the container before the task is deleted, and both may have happened
// between the reading of the one and of the other.
func (p *Provider) reread(ctx context.Context, k *known) (*known, error) {
	if p.lostRun(k) == "" {
		return k, nil
	}
	return p.loadWhole(ctx, k.container.ID)
}

// loadWhole reads the container and the task of an instance.
func (p *Provider) loadWhole(ctx context.Context, id string) (*known, error) {
	k, err := p.loadContainer(ctx, id)
	if err == nil {
		k.task, err = p.loadTask(ctx, id)
	}
	return k, err
}

// foreign fills in what is known of a container that this module did not make.
func (p *Provider) foreign(c containers.Container, out *compute.Info) {
	if resource.CheckName(c.ID) == "" {
		out.Ref.Name = c.ID
	}
	out.Image = p.ref(resource.KindImage, c.Image, "")
	out.Labels = userLabels(c.Labels)
}
