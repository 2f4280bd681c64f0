//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// A machine that runs is given processors, and none is ever taken from it: of one that
// came while it ran QEMU 7.2 crashes at the next device that is plugged in after it has
// gone. A guest puts processors away instead and brings them up again, as its agent is
// told. Those that the machine has and its guest does not use are idle.

// cpusWait says why a run gets another number of processors no earlier than at the next
// start; empty where that can be tried.
func (i *instance) cpusWait(ctx context.Context, d *domain, want int) (string, error) {
	switch {
	case d.state == compute.Paused:
		return "a guest that is paused brings no processor up, and puts none away", nil
	case want > d.room:
		return fmt.Sprintf("the machine was started with room for %d processors", d.room), nil
	case !d.agent:
		return "a guest brings processors up itself, and puts them away, and nothing in this one answers", nil
	}
	has, err := i.guestCPUs(outlive.Asked(ctx))
	switch {
	case mute(err):
		return err.Error(), nil
	case err != nil:
		return "", err
	case !has.allows(want):
		return fmt.Sprintf("the guest puts none of %d processors away", has.online()), nil
	}
	return "", nil
}

// mute reports whether it is the guest's doing that its agent told nothing.
func mute(err error) bool {
	var none agentError
	return errors.As(err, &none) || refusedLive(err)
}

// countPatience is how long a guest has to say what processors it has: others wait to
// change the same machine meanwhile.
const countPatience = 5 * time.Second

func (i *instance) guestCPUs(ctx context.Context) (vcpusReply, error) {
	return askFor[vcpusReply](ctx, qemuAgent{p: i.p, id: i.id, patience: countPatience}, "guest-get-vcpus", nil)
}

// setProcessors gives the machine processors, if it has too few, and has its guest use
// so many.
func (i *instance) setProcessors(ctx context.Context, r compute.Resources) error {
	plugged, err := i.plugCPUs(ctx, int(r.CPUs))
	if err == nil && (plugged.pinned || plugged.some && r.CPUSet != "") {
		err = i.setCPUs(ctx, r)
	}
	if err == nil {
		err = i.useCPUs(ctx, int(r.CPUs))
	}
	if mute(err) && !refusedLive(err) {
		// Nothing is uncertain about a guest that does not answer.
		err = resource.Errorf(errdefs.ErrFailedPrecondition, "%s", err.Error())
	}
	return err
}

// plugged is what became of a machine's processors.
type plugged struct {
	some bool
	// pinned says that the new ones run where the machine was told to when it was
	// started, and that may be elsewhere by now.
	pinned bool
}

func (i *instance) plugCPUs(ctx context.Context, n int) (plugged, error) {
	var out plugged
	return out, i.do(ctx, func(d *lv.Domain) error {
		live, err := describedDomain(d, 0)
		if err != nil {
			return err
		}
		if live.VCPU == nil || int(cmp.Or(live.VCPU.Current, live.VCPU.Value)) >= n {
			return nil
		}
		out = plugged{some: true, pinned: live.VCPU.CPUSet != ""}
		return d.SetVcpusFlags(uint(n), lv.DOMAIN_VCPU_LIVE)
	})
}

// cpuPatience is how long a guest has to find processors and to bring them up, or to put
// them away.
const cpuPatience = 10 * time.Second

// useCPUs has the guest use a number of processors, and returns when it does.
func (i *instance) useCPUs(ctx context.Context, n int) error {
	for began := time.Now(); ; {
		has, err := i.guestCPUs(ctx)
		if err != nil {
			return err
		}
		late := time.Since(began) > cpuPatience
		if has.online() == n && (late || !has.unsure()) {
			return nil
		}
		if late {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the guest uses %d processors and does not change that", has.online())
		}
		if changes := has.toward(n); len(changes) > 0 {
			// How many it has changed is seen when it is asked again.
			_, err = askFor[int](ctx, qemuAgent{p: i.p, id: i.id}, "guest-set-vcpus", map[string]vcpusReply{"vcpus": changes})
			if err != nil {
				return err
			}
			continue
		}
		if err := pause(ctx, began, nil); err != nil {
			return err
		}
	}
}

// idle is how many processors of the run's the guest does not use.
func (d *domain) idle() int { return d.facts.record.idle(d.lastRun()) }

// idleDuring is idle while a guest is given others: until it has brought up those that
// the machine gets, it has what it had.
func (d *domain) idleDuring(had, has compute.Resources) int {
	if d.cpus == 0 || has.CPUs <= had.CPUs {
		return d.idle()
	}
	return max(d.cpus, int(has.CPUs)) - int(had.CPUs)
}

// idleAfter is idle when it has been tried to give the guest others.
func (i *instance) idleAfter(ctx context.Context, d *domain, had, has, got compute.Resources) (int, error) {
	if had.CPUs == has.CPUs {
		return d.idle(), nil
	}
	cpus, err := onDomain(ctx, i.p, i.id, func(d *lv.Domain) (int32, error) { return d.GetVcpusFlags(lv.DOMAIN_VCPU_LIVE) })
	return max(0, int(cpus)-int(got.CPUs)), err
}

// askIdle asks a guest that did not use all of its processors whether that is still so.
// One may have booted anew and nobody heard of it, so that it uses them all.
func (i *instance) askIdle(ctx context.Context, d *domain) error {
	if d.idle() == 0 || !d.agent {
		return nil
	}
	has, err := i.guestCPUs(outlive.Asked(ctx))
	if err != nil {
		if mute(err) {
			err = nil
		}
		return err
	}
	return i.noteUsed(ctx, d, has.online())
}

// noteUsed writes down how many processors a guest uses, if that is not what is known.
func (i *instance) noteUsed(ctx context.Context, d *domain, used int) error {
	live := d.resources()
	idle := max(0, d.cpus-used)
	if d.cpus == 0 || d.idle() == idle {
		return nil
	}
	live.CPUs = float64(used)
	now := d.facts.record.having(d, live, idle)
	d.facts.record = &now
	return i.p.write(ctx, i.id, metaRecord, now)
}

// noteBooted writes down that a guest which has booted anew uses all processors of its
// machine.
func (i *instance) noteBooted(ctx context.Context) error {
	return i.p.locked(ctx, i.id, func() error {
		d, err := i.loadOwned(ctx, "")
		if err != nil || d.idle() == 0 {
			return err
		}
		return i.noteUsed(ctx, d, d.cpus)
	})
}

// departing is how long libvirt may take to notice that the agent of a guest that boots
// anew is gone.
const departing = 2 * time.Second

// noteHeard is noteBooted where that was only heard, perhaps late: an agent that stays
// has been up for a while, and is asked. It is not asked before, as libvirt 9.0 may hold
// it against the next run that this one's agent went in the middle of an answer.
func (i *instance) noteHeard(ctx context.Context) error {
	for began := time.Now(); ; {
		d, err := i.loadOwned(ctx, "")
		switch {
		case err != nil || d.idle() == 0:
			return err
		case !d.agent:
			return i.noteBooted(ctx)
		case time.Since(began) > departing:
			return i.p.locked(ctx, i.id, func() error {
				d, err := i.loadOwned(ctx, "")
				if err != nil {
					return err
				}
				return i.askIdle(ctx, d)
			})
		}
		if err := pause(ctx, began, nil); err != nil {
			return err
		}
	}
}

// hearBoots registers for the events of guests that boot anew.
func (p *Provider) hearBoots(s *session) (int, error) {
	return s.conn.DomainEventRebootRegister(nil, func(_ *lv.Connect, d *lv.Domain) {
		id, err := d.GetUUIDString()
		if err != nil {
			return
		}
		ctx, done, err := p.begin(p.alive)
		if err != nil {
			return
		}
		p.detached.Go(func() {
			defer done()
			if err := (&instance{p: p, id: id}).noteHeard(ctx); err != nil && !isNotFound(err) && ctx.Err() == nil {
				p.opts.Logger.Debug("what a guest uses that has booted anew cannot be written down", "instance", id, "error", err)
			}
		})
	})
}
