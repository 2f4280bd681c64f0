package containerd

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	"github.com/univirt/univirt/internal/testprocess"
	"github.com/univirt/univirt/resource"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]Options{
		"containerd:":              {},
		"containerd:///run/x.sock": {Address: "/run/x.sock"},
		"containerd:?namespace=a&owner=b&state=/s&snapshotter=native&runtime=r": {Namespace: "a", Owner: "b", StateDir: "/s", Snapshotter: "native", Runtime: "r"},
		"containerd:?supervise=true":                        {Supervise: true},
		"containerd:?managed=/dir":                          {Managed: &Managed{Dir: "/dir"}},
		"containerd:?managed=/dir&leave=true&binary=/bin/c": {Managed: &Managed{Dir: "/dir", Leave: true, Binary: "/bin/c"}},
	} {
		t.Run(text, func(t *testing.T) {
			u, err := url.Parse(text)
			require.NoError(t, err)
			have, err := parseURL(u)
			require.NoError(t, err)
			assert.Equal(t, want, have)
		})
	}
	for text, field := range map[string]string{
		"containerd:?colour=red":            "url.query[colour]",
		"containerd:?owner=a&owner=b":       "url.query[owner]",
		"containerd://host/run/x.sock":      "url.host",
		"containerd:run/x.sock":             "url.path",
		"containerd:?leave=true":            "url.query[leave]",
		"containerd:?binary=/x":             "url.query[binary]",
		"containerd:?managed=/d&leave=yes!": "url.query[leave]",
		"containerd:?supervise=maybe":       "url.query[supervise]",
		"containerd+other:":                 "url.scheme",
		"containerd:?namespace=A":           "namespace",
		"containerd:?owner=a%20b":           "owner",
		"containerd:?state=x":               "stateDir",
		"containerd:?snapshotter=a/b":       "snapshotter",
		"containerd:?runtime=a..b":          "runtime",
		"containerd:?managed=rel":           "managed.dir",
		"containerd:///x?managed=/d":        "address",
		"containerd:///a/../b":              "address",
	} {
		t.Run(text, func(t *testing.T) {
			p, err := univirt.Open(t.Context(), text)
			assert.Nil(t, p)
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			assert.Equal(t, field, resource.FaultsOf(err)[0].Field)
		})
	}
}

func TestFaultsComeInTheOrderOfTheFields(t *testing.T) {
	for name, c := range map[string]struct {
		opts   Options
		fields []string
	}{
		"system's": {Options{
			Address: "x", Namespace: "A", Owner: "a b", StateDir: "x", Snapshotter: "a/b", Runtime: "a..b",
			ConnectTimeout: -1, CallTimeout: -1, LogSize: -1, LogFiles: -1,
		}, []string{
			"address", "namespace", "owner", "stateDir", "snapshotter", "runtime",
			"connectTimeout", "callTimeout", "logSize", "logFiles",
		}},
		"managed": {Options{
			Address: "/x", Managed: &Managed{Dir: "x", Binary: "x", StartTimeout: -1}, ConnectTimeout: -1, CallTimeout: -1,
		}, []string{
			"address", "managed.dir", "managed.binary", "managed.startTimeout", "connectTimeout", "callTimeout",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(t.Context(), c.opts)
			var fields []string
			for _, fault := range resource.FaultsOf(err) {
				fields = append(fields, fault.Field)
			}
			assert.Equal(t, c.fields, fields)
		})
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("containerd:?managed=/dir&leave=true")
	f.Add("containerd:///run/x.sock?namespace=a")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != Scheme {
			return
		}
		opts, err := parseURL(u)
		if err != nil {
			require.NotEmpty(t, resource.FaultsOf(err))
			return
		}
		_, faults := opts.normalise()
		require.True(t, len(faults) > 0 || opts.Managed != nil || filepath.IsAbs(opts.Address) || opts.Address == "")
	})
}

func TestSpaceOf(t *testing.T) {
	for namespace, want := range map[string]string{
		"default": "univirt-default", "a-b": "univirt-a-b", "a--b": "univirt-a-Xb", "a---b": "univirt-a-XXb",
	} {
		assert.Equal(t, want, spaceOf(namespace))
		assert.Empty(t, checkIdentifier(want))
	}
}

// TestAddress has every way in which a socket can be none.
func TestAddress(t *testing.T) {
	dir, err := os.MkdirTemp("", "sock") // short, as the path of a socket must be
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	file := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	listen := func(name string) net.Listener {
		l, err := net.Listen("unix", filepath.Join(dir, name))
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		return l
	}
	stale := listen("stale").(*net.UnixListener)
	stale.SetUnlinkOnClose(false)
	require.NoError(t, stale.Close())
	listen("silent")
	fillQueue(t, filepath.Join(dir, "full"))
	for name, c := range map[string]struct {
		address string
		kind    error
		says    string
		timeout time.Duration // 200 ms if 0
	}{
		"does not exist":  {filepath.Join(dir, "none"), errdefs.ErrUnavailable, "does not exist; is containerd running?", 0},
		"is below a file": {filepath.Join(file, "x"), errdefs.ErrInvalidArgument, "not a directory", 0},
		"is no socket":    {file, errdefs.ErrInvalidArgument, "is no socket", 0},
		"is a folder":     {dir, errdefs.ErrInvalidArgument, "is no socket", 0},
		"nobody listens":  {filepath.Join(dir, "stale"), errdefs.ErrUnavailable, "nobody listens; is containerd running?", 0},
		"never answers":   {filepath.Join(dir, "silent"), errdefs.ErrUnavailable, "no answer within 200ms", 0},
		// Longer than a second, which gRPC would give up after by itself.
		"takes long":     {filepath.Join(dir, "silent"), errdefs.ErrUnavailable, "no answer within 1.5s", 1500 * time.Millisecond},
		"nobody accepts": {filepath.Join(dir, "full"), errdefs.ErrUnavailable, "no answer within 200ms", 0},
		"too long":       {filepath.Join(dir, longName), errdefs.ErrUnavailable, "does not exist", 0},
	} {
		t.Run(name, func(t *testing.T) {
			begun := time.Now()
			_, err := New(t.Context(), Options{Address: c.address, ConnectTimeout: cmp.Or(c.timeout, 200*time.Millisecond)})
			field(t, err, c.kind, "address")
			assert.ErrorContains(t, err, c.address+": "+c.says)
			assert.Less(t, time.Since(begun), 5*time.Second)
		})
	}
	t.Run("is not permitted", func(t *testing.T) {
		address := filepath.Join(dir, "silent")
		require.NoError(t, os.Chmod(dir, 0o755))
		require.NoError(t, os.Chmod(address, 0))
		err := asNobody(t, func() error {
			_, err := New(t.Context(), Options{Address: address, ConnectTimeout: 200 * time.Millisecond})
			return err
		})
		field(t, err, errdefs.ErrPermissionDenied, "address")
		assert.ErrorContains(t, err, address)
		// In a folder that may not be entered, too.
		require.NoError(t, os.Chmod(dir, 0))
		defer func() { assert.NoError(t, os.Chmod(dir, 0o700)) }()
		err = asNobody(t, func() error {
			_, err := New(t.Context(), Options{Address: address})
			return err
		})
		field(t, err, errdefs.ErrPermissionDenied, "address")
	})
	t.Run("ends with the context", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		_, err := New(ctx, Options{Address: filepath.Join(dir, "silent")})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		cancel()
		_, err = New(ctx, Options{Address: filepath.Join(dir, "silent")})
		require.Error(t, err)
	})
}

// fillQueue makes a socket at which as many wait to be accepted as may.
func fillQueue(t *testing.T, address string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	require.NoError(t, unix.Bind(fd, &unix.SockaddrUnix{Name: address}))
	require.NoError(t, unix.Listen(fd, 0))
	for {
		conn, err := net.Dial("unix", address)
		if err != nil {
			require.ErrorIs(t, err, unix.EAGAIN)
			return
		}
		t.Cleanup(func() { _ = conn.Close() })
	}
}

// asNobody runs a function with a thread to which files are open as to a user with
// no rights. That may be the main thread, of which /proc/self tells and which no
// goroutine ends, so it gets its rights back.
func asNobody(t *testing.T, do func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return do() // a mode of 0 keeps the owner out too
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// The user last, and first on the way back: only root may change the group.
	defer setFileID(t, syscall.SYS_SETFSGID, 0)
	setFileID(t, syscall.SYS_SETFSGID, nobody)
	defer setFileID(t, syscall.SYS_SETFSUID, 0)
	setFileID(t, syscall.SYS_SETFSUID, nobody)
	return do()
}

const nobody = 65534

// setFileID sets the user or the group of this thread for files. The kernel tells
// the one before and no error.
func setFileID(t *testing.T, call, id uintptr) {
	t.Helper()
	_, _, _ = syscall.RawSyscall(call, id, 0, 0)
	now, _, _ := syscall.RawSyscall(call, id, 0, 0)
	require.Equal(t, id, now)
}

const longName = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"

func TestNamespaceIsUsedInOneWay(t *testing.T) {
	p := open(t, Options{})
	for name, opts := range map[string]Options{
		"snapshotter": {Snapshotter: "native"},
		"stateDir":    {StateDir: t.TempDir()},
	} {
		opts.Address, opts.Namespace = p.opts.Address, p.opts.Namespace
		_, err := New(t.Context(), opts)
		field(t, err, errdefs.ErrFailedPrecondition, name)
	}
}

// ownDaemon is a containerd of one test, with a provider and a running instance.
func ownDaemon(t *testing.T) (*Provider, compute.Instance) {
	t.Helper()
	startShared(t) // skips where there is none
	dir, err := os.MkdirTemp("", "own")
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, managed.Destroy(context.Background(), filepath.Join(dir, "d")))
		assert.NoError(t, os.RemoveAll(dir))
	})
	p, err := New(t.Context(), Options{Managed: &Managed{Dir: filepath.Join(dir, "d"), Binary: os.Getenv(binaryVariable)}})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, p.Close()) })
	importGuest(t, p)
	return p, start(t, p, guestSpec("a", "sleep", "1h"))
}

// everyCall has each operation of a provider and of an instance that runs.
func everyCall(p *Provider, inst compute.Instance) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := p.Instances().Create(ctx, guestSpec("b", "sleep", "1h"))
			return err
		},
		"get": func(ctx context.Context) error { _, err := p.Instances().Get(ctx, "a"); return err },
		"list": func(ctx context.Context) error {
			_, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
			return err
		},
		"stats": func(ctx context.Context) error {
			_, err := resource.Collect(p.Instances().Stats(ctx, compute.Filter{}))
			return err
		},
		"info":  func(ctx context.Context) error { _, err := inst.Info(ctx); return err },
		"start": func(ctx context.Context) error { return inst.Start(ctx, compute.StartOptions{}) },
		"stop":  func(ctx context.Context) error { return inst.Stop(ctx, compute.StopOptions{}) },
		"wait":  func(ctx context.Context) error { _, err := inst.Wait(ctx, compute.WaitOptions{}); return err },
		"update": func(ctx context.Context) error {
			return inst.Update(ctx, compute.Change{Resources: &compute.Resources{PIDs: 50}})
		},
		"delete": func(ctx context.Context) error { return inst.Delete(ctx, compute.DeleteOptions{Force: true}) },
		"pause":  func(ctx context.Context) error { return compute.Pause(ctx, inst) },
		"exec": func(ctx context.Context) error {
			_, err := compute.Exec(ctx, inst, compute.ExecSpec{Process: compute.Process{Command: []string{"/bin/guest"}}})
			return err
		},
		"logs": func(ctx context.Context) error {
			_, err := resource.Collect(compute.Logs(ctx, inst, compute.LogOptions{}))
			return err
		},
		"resume":  func(ctx context.Context) error { return compute.Resume(ctx, inst) },
		"restart": func(ctx context.Context) error { return compute.Restart(ctx, inst, compute.StopOptions{}) },
		"plan": func(ctx context.Context) error {
			_, err := compute.PlanOf(ctx, p.Instances(), guestSpec("b", "sleep", "1h"))
			return err
		},
		"describe": func(ctx context.Context) error { _, err := p.Describe(ctx); return err },
		"sweep":    func(ctx context.Context) error { _, err := p.Sweep(ctx, univirt.SweepOptions{}); return err },
		"watch": func(ctx context.Context) error {
			for _, err := range p.Watch(ctx, resource.WatchOptions{}) {
				return err
			}
			return nil
		},
		"image": func(ctx context.Context) error { _, err := p.Images().Get(ctx, guestName); return err },
		"images": func(ctx context.Context) error {
			_, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
			return err
		},
		"import": func(ctx context.Context) error {
			archive, err := guestArchive()
			if err == nil {
				_, err = p.Images().Import(ctx, compute.ImageSource{Reader: bytes.NewReader(archive), Format: compute.OCIArchive}, compute.ImportOptions{})
			}
			return err
		},
		"export": func(ctx context.Context) error {
			return p.Images().Export(ctx, io.Discard, []string{guestName}, compute.ExportOptions{})
		},
		"delete an image": func(ctx context.Context) error {
			return p.Images().Delete(ctx, "example.test/other:v1", compute.DeleteImageOptions{})
		},
	}
}

// TestDaemonThatHangs stops the daemon in the middle of each call: each ends with
// its context, and afterwards everything is as before.
func TestDaemonThatHangs(t *testing.T) {
	t.Parallel()
	p, inst := ownDaemon(t)
	status, _ := p.conn.daemon.Status()
	thaw := testprocess.Freeze(t, status.PID)
	for name, call := range everyCall(p, inst) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			begun := time.Now()
			require.ErrorIs(t, call(ctx), context.DeadlineExceeded)
			assert.Less(t, time.Since(begun), 15*time.Second)
		})
	}
	thaw()
	// What was asked for meanwhile is done, or it is not: both are states.
	require.Eventually(t, func() bool {
		i, err := inst.Info(t.Context())
		return errors.Is(err, errdefs.ErrNotFound) || err == nil && i.State.Settled()
	}, 30*time.Second, 10*time.Millisecond)
}

// TestDaemonThatDies kills the daemon, which is restarted, in the middle of each
// call: each ends with an error that says so, or succeeds at the new daemon.
func TestDaemonThatDies(t *testing.T) {
	t.Parallel()
	// Those last that leave nothing to be killed under the next.
	last := []string{"stop", "delete"}
	calls := slices.Sorted(maps.Keys(everyCall(nil, nil)))
	calls = append(slices.DeleteFunc(calls, func(name string) bool { return slices.Contains(last, name) }), last...)
	if testing.Short() {
		calls = []string{"create", "exec", "start", "stop", "delete"}
	}
	// A daemon that dies too often in a row is given up.
	for names := range slices.Chunk(calls, 5) {
		p, inst := ownDaemon(t)
		for _, name := range names {
			testDeath(t, p, inst, name)
		}
	}
}

func testDeath(t *testing.T, p *Provider, inst compute.Instance, name string) {
	t.Run(name, func(t *testing.T) {
		outcome := make(chan error, 1)
		status, _ := p.conn.daemon.Status()
		process, err := os.FindProcess(status.PID)
		require.NoError(t, err)
		asked := func() (n int) {
			counts, _ := Calls(p)
			for method, count := range counts {
				if name != "wait" || method == "Tasks/Wait" {
					n += count
				}
			}
			return n
		}
		if name != "wait" {
			testprocess.Freeze(t, status.PID)
		}
		before := asked()
		go func() { outcome <- everyCall(p, inst)[name](t.Context()) }()
		require.Eventually(t, func() bool { return asked() > before }, 10*time.Second, time.Millisecond, "the daemon is not asked")
		require.NoError(t, process.Kill())
		err = <-outcome
		if err != nil {
			require.ErrorIs(t, err, errdefs.ErrUnavailable)
			assert.True(t, resource.Retryable(err))
		}
		require.Eventually(t, func() bool {
			now, _ := p.conn.daemon.Status()
			if now.PID == status.PID || now.PID == 0 {
				return false
			}
			_, err := p.Instances().Get(t.Context(), "a")
			return err == nil || errors.Is(err, errdefs.ErrNotFound)
		}, 30*time.Second, 10*time.Millisecond)
		// Whatever it was asked for, it is in a state that can be gone on from.
		if err := compute.Resume(t.Context(), inst); err != nil && !errors.Is(err, errdefs.ErrNotFound) {
			require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
		}
	})
}

func TestCallTimeout(t *testing.T) {
	p, inst := ownDaemon(t)
	p.conn.calls.timeout = 50 * time.Millisecond
	status, _ := p.conn.daemon.Status()
	thaw := testprocess.Freeze(t, status.PID)
	_, err := inst.Info(t.Context())
	require.ErrorIs(t, err, errdefs.ErrUnavailable)
	assert.ErrorContains(t, err, "50ms")
	thaw()
	p.conn.calls.timeout = 0
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true}))
}

// TestManagedStartThatIsRefused has what is said where a folder or a program is not
// fit: once what failed, and which option is at fault.
func TestManagedStartThatIsRefused(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without it a start is refused for that")
	}
	top := t.TempDir()
	open, full := filepath.Join(top, "open"), filepath.Join(top, "full")
	require.NoError(t, os.Mkdir(open, 0o700))
	require.NoError(t, os.Chmod(open, 0o777))
	require.NoError(t, os.MkdirAll(filepath.Join(full, "x"), 0o700))
	odd := filepath.Join(top, "a:b")
	binary := os.Getenv(binaryVariable)
	for name, c := range map[string]struct {
		managed     Managed
		kind        error
		field, says string
	}{
		"open to others": {Managed{Dir: open, Binary: binary}, errdefs.ErrPermissionDenied, "managed.dir",
			`open: managed.dir: start managed containerd in "` + open + `": the folder is writable by others (mode 0777): permission denied`},
		"not ours": {Managed{Dir: full, Binary: binary}, errdefs.ErrFailedPrecondition, "managed.dir",
			`open: managed.dir: start managed containerd in "` + full + `": the folder holds "x" and was not made by this library, give an empty or absent one: failed precondition`},
		"not in a mount": {Managed{Dir: odd, Binary: binary}, errdefs.ErrInvalidArgument, "managed.dir",
			`open: managed.dir: start managed containerd in "` + odd + `": Dir holds ':', which containerd's mounts and addresses cannot have: invalid argument`},
		"no program": {Managed{Dir: odd[:len(odd)-2], Binary: "/none"}, errdefs.ErrNotFound, "managed.binary",
			`open: managed.binary: start managed containerd in "` + odd[:len(odd)-2] + `": Binary /none is not an executable file: not found; `},
	} {
		t.Run(name, func(t *testing.T) {
			if c.managed.Binary == "" {
				startShared(t) // skips where there is none
			}
			_, err := New(t.Context(), Options{Managed: &c.managed})
			field(t, err, c.kind, c.field)
			assert.True(t, strings.HasPrefix(err.Error(), c.says), err.Error())
		})
	}
}

// TestManagedStartEndsWithItsContext ends the context in the middle of a start, by
// a cause of the caller's own: the error is a context's all the same.
func TestManagedStartEndsWithItsContext(t *testing.T) {
	startShared(t) // skips where there is none
	dir, err := os.MkdirTemp("", "univirt-ends-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	for _, after := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond} {
		ctx, cancel := context.WithCancelCause(t.Context())
		timer := time.AfterFunc(after, func() { cancel(errors.New("interrupt")) })
		p, err := New(ctx, Options{Managed: &Managed{Dir: filepath.Join(dir, "d"), Binary: os.Getenv(binaryVariable)}})
		timer.Stop()
		if err == nil {
			// A fast machine was faster.
			require.NoError(t, p.Close())
			continue
		}
		require.ErrorIs(t, err, context.Canceled, "after %s", after)
	}
	require.NoError(t, Remove(t.Context(), filepath.Join(dir, "d")))
}
