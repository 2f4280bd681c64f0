package containerd

import (
	"context"
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

// ranOut reports whether a process of the instance was killed for want of
// memory, and whether that could be asked: its cgroup is there until its task is
// deleted.
func (p *Provider) ranOut(ctx context.Context, id string) (yes, known bool) {
	yes, known = p.outOfMemory(ctx, map[string]bool{id: true})[id]
	return yes, known
}

// outOfMemory is ranOut for several at once. It has those of which it is known.
func (p *Provider) outOfMemory(ctx context.Context, ids map[string]bool) map[string]bool {
	if len(ids) == 0 {
		return nil
	}
	var list []string
	for id := range ids {
		list = append(list, id)
	}
	counters, err := p.metrics(ctx, list...)
	if err != nil {
		return nil // it is a detail: nothing fails for want of it
	}
	out := make(map[string]bool)
	for _, m := range counters {
		out[m.ID] = kills(m) > 0
	}
	return out
}

// kills counts the processes that were killed for want of memory.
func kills(m *types.Metric) int64 {
	if m.Data == nil {
		return 0
	}
	decoded, err := typeurl.UnmarshalAny(m.Data)
	if err != nil {
		return 0
	}
	switch c := decoded.(type) {
	case *stats1.Metrics:
		return int64(c.GetMemoryOomControl().GetOomKill())
	case *stats2.Metrics:
		return int64(c.GetMemoryEvents().GetOomKill())
	}
	return 0
}
