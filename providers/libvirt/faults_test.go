//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// ownDaemon opens a provider of a libvirtd of the test's own.
func ownDaemon(t *testing.T) *Provider {
	t.Helper()
	startShared(t) // for the guest
	dir, err := os.MkdirTemp("", "univirt-lv-")
	require.NoError(t, err)
	p, err := New(t.Context(), Options{Managed: &Managed{Dir: filepath.Join(dir, "d"), PrivateNetwork: true}})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, p.Close())
		assert.NoError(t, Remove(context.Background(), filepath.Join(dir, "d")))
		assert.NoError(t, os.RemoveAll(dir))
	})
	return p
}

// libvirtdOf is the process of a managed daemon: the child of its parent.
func libvirtdOf(t *testing.T, p *Provider) int {
	t.Helper()
	status, _ := p.daemon.Status()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	for _, file := range files {
		text, _ := os.ReadFile(file)
		name, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if ok && strings.HasSuffix(name, "(libvirtd") && len(fields) > 1 && fields[1] == strconv.Itoa(status.PID) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			require.NoError(t, err)
			return pid
		}
	}
	require.Fail(t, "libvirtd does not run")
	return 0
}

// standsStill reports whether a process is stopped.
func standsStill(pid int) bool {
	text, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(text), ") ")
	return strings.HasPrefix(rest, "T")
}

func TestADaemonThatIsKilledIsFoundAgain(t *testing.T) {
	p := ownDaemon(t)
	ctx := t.Context()
	inst, err := p.Instances().Create(ctx, machine("web"))
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	before, err := inst.Info(ctx)
	require.NoError(t, err)

	events := make(chan resource.Event, 100)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		defer close(events)
		for event, err := range p.Watch(watching, resource.WatchOptions{}) {
			if err != nil {
				return
			}
			events <- event
		}
	}()
	next := func() resource.Event {
		select {
		case event := <-events:
			return event
		case <-time.After(8 * time.Second):
			require.Fail(t, "no event comes")
			return resource.Event{}
		}
	}
	require.Equal(t, resource.EventAdded, next().Type)
	require.Equal(t, resource.EventSynced, next().Type)

	require.NoError(t, syscall.Kill(libvirtdOf(t, p), syscall.SIGKILL))
	gap := next()
	require.Equal(t, resource.EventGap, gap.Type)
	require.ErrorIs(t, gap.Err, errLost)
	added := next()
	require.Equal(t, resource.EventAdded, added.Type)
	require.Equal(t, string(compute.Running), added.State)
	require.Equal(t, resource.EventSynced, next().Type)

	after, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.Running, after.State, "a machine outlives its daemon")
	assert.Equal(t, before.Run, after.Run)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	stopped := next()
	assert.Equal(t, string(compute.Stopped), stopped.State, "events are heard again")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
}

func TestADaemonThatHangsEndsNoCallLaterThanItsContext(t *testing.T) {
	p := ownDaemon(t)
	ctx := t.Context()
	inst, err := p.Instances().Create(ctx, machine("web"))
	require.NoError(t, err)
	pid := libvirtdOf(t, p)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	require.Eventually(t, func() bool { return standsStill(pid) }, 5*time.Second, time.Millisecond)

	const patience = 300 * time.Millisecond
	for _, c := range []struct {
		name string
		call func(context.Context) error
		most time.Duration // beyond the context
	}{
		{"info", func(ctx context.Context) error { _, err := inst.Info(ctx); return err }, time.Second},
		{"list", func(ctx context.Context) error {
			_, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
			return err
		}, time.Second},
		{"describe", func(ctx context.Context) error { _, err := p.Describe(ctx); return err }, time.Second},
		{"open", func(ctx context.Context) error {
			_, err := New(ctx, Options{URI: p.opts.URI, StateDir: t.TempDir(), Acceleration: AccelerationNone})
			return err
		}, time.Second},
		{"start", func(ctx context.Context) error { return inst.Start(ctx, compute.StartOptions{}) }, settleTime + time.Second},
		{"create", func(ctx context.Context) error { _, err := p.Instances().Create(ctx, machine("other")); return err }, compute.CleanupTimeout + time.Second},
	} {
		bounded, cancel := context.WithTimeout(ctx, patience)
		began := time.Now()
		err := c.call(bounded)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, c.name)
		assert.Less(t, time.Since(began), patience+c.most, c.name)
	}
	_, err = inst.Info(ctx)
	require.ErrorIs(t, err, errdefs.ErrUnavailable, "a call without a deadline ends when the daemon is found to hang")

	require.NoError(t, syscall.Kill(pid, syscall.SIGCONT))
	require.Eventually(t, func() bool { _, err := inst.Info(ctx); return err == nil }, 20*time.Second, 10*time.Millisecond)
	names := func() []string {
		var names []string
		for info, err := range p.Instances().List(ctx, compute.Filter{}) {
			require.NoError(t, err)
			names = append(names, info.Ref.Name)
		}
		return names
	}
	require.Eventually(t, func() bool { return assert.ObjectsAreEqual([]string{"web"}, names()) }, 20*time.Second, 50*time.Millisecond,
		"what was given up is undone")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
}

func TestAConnectionThatCannotBe(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for uri, kind := range map[string]error{
		"qemu+unix:///system?socket=" + dir + "/none": errdefs.ErrUnavailable,
		"qemu+unix:///system?socket=" + file:          errdefs.ErrUnavailable,
		"test://" + file:                              errdefs.ErrInvalidArgument,
	} {
		_, err := New(t.Context(), Options{URI: uri, StateDir: dir, Acceleration: AccelerationNone})
		require.ErrorIs(t, err, kind, "%s: %v", uri, err)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		assert.Equal(t, "uri", own.Field, uri)
	}
}
