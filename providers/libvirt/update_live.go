//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// liveAfter returns what the run under way has, and what it shall have from now on.
// Without a run both are the same.
func (i *instance) liveAfter(ctx context.Context, d *domain, change compute.Change, want compute.Resources) (had, has compute.Resources, err error) {
	had = d.resources()
	runs := d.state == compute.Running || d.state == compute.Paused
	switch {
	case change.Resources == nil, change.Apply == compute.ApplyNextStart:
		return had, had, nil
	case !runs && change.Apply == compute.ApplyLive:
		return had, had, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "apply",
			Err: errors.New("the instance is " + string(d.state) + ", and nothing can be changed live")}
	case !runs:
		return had, had, nil
	}
	has, waits, err := i.retunable(ctx, d, had, want)
	if err == nil && len(waits) > 0 && change.Apply == compute.ApplyLive {
		err = notLive(waits)
	}
	return had, has, err
}

// having returns the record with what the run under way has.
func (r record) having(d *domain, live compute.Resources, idle int) record {
	run := 0
	if d.state != compute.Stopped {
		run = d.lastRun()
	}
	return r.has(run, live, idle)
}

// has returns the record with what a run has, 0 being none, unless the spec says the
// same.
func (r record) has(run int, live compute.Resources, idle int) record {
	r.Live, r.LiveRun, r.Idle = nil, 0, 0
	if run != 0 && live != r.spec.Resources {
		r.Live, r.LiveRun = &live, run
	}
	if run != 0 && idle > 0 {
		r.LiveRun, r.Idle = run, idle
	}
	return r
}

// notLive is the error of what waits for the next start, and was not to.
func notLive(waits resource.Faults) error {
	return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "resources." + waits[0].Field, Err: errors.New(waits[0].Reason)}
}

// retunable returns what of other resources a run can be given, and why the rest
// waits for the next one.
func (i *instance) retunable(ctx context.Context, d *domain, had, want compute.Resources) (has compute.Resources, waits resource.Faults, err error) {
	has = had
	if want.CPUs != had.CPUs {
		switch reason, err := i.cpusWait(ctx, d, int(want.CPUs)); {
		case err != nil:
			return has, nil, err
		case reason != "":
			waits.Add("cpus", "%s", reason)
		default:
			has.CPUs = want.CPUs
		}
	}
	if want.CPUWeight != had.CPUWeight {
		_, err := onDomain(ctx, i.p, i.id, func(d *lv.Domain) (struct{}, error) {
			_, err := d.GetSchedulerParametersFlags(lv.DOMAIN_AFFECT_LIVE)
			return struct{}{}, err
		})
		switch {
		case want.CPUWeight == 0:
			waits.Add("cpuWeight", "what is normal on its host a machine gets at its next start")
		case err == nil:
			has.CPUWeight = want.CPUWeight
		case refusedLive(err):
			waits.Add("cpuWeight", "%v", err)
		default:
			return has, nil, err
		}
	}
	if want.CPUSet != had.CPUSet {
		has.CPUSet = want.CPUSet
	}
	if want.Memory != had.Memory {
		most, err := i.mostMemory(ctx)
		switch {
		case err != nil:
			return has, nil, err
		case d.state == compute.Paused:
			waits.Add("memory", "a guest that is paused gives no memory back, and takes none")
		case want.Memory > most:
			waits.Add("memory", "the machine was started with %s and has no more", resource.FormatSize(most))
		default:
			has.Memory = want.Memory
		}
	}
	return has, waits, nil
}

// mostMemory is what a machine that runs was started with.
func (i *instance) mostMemory(ctx context.Context) (int64, error) {
	kib, err := onDomain(ctx, i.p, i.id, (*lv.Domain).GetMaxMemory)
	return int64(kib) * resource.KiB, err
}

// refusedLive reports whether a call has not changed a machine that runs because it
// cannot.
func refusedLive(err error) bool { return err != nil && !uncertain(err) && !isNotFound(err) }

// retune gives the run under way other resources. It returns what it has then: what
// the machine refused is as it was.
func (i *instance) retune(ctx context.Context, had, has compute.Resources) (got compute.Resources, refused resource.Faults, err error) {
	got = had
	for _, t := range []struct {
		field   string
		differs bool
		set     func(context.Context, compute.Resources) error
		keep    func()
	}{
		{"cpus", had.CPUs != has.CPUs, i.setProcessors, func() { got.CPUs = has.CPUs }},
		{"cpuWeight", had.CPUWeight != has.CPUWeight, i.setWeight, func() { got.CPUWeight = has.CPUWeight }},
		{"cpuSet", had.CPUSet != has.CPUSet, i.setCPUs, func() { got.CPUSet = has.CPUSet }},
		{"memory", had.Memory != has.Memory, i.setMemory, func() { got.Memory = has.Memory }},
	} {
		if !t.differs {
			continue
		}
		err := t.set(ctx, has)
		if err == nil {
			t.keep()
			continue
		}
		if !refusedLive(err) {
			return got, nil, err
		}
		refused.Add(t.field, "%v", err)
		clean, cancel := i.p.cleanup(ctx)
		// It may have gone half the way.
		_ = t.set(clean, had)
		cancel()
	}
	return got, refused, nil
}

func (i *instance) setWeight(ctx context.Context, r compute.Resources) error {
	if r.CPUWeight == 0 {
		return nil // It has not been touched.
	}
	return i.do(ctx, func(d *lv.Domain) error {
		return d.SetSchedulerParametersFlags(&lv.DomainSchedulerParameters{CpuSharesSet: true, CpuShares: uint64(i.p.hyper.shares(r.CPUWeight))}, lv.DOMAIN_AFFECT_LIVE)
	})
}

// setCPUs pins what the machine's own processors are run by, and all that is done
// for it, as a set in its description does at a start.
func (i *instance) setCPUs(ctx context.Context, r compute.Resources) error {
	return i.do(ctx, func(d *lv.Domain) error {
		c, err := d.DomainGetConnect()
		if err != nil {
			return err
		}
		defer c.Close()
		has, _, err := c.GetCPUMap(0)
		if err != nil {
			return err
		}
		pins, err := pinning(r.CPUSet, len(has))
		if err != nil {
			return err
		}
		count, err := d.GetVcpusFlags(lv.DOMAIN_VCPU_LIVE)
		if err != nil {
			return err
		}
		for n := range uint(count) {
			if err := d.PinVcpuFlags(n, pins, lv.DOMAIN_AFFECT_LIVE); err != nil {
				return err
			}
		}
		return d.PinEmulator(pins, lv.DOMAIN_AFFECT_LIVE)
	})
}

// pinning translates a set of a host's processors; the empty one is all.
func pinning(set string, count int) ([]bool, error) {
	pins := make([]bool, count)
	if set == "" {
		for n := range pins {
			pins[n] = true
		}
		return pins, nil
	}
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err := strconv.Atoi(low)
		to, highErr := strconv.Atoi(high)
		if err := errors.Join(err, highErr); err != nil {
			return nil, resource.Errorf(errdefs.ErrInvalidArgument, "%w", err)
		}
		if to >= count {
			return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the host has no processor %d", to)
		}
		for n := from; n <= to; n++ {
			pins[n] = true
		}
	}
	return pins, nil
}

const (
	// guestPage is what a guest gives memory back in.
	guestPage = 4 * resource.KiB
	// balloonPatience is how long a guest has to give memory back, or to take it.
	// QEMU tells how far it is once a second.
	balloonPatience = 5 * time.Second
)

// setMemory asks the guest to have so much memory from now on, and waits until it has.
// One without a driver for that, or that needs what it has, does not.
func (i *instance) setMemory(ctx context.Context, r compute.Resources) error {
	most, err := i.mostMemory(ctx)
	if err != nil {
		return err
	}
	target := uint64((most - (most-r.Memory)/guestPage*guestPage) / resource.KiB)
	there, stop := i.p.tidings.await(memoryOf(i.id, target))
	defer stop()
	if err := i.do(ctx, func(d *lv.Domain) error { return d.SetMemoryFlags(uint64(r.Memory/resource.KiB), lv.DOMAIN_MEM_LIVE) }); err != nil {
		return err
	}
	patience := time.NewTimer(balloonPatience)
	defer patience.Stop()
	for last := false; ; {
		// No event comes of what is as it was, or with a connection that was lost.
		info, err := onDomain(ctx, i.p, i.id, (*lv.Domain).GetInfo)
		switch {
		case err != nil:
			return err
		case info.Memory == target:
			return nil
		case last:
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the guest has %s and does not change that: it is too busy, needs it, or has no driver that would",
				resource.FormatSize(int64(info.Memory)*resource.KiB))
		}
		select {
		case <-there:
		case <-patience.C:
			last = true
		case <-outlive.Asked(ctx).Done():
			return givenUp(ctx)
		}
	}
}
