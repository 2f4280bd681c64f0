package containerd

import (
	"context"
	"errors"
	"iter"
	"strconv"
	"strings"
	"sync"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// List implements compute.Instances. It makes two calls, whatever the number of
// instances, and two more where one was killed and nobody has asked why.
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
	dead := make(map[string]string)
	for _, k := range all {
		if killedTask(k) {
			dead[k.container.ID] = runOf(k.task)
		}
	}
	outOfMemory := s.p.outOfMemory(ctx, dead)
	infos, supervised := make([]compute.Info, 0, len(all)), s.p.supervised()
	for _, k := range all {
		yes, known := outOfMemory[k.container.ID]
		if dead[k.container.ID] != "" && !known {
			// The task was reaped meanwhile, and its record says it.
			again, err := s.p.loadWhole(ctx, k.container.ID)
			if errors.Is(err, errdefs.ErrNotFound) {
				continue
			}
			if err == nil {
				k = again
			}
		}
		info := s.p.info(k, yes)
		s.p.judge(k, &info, supervised)
		if filter.Matches(info) {
			infos = append(infos, info)
		}
	}
	return infos, nil
}

// readAll reads every container that may match, and all tasks.
func (p *Provider) readAll(ctx context.Context, filter compute.Filter) ([]*known, error) {
	var all []*known
	decode, decoded := p.decoding()
	err := p.eachContainer(ctx, func(c containers.Container) {
		k := &known{container: c}
		all = append(all, k)
		decode <- k
	}, filters(filter)...)
	close(decode)
	defer decoded()
	if err != nil {
		return nil, translate(ctx, err)
	}
	if len(all) == 0 {
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
	decoded()
	there := all[:0]
	for _, k := range all {
		k.task, k.neverRan = tasks[k.container.ID], !folders[k.container.ID]
		k, err := p.reread(ctx, k)
		if errors.Is(err, errdefs.ErrNotFound) {
			// It was deleted meanwhile.
			continue
		}
		if err != nil {
			return nil, err
		}
		there = append(there, k)
	}
	return there, nil
}

// decoding decodes records on the side, while containerd is asked for more. Decoded
// waits for the end of it, once the channel is closed.
func (p *Provider) decoding() (decode chan<- *known, decoded func()) {
	queue := make(chan *known, 64)
	var over sync.WaitGroup
	over.Go(func() {
		for k := range queue {
			// One record that cannot be read must not hide the others.
			k.decode(p)
		}
	})
	return queue, over.Wait
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

// filters translates what containerd can select by; all is checked again here.
// Each of the texts is a way to match. That an instance is managed is not among
// them: nearly all in a namespace of ours are, and to look costs more.
func filters(f compute.Filter) []string {
	var both []string
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
