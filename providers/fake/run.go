package fake

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// run is one run of an instance. The backend's lock guards it.
type run struct {
	instance *instance
	// exit is what is known of the run: its token and its beginning, how the main
	// process ended once the run is ending, and all of it once it is over. Then it
	// is shown, and never changes.
	exit compute.Exit
	// ending says that the main process has ended, while others of the run still
	// end; over that nothing is left of the run.
	ending, over bool
	// ready says that the guest answers.
	ready bool
	// stopped says that a caller wanted the run to end, so that no policy begins
	// another.
	stopped bool
	// done is closed when the run has ended; nil until somebody waits.
	done chan struct{}
	// limits are the resources that count, which lag behind the spec where a
	// change waits for the next start. They are never changed in place.
	limits *compute.Resources
	// begun are those that the run began with.
	begun *compute.Resources
	// by is the value that began the run or reset it: its faults are the boot's.
	by *Provider
	// checks are what the supervisor's probes have found out; nil without.
	checks *checks
	// before is the run before this one, if it is still remembered.
	before *run

	// What follows is read as the run's own, and written by way of active alone.
	*activity
}

// activity is what an idle main process has no need of. The backend's lock guards
// it.
type activity struct {
	// main is the main process; nil where it is idle.
	main *Process
	// processes are those that have not ended, by number.
	processes map[int]*Process
	pids      int
	// restart is set while a reset waits for the processes to end, and is closed
	// when the main process has begun anew.
	restart chan struct{}

	// frozen is closed when a pause ends; nil where there is none.
	frozen chan struct{}
	// boot is what will make the guest answer.
	boot *time.Timer

	stdin *pipe
	// listeners are the ports that programs listen on; ports counts connections out.
	listeners []*listener
	ports     uint32
	// console is the one connection to the console, or nil.
	console *console

	memory, peak, oomKills int64
	// spinning counts busy processors since cpuAt; cpu and throttled are the sums
	// up to then.
	spinning       int
	cpuAt          time.Time
	cpu, throttled time.Duration
}

// idle is the activity of all runs that do nothing but be there. Nobody writes to
// it.
var idle = &activity{pids: 1}

// active returns the run's own activity, for a change of it. The backend is
// locked.
func (r *run) active() *activity {
	if r.activity == idle {
		own := *idle
		r.activity = &own
	}
	return r.activity
}

func (r *run) backend() *Backend { return r.instance.space.backend }

// begin makes a run of an instance and starts its main process. Where it fails it
// has done nothing. The backend is locked.
func (p *Provider) begin(i *instance, c command) error {
	b := p.backend
	if err := b.occupy(&i.spec.Resources); err != nil {
		return err
	}
	if err := i.plug(); err != nil {
		b.vacate(&i.spec.Resources)
		return err
	}
	if err := i.beginRun(); err != nil {
		i.unplug()
		b.vacate(&i.spec.Resources)
		return err
	}
	i.runs++
	r := &run{
		instance: i,
		exit:     compute.Exit{Run: runToken(i.id, i.runs), Started: time.Now()},
		limits:   &i.spec.Resources,
		begun:    &i.spec.Resources,
		by:       p,
		before:   i.run,
		activity: idle,
	}
	i.run = r
	i.forget()
	i.postpone(nil)
	if i.spec.Process.Stdin {
		r.active().stdin = newPipe(pipeSize, 1)
	}
	i.state = compute.Running
	r.launch(c)
	i.space.emit(i, resource.EventChanged, resource.ReasonStart)
	p.bootUp(r)
	r.supervise()
	return nil
}

// launch starts the main process. The backend is locked.
func (r *run) launch(c command) {
	if c.program == nil {
		if r.activity != idle {
			r.pids = 1
		}
		return
	}
	j := r.instance.journalOf()
	out := &output{journal: j, run: r, stream: compute.Stdout}
	s := streams{in: r.stdin, out: out, err: out}
	if !r.instance.spec.Process.TTY {
		s.err = &output{journal: j, run: r, stream: compute.Stderr}
	}
	r.active().pids = 0
	r.main, _ = r.spawn(c, s, r.instance.spec.Process.TTY, compute.TerminalSize{})
}

// spawn starts a process of the run. The backend is locked.
func (r *run) spawn(c command, s streams, tty bool, size compute.TerminalSize) (*Process, error) {
	if r.over || r.ending || r.restart != nil {
		return nil, errEnded
	}
	count := len(r.processes)
	if r.main == nil && r.pids > 0 {
		count++
	}
	if most := r.limits.PIDs; most > 0 && int64(count) >= most {
		return nil, resource.Errorf(errdefs.ErrResourceExhausted, "the instance may have %d processes", most)
	}
	r.active().pids++
	if tty && size == (compute.TerminalSize{}) {
		size = compute.TerminalSize{Width: 80, Height: 24}
	}
	p := &Process{
		Args: c.args, Env: c.env, Dir: c.dir, User: c.user, PID: r.pids, TTY: tty,
		Instance: r.instance.ref(),
		run:      r, command: c, streams: s, over: make(chan struct{}), size: size,
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.Stdin = stream{p: p, from: s.in}
	p.Stdout, p.Stderr = stream{p: p, to: s.out}, stream{p: p, to: s.err}
	s.join()
	if r.processes == nil {
		r.processes = make(map[int]*Process)
	}
	r.processes[p.PID] = p
	b := r.backend()
	b.crew.join()
	go func() {
		// A program may end its goroutine by runtime.Goexit, as a test's FailNow does.
		code := exitPanic
		defer func() {
			if p.end(code, false) {
				b.crew.leave()
			}
		}()
		code = p.call(p.ctx, c.program)
	}()
	return p, nil
}

// left is told of a process that has ended. The backend is locked.
func (r *run) left(p *Process) {
	delete(r.processes, p.PID)
	if p == r.main && r.restart == nil {
		exit := compute.Exit{Code: p.code, OOM: p.oom}
		if p.fatal != 0 {
			exit.Signal = signalNames[p.fatal]
		}
		r.conclude(exit)
		return
	}
	r.settleEnd()
}

// conclude is told how the main process ended. The backend is locked.
func (r *run) conclude(exit compute.Exit) {
	if r.ending || r.over {
		return
	}
	r.ending = true
	r.exit.Code, r.exit.Signal, r.exit.OOM = exit.Code, exit.Signal, exit.OOM
	has := r.instance.features()
	r.exit.OOM = exit.OOM && has.Has(compute.FeatureExitOOM)
	if !has.Has(compute.FeatureExitCode) {
		r.exit.Signal = ""
		switch {
		case r.exit.Reason == "crashed":
			r.exit.Code = 1
		case exit.Signal == signalNames[sigKill]:
			r.exit.Code = 128 + sigKill
		default:
			r.exit.Code = 0
		}
	}
	r.killAll()
	r.settleEnd()
}

func (r *run) killAll() {
	for _, p := range r.processes {
		p.kill(sigKill)
	}
}

// settleEnd goes on with what waited for the processes to end.
func (r *run) settleEnd() {
	switch {
	case len(r.processes) > 0:
	case r.ending:
		r.finish()
	case r.restart != nil:
		r.relaunch()
	}
}

// finish ends the run: nothing of it is left. The backend is locked.
func (r *run) finish() {
	i := r.instance
	now := time.Now()
	r.settle(now)
	r.ending, r.over = false, true
	r.exit.Known, r.exit.Finished = true, now
	i.postpone(nil) // it waited for the end of this run
	r.thaw(now)
	if r.boot != nil {
		r.boot.Stop()
	}
	if r.restart != nil {
		close(r.restart)
		r.restart = nil
	}
	if i.journal != nil {
		i.journal.flush(r)
	}
	if r.stdin != nil {
		r.stdin.breakOff()
	}
	i.endRun()
	if i.state != compute.Suspended {
		i.unplug()
		r.backend().vacate(r.limits)
	}
	if i.state != compute.Failed {
		i.state = compute.Stopped
	}
	i.space.emit(i, resource.EventChanged, resource.ReasonExit)
	if r.done != nil {
		close(r.done)
		r.done = nil
	}
	if r.activity != idle {
		r.main, r.processes = nil, nil
	}
	if !r.backend().closed {
		i.follow(r)
	}
}

// force ends the run by SIGKILL. The backend is locked.
func (r *run) force(reason string) {
	if r.over || r.ending {
		return
	}
	r.exit.Reason = reason
	r.interrupt(sigKill)
}

// interrupt sends a signal to the main process. An idle one has the signal's
// default effect. The backend is locked.
func (r *run) interrupt(signal int) {
	if r.restart != nil && signal == sigKill {
		// What is being reset ends with the processes that the reset kills.
		close(r.restart)
		r.restart = nil
		if r.main != nil && r.main.ended {
			r.conclude(compute.Exit{Code: 128 + sigKill, Signal: signalNames[sigKill]})
		}
	}
	switch {
	case r.over || r.ending:
	case r.main != nil:
		_ = r.main.signal(signal)
	case !harmless(signal):
		r.conclude(compute.Exit{Code: 128 + signal, Signal: signalNames[signal]})
	}
}

// ended returns a channel that is closed when the run has ended. The backend is
// locked.
func (r *run) ended() <-chan struct{} {
	if r.over {
		return gone
	}
	if r.done == nil {
		r.done = make(chan struct{})
	}
	return r.done
}

// freeze stops the run's processes at their next use of the process. The backend
// is locked.
func (r *run) freeze() {
	r.settle(time.Now())
	if r.frozen == nil {
		r.active().frozen = make(chan struct{})
	}
}

// thaw lets them go on. The backend is locked.
func (r *run) thaw(now time.Time) {
	if r.frozen != nil {
		close(r.frozen)
		r.frozen = nil
		r.cpuAt = now
	}
}

// settle brings the processor's counters up to a time. The backend is locked.
func (r *run) settle(now time.Time) {
	if r.activity == idle {
		return
	}
	if r.frozen == nil && r.spinning > 0 {
		elapsed := now.Sub(r.cpuAt)
		wanted := float64(r.spinning)
		got := wanted
		if most := r.limits.CPUs; most > 0 {
			got = min(got, most)
		}
		r.cpu += time.Duration(float64(elapsed) * got)
		r.throttled += time.Duration(float64(elapsed) * (wanted - got))
	}
	r.cpuAt = now
}

// occupy takes what a run needs out of the capacity. The backend is locked.
func (b *Backend) occupy(r *compute.Resources) error {
	c := b.opts.Capacity
	if left := milli(c.CPUs) - b.used.cpus; c.CPUs > 0 && milli(r.CPUs) > left {
		return &resource.Error{Kind: errdefs.ErrResourceExhausted, Field: "resources.cpus",
			Err: fmt.Errorf("the host has %g processors left", float64(left)/1000)}
	}
	if c.Memory > 0 && r.Memory > c.Memory-b.used.memory {
		return &resource.Error{Kind: errdefs.ErrResourceExhausted, Field: "resources.memory",
			Err: fmt.Errorf("the host has %s of memory left", resource.FormatSize(c.Memory-b.used.memory))}
	}
	b.reoccupy(r)
	return nil
}

// reoccupy is occupy for what had it a moment ago.
func (b *Backend) reoccupy(r *compute.Resources) {
	b.used.cpus += milli(r.CPUs)
	b.used.memory += r.Memory
}

// milli counts processors in thousandths: sums of fractions would drift.
func milli(cpus float64) int64 { return int64(math.Round(cpus * 1000)) }

// vacate gives it back.
func (b *Backend) vacate(r *compute.Resources) {
	b.used.cpus -= milli(r.CPUs)
	b.used.memory -= r.Memory
}
