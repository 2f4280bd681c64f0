//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"iter"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Stats implements compute.Instances: libvirt counts for all running domains in one
// call.
func (s instances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return func(yield func(compute.Stats, error) bool) {
		all, err := s.stats(ctx, filter)
		if err != nil {
			yield(compute.Stats{}, resource.Fail("stats", s.p.ref(resource.KindInstance, "", ""), err))
			return
		}
		for _, one := range all {
			if !yield(one, nil) {
				return
			}
		}
	}
}

func (s instances) stats(ctx context.Context, filter compute.Filter) ([]compute.Stats, error) {
	infos, err := s.list(ctx, filter)
	if err != nil {
		return nil, err
	}
	running := make(map[string]compute.Info, len(infos))
	for _, info := range infos {
		if info.State.Active() {
			running[info.Ref.ID] = info
		}
	}
	if len(running) == 0 {
		return nil, nil
	}
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	return call(ctx, s.p, func(c *lv.Connect) ([]compute.Stats, error) {
		all, err := c.GetAllDomainStats(nil, statsTypes, lv.CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE)
		if err != nil {
			return nil, err
		}
		now := time.Now().UTC()
		var out []compute.Stats
		for i := range all {
			id, err := all[i].Domain.GetUUIDString()
			_ = all[i].Domain.Free()
			if info, wanted := running[id]; err == nil && wanted {
				out = append(out, statsOf(info, all[i], now))
			}
		}
		return out, nil
	})
}

const statsTypes = lv.DOMAIN_STATS_STATE | lv.DOMAIN_STATS_CPU_TOTAL | lv.DOMAIN_STATS_BALLOON | lv.DOMAIN_STATS_BLOCK | lv.DOMAIN_STATS_INTERFACE

// statsOf translates the counters of one domain.
func statsOf(info compute.Info, d lv.DomainStats, now time.Time) compute.Stats {
	out := compute.Stats{
		Ref: info.Ref, Time: now, Run: info.Run,
		CPU:    compute.CPUStats{Usage: -1, User: -1, System: -1, ThrottledPeriods: -1, Throttled: -1},
		Memory: compute.MemoryStats{Usage: -1, Cache: -1, Peak: -1, Limit: -1, OOMKills: -1},
		PIDs:   -1,
	}
	if info.Spec != nil {
		out.Memory.Limit = info.Spec.Resources.Memory
	}
	if c := d.Cpu; c != nil {
		if c.TimeSet {
			out.CPU.Usage = time.Duration(c.Time)
		}
		if c.UserSet {
			out.CPU.User = time.Duration(c.User)
		}
		if c.SystemSet {
			out.CPU.System = time.Duration(c.System)
		}
	}
	if b := d.Balloon; b != nil {
		if b.RssSet {
			out.Memory.Usage = int64(b.Rss) * resource.KiB
		} else if b.CurrentSet {
			out.Memory.Usage = int64(b.Current) * resource.KiB
		}
		if b.CurrentSet {
			out.Memory.Limit = int64(b.Current) * resource.KiB
		}
	}
	for _, b := range d.Block {
		out.Disk.ReadBytes += int64(b.RdBytes)
		out.Disk.WriteBytes += int64(b.WrBytes)
		out.Disk.ReadOps += int64(b.RdReqs)
		out.Disk.WriteOps += int64(b.WrReqs)
	}
	// Libvirt counts what a card carries as the guest sees it, and both lists are in the
	// order of the cards.
	for i, n := range d.Net[:min(len(d.Net), len(info.Endpoints))] {
		out.Network = append(out.Network, compute.NetworkStats{
			Endpoint:     info.Endpoints[i].Ref.ID,
			ReceiveBytes: int64(n.RxBytes), ReceivePackets: int64(n.RxPkts), ReceiveDropped: int64(n.RxDrop), ReceiveErrors: int64(n.RxErrs),
			TransmitBytes: int64(n.TxBytes), TransmitPackets: int64(n.TxPkts), TransmitDropped: int64(n.TxDrop), TransmitErrors: int64(n.TxErrs),
		})
	}
	return out
}
