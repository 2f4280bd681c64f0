package compute_test

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// machine is one instance in memory that follows the table. What a test does
// not need of it stays unimplemented.
type machine struct {
	mu       sync.Mutex
	info     compute.Info
	exits    map[string]compute.Exit
	logs     []compute.LogLine
	changed  chan struct{} // closed and replaced with each change
	gone     bool
	revision int
	calls    []string

	// started, if not nil, is called when a run begins, with the machine locked.
	started func(m *machine)
	// fail makes an operation fail.
	fail map[compute.Operation]error
	// hang is an operation that ends with its context only.
	hang compute.Operation
	// infos counts the readings.
	infos int
}

func newMachine(spec compute.Spec) *machine {
	stored := spec.Clone()
	return &machine{
		info: compute.Info{
			Ref:  resource.Ref{Kind: resource.KindInstance, Name: spec.Name, ID: someID},
			Kind: compute.Container, Managed: true, State: compute.Stopped, Level: compute.LevelCreated,
			Spec: &stored, Labels: stored.Labels, Annotations: stored.Annotations,
			Image: resource.Ref{Kind: resource.KindImage, Name: spec.Image, ID: sha256},
		},
		exits: map[string]compute.Exit{}, changed: make(chan struct{}), fail: map[compute.Operation]error{},
	}
}

var (
	_ compute.Instance = (*machine)(nil)
	_ compute.Logger   = (*machine)(nil)
	_ compute.Watcher  = watched{}
)

func (m *machine) ID() string { return someID }

// tell wakes whoever waits for a change. The machine is locked.
func (m *machine) tell() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// set changes the machine as its backend would.
func (m *machine) set(change func(info *compute.Info)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(&m.info)
	m.tell()
}

// exit ends the run under way.
func (m *machine) exit(exit compute.Exit) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end(exit)
}

func (m *machine) end(exit compute.Exit) {
	exit.Run = m.info.Run
	m.exits[exit.Run] = exit
	m.info.Exit, m.info.State, m.info.Level = &exit, compute.Stopped, compute.LevelCreated
	m.tell()
}

// enter locks the machine for an operation, unless it is refused.
func (m *machine) enter(ctx context.Context, op compute.Operation) (compute.Transition, error) {
	if err := ctx.Err(); err != nil {
		return compute.Transition{}, err
	}
	if op == m.hang {
		<-ctx.Done()
		return compute.Transition{}, ctx.Err()
	}
	m.mu.Lock()
	m.calls = append(m.calls, string(op))
	err := m.fail[op]
	var tr compute.Transition
	if err == nil && m.gone {
		err = errdefs.ErrNotFound
	}
	if err == nil {
		tr, err = compute.CheckTransition(m.info.State, op)
	}
	if err != nil {
		m.mu.Unlock()
		return tr, resource.Fail(string(op), m.info.Ref, err)
	}
	return tr, nil
}

func (m *machine) Info(ctx context.Context) (compute.Info, error) {
	if err := ctx.Err(); err != nil {
		return compute.Info{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.infos++
	if m.gone {
		return compute.Info{}, resource.Fail("info", m.info.Ref, errdefs.ErrNotFound)
	}
	info := m.info
	info.Revision = strconv.Itoa(m.revision)
	return info, nil
}

func (m *machine) Start(ctx context.Context, _ compute.StartOptions) error {
	tr, err := m.enter(ctx, compute.OpStart)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if tr.NoOp {
		return nil
	}
	m.info.Runs++
	m.info.Run, m.info.State, m.info.Level, m.info.Exit = fmt.Sprintf("run-%d", m.info.Runs), compute.Running, compute.LevelAgent, nil
	m.tell()
	if m.started != nil {
		m.started(m)
	}
	return nil
}

func (m *machine) Stop(ctx context.Context, opts compute.StopOptions) error {
	tr, err := m.enter(ctx, compute.OpStop)
	if err != nil {
		return err
	}
	defer m.mu.Unlock()
	if opts.Force {
		m.calls = append(m.calls, "force")
	}
	if !tr.NoOp {
		m.end(compute.Exit{Known: true, Code: 143, Signal: "SIGTERM"})
	}
	return nil
}

func (m *machine) Wait(ctx context.Context, opts compute.WaitOptions) (compute.Exit, error) {
	for {
		m.mu.Lock()
		run := opts.Run
		if run == "" {
			run = m.info.Run
		}
		exit, ended := m.exits[run]
		gone, changed := m.gone, m.changed
		m.mu.Unlock()
		switch {
		case ended:
			return exit, nil
		case gone:
			return compute.Exit{}, resource.Fail("wait", m.info.Ref, errdefs.ErrNotFound)
		}
		select {
		case <-ctx.Done():
			return compute.Exit{}, ctx.Err()
		case <-changed:
		}
	}
}

func (m *machine) Update(ctx context.Context, change compute.Change) error {
	if _, err := m.enter(ctx, compute.OpUpdate); err != nil {
		return err
	}
	defer m.mu.Unlock()
	if change.IfRevision != "" && change.IfRevision != strconv.Itoa(m.revision) {
		return resource.Fail("update", m.info.Ref, errdefs.ErrAborted)
	}
	m.revision++
	spec := change.To(*m.info.Spec)
	m.info.Spec, m.info.Labels, m.info.Annotations = &spec, spec.Labels, spec.Annotations
	m.tell()
	return nil
}

func (m *machine) Delete(ctx context.Context, opts compute.DeleteOptions) error {
	op := compute.OpDelete
	if opts.Force {
		op = compute.OpDeleteForce
	}
	if _, err := m.enter(ctx, op); err != nil {
		return err
	}
	defer m.mu.Unlock()
	m.gone = true
	m.tell()
	return nil
}

func (m *machine) Logs(ctx context.Context, opts compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) {
		m.mu.Lock()
		lines := m.logs
		m.mu.Unlock()
		if opts.Tail > 0 {
			lines = lines[max(0, len(lines)-opts.Tail):]
		}
		for _, line := range lines {
			if !yield(line, nil) {
				return
			}
		}
		if !opts.Follow {
			return
		}
		if _, err := m.Wait(ctx, compute.WaitOptions{Run: opts.Run}); err != nil {
			yield(compute.LogLine{}, err)
		}
	}
}

// watched is a machine that tells its changes.
type watched struct{ *machine }

func (w watched) Watch(ctx context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		for {
			w.mu.Lock()
			changed := w.changed
			w.mu.Unlock()
			if !yield(resource.Event{Type: resource.EventChanged, Ref: w.info.Ref}, nil) {
				return
			}
			select {
			case <-ctx.Done():
				yield(resource.Event{}, ctx.Err())
				return
			case <-changed:
			}
		}
	}
}

// reachable is a machine in which commands run and ports listen.
type reachable struct {
	watched
	// exec is what a command does; its error is one of starting it.
	exec func(ctx context.Context, spec compute.ExecSpec) (compute.ExecExit, error)
	// listen serves a connection to a port; nil refuses it.
	listen map[uint16]func(conn net.Conn)
	killed chan string
}

var (
	_ compute.Execer = (*reachable)(nil)
	_ compute.Dialer = (*reachable)(nil)
)

type execution struct {
	done   chan struct{}
	exit   compute.ExecExit
	err    error
	killed chan<- string
	cancel context.CancelFunc
}

func (r *reachable) Exec(_ context.Context, spec compute.ExecSpec) (compute.Execution, error) {
	ctx, cancel := context.WithCancel(context.Background())
	e := &execution{done: make(chan struct{}), killed: r.killed, cancel: cancel}
	go func() {
		defer close(e.done)
		e.exit, e.err = r.exec(ctx, spec)
	}()
	return e, nil
}

func (e *execution) ID() string { return "1" }

func (e *execution) Wait(ctx context.Context) (compute.ExecExit, error) {
	select {
	case <-ctx.Done():
		return compute.ExecExit{}, ctx.Err()
	case <-e.done:
		return e.exit, e.err
	}
}

func (e *execution) Signal(_ context.Context, signal string) error {
	if e.killed != nil {
		e.killed <- signal
	}
	e.cancel()
	return nil
}

func (e *execution) Resize(context.Context, compute.TerminalSize) error { return nil }

func (r *reachable) Dial(ctx context.Context, protocol network.Protocol, port uint16) (net.Conn, error) {
	serve := r.listen[port]
	if serve == nil || protocol != network.TCP {
		return nil, resource.Fail("dial", r.info.Ref, resource.Errorf(errdefs.ErrUnavailable, "nothing listens on %d", port))
	}
	near, far := net.Pipe()
	go func() {
		defer far.Close()
		serve(far)
	}()
	return near, nil
}

// machines are one machine at most.
type machines struct {
	compute.Instances
	m *machine
	// make, if not nil, prepares what Create makes.
	make func(m *machine)
	// clash makes Create fail as if something else than the name existed.
	clash bool
}

func (s *machines) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if s.clash || s.m != nil {
		return nil, resource.Fail("create", resource.Ref{Name: spec.Name}, errdefs.ErrAlreadyExists)
	}
	s.m = newMachine(spec)
	if s.make != nil {
		s.make(s.m)
	}
	return s.m, nil
}

func (s *machines) Get(_ context.Context, name string) (compute.Instance, error) {
	if s.m == nil {
		return nil, resource.Fail("get", resource.Ref{Name: name}, errdefs.ErrNotFound)
	}
	return s.m, nil
}

// wrapped is an instance behind another.
type wrapped struct{ compute.Instance }

func (w wrapped) Unwrap() compute.Instance { return w.Instance }

func endpoints(addresses ...string) []network.EndpointInfo {
	var out []network.EndpointInfo
	for _, a := range addresses {
		var e network.EndpointInfo
		if a != "" {
			e.Addresses = []netip.Prefix{netip.MustParsePrefix(a)}
		}
		out = append(out, e)
	}
	return out
}

func lines(texts ...string) (out []compute.LogLine) {
	for _, text := range texts {
		out = append(out, compute.LogLine{Stream: compute.Stdout, Text: []byte(text), Time: time.Unix(1, 0)})
	}
	return out
}

var _ io.Writer = (*limited)(nil)

// limited is a writer that fails behind so many bytes.
type limited struct{ left int }

func (l *limited) Write(p []byte) (int, error) {
	if len(p) > l.left {
		return 0, io.ErrShortWrite
	}
	l.left -= len(p)
	return len(p), nil
}

// deaf is a machine whose stream of events is lost at once.
type deaf struct{ *machine }

func (deaf) Watch(context.Context) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		yield(resource.Event{}, resource.Errorf(errdefs.ErrUnavailable, "lost"))
	}
}

// mute is a machine whose logs never come.
type mute struct{ *machine }

func (mute) Logs(ctx context.Context, _ compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) {
		<-ctx.Done()
		yield(compute.LogLine{}, ctx.Err())
	}
}

// silent is an instance that keeps no logs.
type silent struct{ compute.Instance }

func (silent) ID() string { return someID }
