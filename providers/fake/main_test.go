package fake_test

import (
	"context"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// create makes an instance of the image "app", which is idle where no program of
// that name is registered.
func create(tb testing.TB, p *fake.Provider, name string, set ...func(*compute.Spec)) compute.Instance {
	tb.Helper()
	spec := compute.Spec{Name: name, Image: "app"}
	for _, s := range set {
		s(&spec)
	}
	inst, err := p.Instances().Create(tb.Context(), spec)
	require.NoError(tb, err)
	return inst
}

// start makes a running instance.
func start(tb testing.TB, p *fake.Provider, name string, set ...func(*compute.Spec)) compute.Instance {
	tb.Helper()
	inst := create(tb, p, name, set...)
	require.NoError(tb, inst.Start(tb.Context(), compute.StartOptions{}))
	return inst
}

func command(args ...string) func(*compute.Spec) {
	return func(s *compute.Spec) { s.Process.Command = args }
}

func vm(s *compute.Spec) { s.Kind = compute.VM }

func info(tb testing.TB, inst compute.Instance) compute.Info {
	tb.Helper()
	i, err := inst.Info(tb.Context())
	require.NoError(tb, err)
	return i
}

func state(tb testing.TB, inst compute.Instance) compute.State {
	tb.Helper()
	return info(tb, inst).State
}

// exit waits for the end of the last run.
func exit(tb testing.TB, inst compute.Instance) compute.Exit {
	tb.Helper()
	e, err := inst.Wait(tb.Context(), compute.WaitOptions{})
	require.NoError(tb, err)
	return e
}

// untilDone is a program that ignores signals but for SIGKILL.
func untilDone(ctx context.Context, p *fake.Process) int {
	p.Signals()
	<-ctx.Done()
	return 0
}

// stubborn is a program that does not return when its context is done. It returns
// when the channel is closed, so that nothing is left of the test.
func stubborn(release <-chan struct{}) fake.Program {
	return func(context.Context, *fake.Process) int {
		<-release
		return 0
	}
}

// program registers one under the name "app".
func program(f fake.Program) fake.Options {
	return fake.Options{Programs: map[string]fake.Program{"app": f}}
}

// recorder is a fake.T that remembers what was said to it.
type recorder struct {
	testing.TB
	errors  []string
	cleanup []func()
	failed  bool
}

func (r *recorder) Helper()                      {}
func (r *recorder) Name() string                 { return "recorder" }
func (r *recorder) Failed() bool                 { return r.failed }
func (r *recorder) Cleanup(f func())             { r.cleanup = append(r.cleanup, f) }
func (r *recorder) Logf(format string, _ ...any) { r.errors = append(r.errors, "log: "+format) }
func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}
func (r *recorder) Fatalf(format string, args ...any) {
	r.errors = append(r.errors, "fatal: "+fmt.Sprintf(format, args...))
}

func (r *recorder) end() {
	for n := len(r.cleanup) - 1; n >= 0; n-- {
		r.cleanup[n]()
	}
}

// watching collects the events of a watch until the function says that it has
// seen enough.
func watching(tb testing.TB, p *fake.Provider, opts resource.WatchOptions, enough func(resource.Event) bool) []resource.Event {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 10*time.Second)
	defer cancel()
	var events []resource.Event
	for e, err := range p.Watch(ctx, opts) {
		require.NoError(tb, err)
		events = append(events, e)
		if enough(e) {
			break
		}
	}
	return events
}

func synced(e resource.Event) bool { return e.Type == resource.EventSynced }

// emptyFS is a file system without files.
type emptyFS struct{}

func (emptyFS) Open(name string) (fs.File, error) {
	return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
}
