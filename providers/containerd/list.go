package containerd

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// List implements compute.Instances. It makes two calls, whatever the number of
// instances, and a third where one was killed and nobody has asked why.
func (s instances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return func(yield func(compute.Info, error) bool) {
		all, err := s.list(ctx, filter)
		if err != nil {
			yield(compute.Info{}, resource.Fail("list", s.p.ref(resource.KindInstance, "", ""), err))
			return
		}
		for _, info := range all {
			if !yield(info, nil) {
				return
			}
		}
	}
}

func (s instances) list(ctx context.Context, filter compute.Filter) ([]compute.Info, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := filter.Validate().Err(); err != nil {
		return nil, err
	}
	all, err := s.p.readAll(ctx, filter)
	if err != nil {
		return nil, err
	}
	dead := make(map[string]bool)
	for _, k := range all {
		if killedTask(k) {
			dead[k.container.ID] = true
		}
	}
	outOfMemory := s.p.outOfMemory(ctx, dead)
	infos := make([]compute.Info, 0, len(all))
	for _, k := range all {
		yes, known := outOfMemory[k.container.ID]
		if dead[k.container.ID] && !known {
			// The task was reaped meanwhile, and its record says it.
			if again, err := s.p.loadWhole(ctx, k.container.ID); err == nil {
				k = again
			}
		}
		info := s.p.info(k, yes)
		if k.fault != nil {
			info.Managed, info.State, info.Reason = true, compute.Unknown, k.fault.Error()
			info.Ref.Name = k.container.Labels[labelName]
		}
		if filter.Matches(info) {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// readAll reads every container that may match, and all tasks.
func (p *Provider) readAll(ctx context.Context, filter compute.Filter) ([]*known, error) {
	found, err := p.client.ContainerService().List(ctx, filters(filter)...)
	if err != nil {
		return nil, translate(ctx, err)
	}
	if len(found) == 0 {
		return nil, nil
	}
	// Reading one folder is cheaper than looking for each instance's. It comes
	// first, so that a run that begins meanwhile is not taken for a lost one.
	folders, err := p.state.folders()
	if err != nil {
		return nil, err
	}
	tasks, err := p.loadTasks(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]*known, 0, len(found))
	for _, c := range found {
		k := &known{container: c, task: tasks[c.ID], neverRan: !folders[c.ID]}
		// One record that cannot be read must not hide the others.
		k.record, k.fault = p.records.read(c)
		k, err := p.reread(ctx, k)
		if errors.Is(err, errdefs.ErrNotFound) {
			// It was deleted meanwhile.
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, nil
}

// loadTasks reads all tasks of the namespace, by container.
func (p *Provider) loadTasks(ctx context.Context) (map[string]*task.Process, error) {
	answer, err := p.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	if err != nil {
		return nil, translate(ctx, err)
	}
	tasks := make(map[string]*task.Process, len(answer.Tasks))
	for _, t := range answer.Tasks {
		tasks[taskID(t)] = t
	}
	return tasks, nil
}

// filters translates what containerd can select by; the rest is checked again
// here. Each of the texts is a way to match.
func filters(f compute.Filter) []string {
	var both []string
	if !f.Unmanaged {
		both = append(both, "labels."+strconv.Quote(labelName))
	}
	for _, r := range f.Selector.Requirements() {
		key, value := r.Key, ""
		if len(r.Values) > 0 {
			value = r.Values[0]
		}
		key, value = storedLabel(key, value)
		label := "labels." + strconv.Quote(key)
		switch r.Operator {
		case resource.OpEquals:
			both = append(both, label+"=="+strconv.Quote(value))
		case resource.OpNotEquals:
			both = append(both, label+"!="+strconv.Quote(value))
		case resource.OpExists:
			both = append(both, label)
		}
	}
	var either []string
	switch {
	case len(f.IDs) > 0:
		for _, id := range f.IDs {
			either = append(either, "id=="+strconv.Quote(id))
		}
	case len(f.Names) > 0 && !f.Unmanaged:
		for _, name := range f.Names {
			either = append(either, byLabel(labelName, name))
		}
	}
	if len(either) == 0 {
		if len(both) == 0 {
			return nil
		}
		return []string{strings.Join(both, ",")}
	}
	for i := range either {
		either[i] = strings.Join(append([]string{either[i]}, both...), ",")
	}
	return either
}
