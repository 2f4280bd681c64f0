package containerd

import (
	"context"
	"maps"
	"slices"
	"strconv"

	stats1 "github.com/containerd/cgroups/v3/cgroup1/stats"
	stats2 "github.com/containerd/cgroups/v3/cgroup2/stats"
	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types"
	"github.com/containerd/typeurl/v2"
)

// metrics reads the counters of tasks, all in one call; no ID means every one.
func (p *Provider) metrics(ctx context.Context, ids ...string) ([]*types.Metric, error) {
	request := &tasksapi.MetricsRequest{}
	for _, id := range ids {
		request.Filters = append(request.Filters, "id=="+strconv.Quote(id))
	}
	answer, err := p.client.TaskService().Metrics(ctx, request)
	if err != nil {
		return nil, translate(ctx, err)
	}
	return answer.Metrics, nil
}

// outOfMemory reports for each of these runs, by container, whether a process of
// it was killed for want of memory. It has those of which it is known: counters name
// only the container, and are those of the run if its task is still there afterwards.
func (p *Provider) outOfMemory(ctx context.Context, runs map[string]string) map[string]bool {
	if len(runs) == 0 {
		return nil
	}
	out := p.ranOut(ctx, slices.Collect(maps.Keys(runs))...)
	tasks, err := p.loadTasks(ctx)
	if err != nil {
		return nil
	}
	maps.DeleteFunc(out, func(id string, _ bool) bool { return runOf(tasks[id]) != runs[id] })
	return out
}

// ranOut is outOfMemory for the tasks that are there, whose cgroups are until they
// are deleted.
func (p *Provider) ranOut(ctx context.Context, ids ...string) map[string]bool {
	counters, err := p.metrics(ctx, ids...)
	if err != nil {
		return nil // it is a detail: nothing fails for want of it
	}
	out := make(map[string]bool)
	for _, m := range counters {
		if n, known := kills(m); known {
			out[m.ID] = n > 0
		}
	}
	return out
}

// kills counts the processes that were killed for want of memory, and reports
// whether there was a counter: of a cgroup that is being deleted, a shim tells what
// files it still finds.
func kills(m *types.Metric) (n int64, known bool) {
	if m.Data == nil {
		return 0, false
	}
	decoded, err := typeurl.UnmarshalAny(m.Data)
	if err != nil {
		return 0, false
	}
	switch c := decoded.(type) {
	case *stats1.Metrics:
		return int64(c.GetMemoryOomControl().GetOomKill()), c.GetMemoryOomControl() != nil
	case *stats2.Metrics:
		return int64(c.GetMemoryEvents().GetOomKill()), c.GetMemoryEvents() != nil
	}
	return 0, false
}
