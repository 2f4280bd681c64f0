//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/resource"
)

// atOnce is how many calls are made at the same time.
const atOnce = 4

// domain is all that is known of an instance.
type domain struct {
	id    string
	facts *facts
	state compute.State
	// reason says more where the state is one that nobody asked for.
	reason string
	// cause is why the last run ended, as far as the daemon remembers.
	cause lv.DomainShutoffReason
	// live is libvirt's number of the run under way, -1 for none.
	live int
	// agent says that something in the guest listens on the agent's channel.
	agent bool
	// memory is what the guest has of its memory while it runs, in bytes; 0 where that
	// is not known.
	memory int64
	// cpus and room are the processors that the machine has while it runs, and those
	// that it can have; 0 where that is not known.
	cpus, room int
}

// endedRun is the last run whose exit is written down.
func (d *domain) endedRun() int {
	if d.facts.exit == nil {
		return 0
	}
	return d.facts.exit.Run
}

// lastRun is the run under way, or the last. A run is written down when it has
// begun, and its exit when it is over, so that one under way that neither knows is
// the next.
func (d *domain) lastRun() int {
	last := max(d.facts.run.Run, d.endedRun())
	if (d.state.Active() || d.state == compute.Suspended) && last == d.endedRun() {
		last++
	}
	return last
}

// unnoted reports whether a run is over of which nobody has written down how it
// ended.
func (d *domain) unnoted() bool {
	return d.facts.record != nil && d.state == compute.Stopped && d.facts.run.Run > d.endedRun()
}

// read reads the domain of an ID.
func (p *Provider) read(ctx context.Context, id string) (*domain, error) {
	if !resource.IsID(id) {
		return nil, errNotFound()
	}
	d, err := onLane(ctx, p, func(l *lane) (*domain, error) { return l.read(id) })
	if isNotFound(err) {
		return nil, errNotFound()
	}
	return d, err
}

// read reads the domain of an ID.
func (l *lane) read(id string) (*domain, error) {
	before := l.domain
	d, err := l.lookUp(id)
	if err != nil {
		return nil, err
	}
	out, err := readDomain(d, nil)
	if err != nil || d != before || !out.state.Active() {
		return out, err
	}
	// The number of its run is in a new handle only.
	l.forget()
	if d, err = l.lookUp(id); err != nil {
		return nil, err
	}
	out.live = runOf(d)
	return out, nil
}

// runOf is libvirt's number of the run of a domain at the time of its look-up, -1 for
// none.
func runOf(d *lv.Domain) int {
	number, err := d.GetID()
	if err != nil {
		return -1
	}
	return int(number)
}

func errNotFound() error { return resource.Errorf(errdefs.ErrNotFound, "no such instance") }

func isNotFound(err error) bool { return errors.Is(err, errdefs.ErrNotFound) }

// agentThere reports whether a running domain says that something in the guest
// listens on the agent's channel.
func agentThere(d *libvirtxml.Domain) bool {
	if d.Devices == nil {
		return false
	}
	return slices.ContainsFunc(d.Devices.Channels, func(c libvirtxml.DomainChannel) bool {
		return c.Target != nil && c.Target.VirtIO != nil && c.Target.VirtIO.Name == agentChannel && c.Target.VirtIO.State == "connected"
	})
}

// readDomain reads a domain in two calls, and one more where it runs or a memory
// image may be kept; but where the IDs of the domains that have one are known, only if the
// daemon has no other reason.
func readDomain(d *lv.Domain, saved map[string]bool) (*domain, error) {
	id, err := d.GetUUIDString()
	if err != nil {
		return nil, err
	}
	description, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return nil, err
	}
	out := &domain{id: id, live: -1}
	if out.facts, err = readFacts(description); err != nil {
		return nil, err
	}
	state, detail, err := d.GetState()
	if err != nil {
		return nil, err
	}
	out.state, out.reason = stateOf(state, detail)
	if state == lv.DOMAIN_SHUTOFF {
		out.cause = lv.DomainShutoffReason(detail)
		ask := out.cause == lv.DOMAIN_SHUTOFF_SAVED || out.cause == lv.DOMAIN_SHUTOFF_UNKNOWN && (saved == nil || saved[id])
		if ask {
			kept, err := d.HasManagedSaveImage(0)
			if err != nil && !errors.Is(err, lv.ERR_NO_SUPPORT) {
				return nil, err
			}
			if kept {
				out.state = compute.Suspended
			}
		}
	}
	if out.state.Active() {
		out.live = runOf(d)
	}
	if out.state == compute.Running {
		err = out.readLive(d)
	}
	return out, err
}

// readLive reads what only the description of what runs tells.
func (d *domain) readLive(from *lv.Domain) error {
	text, err := from.GetXMLDesc(0)
	if err != nil {
		return err
	}
	var live libvirtxml.Domain
	if err := live.Unmarshal(text); err != nil {
		return resource.Errorf(errdefs.ErrDataLoss, "the domain's description cannot be read: %w", err)
	}
	d.agent = agentThere(&live)
	if live.CurrentMemory != nil && live.CurrentMemory.Unit == "KiB" {
		d.memory = int64(live.CurrentMemory.Value) * resource.KiB
	}
	if live.VCPU != nil {
		d.cpus, d.room = int(cmp.Or(live.VCPU.Current, live.VCPU.Value)), int(live.VCPU.Value)
	}
	return nil
}

// stateOf translates the state of a domain.
func stateOf(state lv.DomainState, detail int) (compute.State, string) {
	switch state {
	case lv.DOMAIN_RUNNING, lv.DOMAIN_BLOCKED:
		return compute.Running, ""
	case lv.DOMAIN_PAUSED:
		switch lv.DomainPausedReason(detail) {
		case lv.DOMAIN_PAUSED_STARTING_UP:
			return compute.Starting, ""
		case lv.DOMAIN_PAUSED_SAVE, lv.DOMAIN_PAUSED_DUMP, lv.DOMAIN_PAUSED_SNAPSHOT, lv.DOMAIN_PAUSED_MIGRATION:
			return compute.Running, ""
		case lv.DOMAIN_PAUSED_IOERROR:
			return compute.Paused, "the hypervisor could not read or write a disk"
		case lv.DOMAIN_PAUSED_CRASHED:
			return compute.Paused, "the guest has crashed"
		case lv.DOMAIN_PAUSED_WATCHDOG:
			return compute.Paused, "the guest's watchdog has run out"
		}
		return compute.Paused, ""
	case lv.DOMAIN_PMSUSPENDED:
		return compute.Paused, "the guest sleeps"
	case lv.DOMAIN_SHUTDOWN:
		return compute.Stopping, ""
	case lv.DOMAIN_SHUTOFF:
		return compute.Stopped, ""
	case lv.DOMAIN_CRASHED:
		return compute.Failed, "the guest has crashed"
	}
	return compute.Unknown, "the hypervisor does not say"
}

// few are so many domains that one connection reads them all.
const few = 16

// readAll reads all domains of the hypervisor, over several connections where there
// are many.
func (p *Provider) readAll(ctx context.Context) ([]*domain, error) {
	since := p.cache.now()
	var parts [atOnce][]*domain
	group, ctx := errgroup.WithContext(ctx)
	counted := make(chan int, 1)
	read := func(n int, of func(count int) int) {
		group.Go(func() (err error) {
			parts[n], err = call(ctx, p, func(c *lv.Connect) ([]*domain, error) { return readPart(c, n, of) })
			return err
		})
	}
	read(0, func(count int) int {
		of := p.connections(count)
		counted <- of
		return of
	})
	select {
	case all := <-counted:
		for n := 1; n < all; n++ {
			read(n, func(int) int { return all })
		}
	case <-ctx.Done():
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	all := slices.Concat(parts[:]...)
	p.cache.fill(all, since)
	return all, nil
}

// connections is how many read a number of domains.
func (p *Provider) connections(count int) int {
	if count <= few || p.inProcess() {
		return 1
	}
	return atOnce
}

// readPart reads a part of the domains: handles of one connection are good for
// nothing on another, so the parts are told apart by UUIDs. How many there are is
// asked when the domains are counted.
func readPart(c *lv.Connect, part int, parts func(count int) int) ([]*domain, error) {
	listed, err := c.ListAllDomains(0)
	if err != nil {
		return nil, err
	}
	defer free(listed)
	saved, err := savedDomains(c)
	if err != nil {
		return nil, err
	}
	of := parts(len(listed))
	out := make([]*domain, 0, len(listed)/of+1)
	for i := range listed {
		id, err := listed[i].GetUUID()
		if err != nil {
			return nil, err
		}
		if int(id[len(id)-1])%of != part {
			continue
		}
		read, err := readDomain(&listed[i], saved)
		if errors.Is(err, lv.ERR_NO_DOMAIN) {
			continue // it is gone meanwhile
		}
		if err != nil {
			return nil, err
		}
		out = append(out, read)
	}
	return out, nil
}

// savedDomains are the IDs of the domains of which a memory image is kept.
func savedDomains(c *lv.Connect) (map[string]bool, error) {
	listed, err := c.ListAllDomains(lv.CONNECT_LIST_DOMAINS_MANAGEDSAVE)
	if err != nil {
		return nil, err
	}
	defer free(listed)
	saved := make(map[string]bool, len(listed))
	for i := range listed {
		id, err := listed[i].GetUUIDString()
		if err != nil {
			return nil, err
		}
		saved[id] = true
	}
	return saved, nil
}

func free(domains []lv.Domain) {
	for i := range domains {
		_ = domains[i].Free()
	}
}

// known returns all domains of the hypervisor, and reads only those that have
// changed since they were read.
func (p *Provider) known(ctx context.Context) ([]*domain, error) {
	all, unknown, since, ok := p.cache.all()
	if !ok || len(unknown) > few {
		return p.readAll(ctx)
	}
	var mu sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	for _, id := range unknown {
		group.Go(func() error {
			d, err := p.read(ctx, id)
			if err != nil && !isNotFound(err) {
				return err
			}
			p.cache.put(id, d, since)
			if d != nil {
				mu.Lock()
				defer mu.Unlock()
				all = append(all, d)
			}
			return nil
		})
	}
	return all, group.Wait()
}

// ours reports whether the namespace holds a domain: one of another namespace of
// this module is none of its business.
func (p *Provider) ours(f *facts) bool {
	return f.foreign() || f.record != nil && f.record.Namespace == p.opts.Namespace ||
		f.fault != nil && strings.HasPrefix(f.name, p.opts.Namespace+".")
}

// subject is what a watch tells of a domain; nil for none of the namespace's.
func (p *Provider) subject(d *domain) *watching.Subject {
	if !p.ours(d.facts) {
		return nil
	}
	info := p.info(d)
	return &watching.Subject{
		Ref: info.Ref, Managed: info.Managed, Names: []string{info.Ref.Name}, Labels: info.Labels, State: string(shown(d.state)),
	}
}

// info translates what is known of an instance. It makes no call.
func (p *Provider) info(d *domain) compute.Info {
	out := compute.Info{
		Ref:    p.ref(resource.KindInstance, "", d.id),
		Kind:   compute.VM,
		State:  d.state,
		Reason: d.reason,
		Level:  compute.LevelCreated,
	}
	r := d.facts.record
	switch {
	case d.facts.fault != nil:
		out.Managed, out.Reason = true, d.facts.fault.Error()
		out.Ref.Name = strings.TrimPrefix(d.facts.name, p.opts.Namespace+".")
	case r == nil:
		if resource.CheckName(d.facts.name) == "" {
			out.Ref.Name = d.facts.name
		}
	default:
		out.Ref.Name, out.Managed, out.Owner, out.Spec = r.Name, true, r.Owner, &r.spec
		out.Labels, out.Annotations = r.spec.Labels, r.spec.Annotations
		if r.Disks != nil && r.Disks.Image != nil {
			out.Image = p.ref(resource.KindImage, r.Disks.Image.Name, r.Disks.Image.Digest)
		}
		out.Created = r.Created
		out.Ports = p.published(d)
		out.Revision = strconv.Itoa(r.Revision)
	}
	out.Runs = d.lastRun()
	if out.Runs > 0 {
		out.Run = strconv.Itoa(out.Runs)
	}
	if d.facts.run.Run == out.Runs {
		out.Started = d.facts.run.Started
	}
	if over := d.state == compute.Stopped || d.state == compute.Failed; over && out.Runs > d.endedRun() {
		exit := d.exitOf(out.Runs, time.Time{}).exit()
		out.Exit = &exit
	} else if d.facts.exit != nil {
		exit := d.facts.exit.exit()
		out.Exit = &exit
	}
	if out.Exit != nil && out.Exit.Run == out.Run {
		out.Started, out.Finished = out.Exit.Started, out.Exit.Finished
	}
	if r != nil && out.State.Active() {
		for _, path := range resource.Diff(d.resources(), r.spec.Resources) {
			out.Pending = append(out.Pending, "resources."+path)
		}
	}
	switch {
	case out.State == compute.Running && p.inProcess():
		// Its machines have nothing that would boot.
		out.Level = compute.LevelBooted
	case out.State == compute.Running && d.agent:
		out.Level = compute.LevelAgent
	case out.State == compute.Running, out.State == compute.Paused:
		out.Level = compute.LevelRunning
	}
	return out
}

func (e exitRecord) exit() compute.Exit {
	return compute.Exit{Run: strconv.Itoa(e.Run), Known: e.Known, Code: e.Code, Reason: e.Reason, Started: e.Started, Finished: e.Finished}
}

// forcedCode is the exit code of a machine that was ended without asking, as that of
// a program that SIGKILL ends.
const forcedCode = 128 + 9

// live are the resources that a run has.
func (r *record) live(run int) compute.Resources {
	if r.Live != nil && r.LiveRun == run {
		return *r.Live
	}
	return r.spec.Resources
}

// idle is how many of its processors the guest of a run does not use.
func (r *record) idle(run int) int {
	if r.LiveRun != run {
		return 0
	}
	return r.Idle
}

// resources are those that the run under way, or the last, has. Who changed the
// memory of one, or gave it processors, may have got no further than that, so what the
// machine has counts.
func (d *domain) resources() compute.Resources {
	r := d.facts.record
	live := r.live(d.lastRun())
	if want := r.spec.Resources.Memory; d.memory >= want && d.memory < want+guestPage {
		live.Memory = want
	}
	if want := r.spec.Resources.CPUs; float64(d.cpus-d.idle()) == want {
		live.CPUs = want
	}
	return live
}

// exitOf is the end of a run as the daemon remembers it. Finished is the zero time
// where nobody saw it.
func (d *domain) exitOf(run int, finished time.Time) exitRecord {
	e := exitRecord{Run: run, Known: true, Finished: finished}
	if d.facts.run.Run == run {
		e.Started = d.facts.run.Started
	}
	switch d.cause {
	case lv.DOMAIN_SHUTOFF_SHUTDOWN:
		e.Reason = "powered off"
	case lv.DOMAIN_SHUTOFF_DESTROYED:
		e.Reason, e.Code = "forced", forcedCode
	case lv.DOMAIN_SHUTOFF_CRASHED:
		e.Reason, e.Code = "crashed", 1
	case lv.DOMAIN_SHUTOFF_FAILED:
		e.Reason, e.Code = "failed", 1
	case lv.DOMAIN_SHUTOFF_DAEMON:
		e.Reason, e.Code = "the hypervisor's daemon ended it", forcedCode
	default:
		e.Known = false
	}
	r := d.facts.record
	e.Again = r != nil && d.facts.stop.Run != run && supervise.Wants(r.spec.Restart, e.exit())
	return e
}

// checkRevision is the error of an operation on another revision than the
// present one.
func (d *domain) checkRevision(want string) error {
	if want == "" || d.facts.record == nil {
		return nil
	}
	if have := strconv.Itoa(d.facts.record.Revision); have != want {
		return &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision", Err: errors.New("the revision is " + have + ", not " + want)}
	}
	return nil
}

// owned refuses to change what this module did not make, or what it cannot read.
func (d *domain) owned() error { return d.facts.owned() }

func (f *facts) owned() error {
	if f.fault != nil {
		return f.fault
	}
	return f.made()
}

// made refuses what this module did not make.
func (f *facts) made() error {
	if f.foreign() {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was not made by this library")
	}
	return nil
}

func (f *facts) foreign() bool { return f.record == nil && f.fault == nil }

// grace is how long a Stop of the instance waits.
func (d *domain) grace(opts compute.StopOptions) time.Duration {
	grace := opts.Grace
	if r := d.facts.record; r != nil {
		grace = cmp.Or(grace, r.spec.StopGrace)
	}
	return cmp.Or(grace, compute.DefaultGrace)
}
