package containerd

import (
	"context"
	"iter"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// mostIDs is how many instances are asked for by ID: for more, asking for all
// costs less than the filter does.
const mostIDs = 64

// Stats implements compute.Instances. It makes three calls, whatever the number
// of instances: containers, tasks and counters are read.
func (s instances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return func(yield func(compute.Stats, error) bool) {
		all, err := s.stats(ctx, filter)
		if err != nil {
			yield(compute.Stats{}, resource.Fail("stats", s.p.ref(resource.KindInstance, "", ""), err))
			return
		}
		for _, stats := range all {
			if !yield(stats, nil) {
				return
			}
		}
	}
}

func (s instances) stats(ctx context.Context, filter compute.Filter) ([]compute.Stats, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	infos, err := s.list(ctx, filter)
	if err != nil {
		return nil, err
	}
	counted := make(map[string]compute.Info, len(infos))
	for _, info := range infos {
		if info.State == compute.Running || info.State == compute.Paused {
			counted[info.Ref.ID] = info
		}
	}
	if len(counted) == 0 {
		return nil, nil
	}
	var ids []string
	if len(counted) <= mostIDs {
		for id := range counted {
			ids = append(ids, id)
		}
	}
	counters, err := s.p.metrics(ctx, ids...)
	if err != nil {
		return nil, err
	}
	now := time.Now().UTC()
	all := make([]compute.Stats, 0, len(counted))
	for _, m := range counters {
		info, ok := counted[m.ID]
		if !ok {
			continue
		}
		stats := unknownStats()
		if err := decodeCounters(m.Data, &stats); err != nil {
			return all, err
		}
		stats.Ref, stats.Run, stats.Time = info.Ref, info.Run, now
		if at := m.Timestamp; at != nil && at.IsValid() && at.Seconds > 0 {
			stats.Time = at.AsTime()
		}
		all = append(all, stats)
	}
	return all, nil
}
