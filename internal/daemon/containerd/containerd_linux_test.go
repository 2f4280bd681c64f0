package containerd

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/internal/testprocess"
)

var background = context.Background()

func pidOf(d *Daemon) int {
	s, _ := d.Status()
	return s.PID
}

// await waits for a status by the value's own signal.
func await(t *testing.T, d *Daemon, want func(daemon.Status) bool) daemon.Status {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		s, changed := d.Status()
		if want(s) {
			return s
		}
		select {
		case <-changed:
		case <-deadline:
			require.FailNow(t, "status never came", "%+v", s)
		}
	}
}

func restarted(s daemon.Status) bool { return s.State == daemon.Running && s.Restarts > 0 }

func TestRunsContainersAndIsDestroyed(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		installed, err := exec.Command(config.Binary, "--version").Output()
		require.NoError(t, err)
		version, _, err := parseVersion(string(installed))
		require.NoError(t, err)
		assert.Equal(t, version, strings.TrimPrefix(d.Version(), "v"))
		assert.Equal(t, filepath.Join(config.Dir, "sock"), d.Address())

		b := startBox(t, d, "one")
		assert.True(t, b.runs())
		err = Destroy(background, config.Dir)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, "a value is open")
		assert.True(t, b.runs())

		require.NoError(t, d.Destroy(background))
		b.gone()
		leavesNothing(t, config.Dir)
		require.NoError(t, Destroy(background, config.Dir), "destroying twice")
	})
}

func TestRunsOnlyWhatIsNeeded(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		c, err := client.New(d.Address())
		require.NoError(t, err)
		defer c.Close()
		answer, err := c.IntrospectionService().Plugins(background)
		require.NoError(t, err)
		loaded := make(map[string]bool)
		for _, p := range answer.Plugins {
			name := p.Type + "." + p.ID
			loaded[name] = true
			for _, unwanted := range []string{"cri", "restart", "opt", "nri", "podsandbox"} {
				assert.NotEqual(t, unwanted, p.ID, name)
			}
			if p.InitErr != nil {
				assert.Contains(t, p.InitErr.Message, "skip plugin", name)
			}
		}
		for _, needed := range []string{"containers", "content", "diff", "events", "images", "introspection", "leases", "namespaces", "snapshots", "tasks", "version"} {
			assert.True(t, loaded["io.containerd.grpc.v1."+needed], needed)
		}
		assert.True(t, loaded["io.containerd.snapshotter.v1.overlayfs"])
		log, err := os.ReadFile(filepath.Join(config.Dir, "daemon.log"))
		require.NoError(t, err)
		assert.NotContains(t, string(log), "level=error")
		require.NoError(t, d.Close(background, false))
	})
}

func TestKilledDaemonIsBackWithItsContainers(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		b := startBox(t, d, "one")
		old := pidOf(d)
		require.NoError(t, syscall.Kill(old, syscall.SIGKILL))
		s := await(t, d, restarted)
		assert.NotEqual(t, old, s.PID)
		assert.True(t, alive(b.pid))
		assert.True(t, b.runs())
		startBox(t, d, "two")
		require.NoError(t, d.Destroy(background))
		b.gone()
	})
}

func TestKilledOwnerIsSucceeded(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		cmd, r := startOwner(t, config, nil)
		require.Empty(t, r.Fault)
		kill(cmd)
		d := begin(t, config)
		s, _ := d.Status()
		assert.Equal(t, daemon.Status{State: daemon.Running, PID: r.PID, Adopted: true}, s)
		assert.NotEmpty(t, d.Version())
		b := startBox(t, d, "one")

		require.NoError(t, syscall.Kill(r.PID, syscall.SIGKILL))
		s = await(t, d, restarted)
		assert.False(t, s.Adopted)
		assert.True(t, b.runs())
		require.NoError(t, d.Destroy(background))
		b.gone()
	})
}

func TestLastCloserShutsDown(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		pid := pidOf(d)
		cmd, r := startOwner(t, config, nil)
		require.Equal(t, report{PID: pid}, r)
		b := startBox(t, d, "one")
		require.NoError(t, d.Close(background, false))
		assert.True(t, alive(pid), "another program uses it")
		kill(cmd)

		d = begin(t, config)
		assert.Equal(t, pid, pidOf(d))
		require.NoError(t, d.Close(background, false))
		vanishes(t, pid)
		assert.True(t, alive(b.pid), "containers outlive the daemon")

		d = begin(t, config)
		assert.True(t, b.runs())
		require.NoError(t, d.Close(background, true))
		assert.NotEmpty(t, naming(t, config.Dir), "left running")
		require.NoError(t, Destroy(background, config.Dir))
		b.gone()
	})
}

func TestFailedStartTellsTheLog(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		require.NoError(t, d.Close(background, false))
		root := layout{dir: config.Dir}.root()
		require.NoError(t, os.RemoveAll(root))
		require.NoError(t, os.WriteFile(root, nil, 0o600))

		began := time.Now()
		_, err := Start(background, config)
		require.ErrorIs(t, err, errdefs.ErrUnavailable)
		assert.Less(t, time.Since(began), 10*time.Second)
		assert.ErrorContains(t, err, "exit status 1")
		assert.ErrorContains(t, err, "not a directory")
		assert.ErrorContains(t, err, root)
		assert.Empty(t, naming(t, config.Dir))
	})
}

func TestHungDaemonIsStopped(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		config.Grace = time.Second
		d := begin(t, config)
		pid := pidOf(d)
		testprocess.Freeze(t, pid)
		require.NoError(t, d.Stop(background))
		vanishes(t, pid)
	})
}

func TestDestroyAfterCrashOfEverything(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		cmd, r := startOwner(t, config, nil)
		require.Empty(t, r.Fault)
		d := begin(t, config)
		boxes := []*box{startBox(t, d, "one"), startBox(t, d, "two")}
		require.NoError(t, d.Close(background, true))

		kill(cmd)
		require.NoError(t, syscall.Kill(r.PID, syscall.SIGKILL))
		vanishes(t, r.PID)
		// One shim dies too, the other lives on without a daemon.
		pids, err := shims(d.Address())
		require.NoError(t, err)
		require.Len(t, pids, 2)
		require.NoError(t, syscall.Kill(pids[0], syscall.SIGKILL))
		for _, b := range boxes {
			assert.True(t, alive(b.pid))
		}
		require.NoError(t, Destroy(background, config.Dir))
		for _, b := range boxes {
			b.gone()
		}
	})
}

func TestDestroySparesOthers(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		mine := startBox(t, d, "mine")
		// A folder whose name begins like the other's.
		other := config
		other.Dir += "2"
		defer func() { assert.NoError(t, Destroy(background, other.Dir)) }()
		o := begin(t, other)
		theirs := startBox(t, o, "theirs")

		require.NoError(t, d.Destroy(background))
		mine.gone()
		assert.True(t, theirs.runs())
		_, err := os.Lstat(theirs.socket)
		assert.NoError(t, err)
		require.NoError(t, o.Destroy(background))
		theirs.gone()
		leavesNothing(t, other.Dir)
	})
}

func TestDestroyRefusesForeignFolder(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), nil, 0o600))
	require.ErrorIs(t, Destroy(background, dir), errdefs.ErrFailedPrecondition)
	require.FileExists(t, filepath.Join(dir, "thesis.txt"))
	require.ErrorIs(t, Destroy(background, "relative"), errdefs.ErrInvalidArgument)
}

func TestDestroyFindsUnrecordedBundle(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		require.NoError(t, d.Close(background, false))
		// A create that was killed between the bundle and its container.
		for _, name := range []string{"empty", ".deleted"} {
			require.NoError(t, os.MkdirAll(filepath.Join(layout{dir: config.Dir}.bundles(), testNamespace, name, "rootfs"), 0o700))
		}
		require.NoError(t, Destroy(background, config.Dir))
	})
}

func TestStateOfEarlierBootIsDropped(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		require.NoError(t, d.Close(background, false))
		l := layout{dir: config.Dir}
		stale := filepath.Join(l.bundles(), testNamespace, "stale")
		require.NoError(t, os.MkdirAll(stale, 0o700))
		require.NoError(t, os.WriteFile(l.boot(), []byte("earlier"), 0o600))
		d = begin(t, config)
		assert.NoDirExists(t, stale)
		require.NoError(t, d.Close(background, false))
	})
}

func TestStartRefusesDir(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: without it Start refuses for that")
	}
	for dir, says := range map[string]string{
		"":                                "Dir is required",
		"relative":                        "absolute",
		"/tmp/" + strings.Repeat("a", 89): "Dir is 1 bytes too long",
		"/tmp/a:b":                        "':'",
		"/tmp/a,b":                        "','",
		"/tmp/a%zz":                       "'%'",
		`/tmp/a\b`:                        `'\\'`,
	} {
		_, err := Start(background, Config{Dir: dir})
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument, dir)
		assert.ErrorContains(t, err, says)
		if dir != "" {
			assert.NoDirExists(t, dir)
		}
	}
}

func TestOddDir(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		config.Dir += ` "b" *[x]$(x)'ü`
		defer func() { assert.NoError(t, Destroy(background, config.Dir)) }()
		d := begin(t, config)
		b := startBox(t, d, "odd")
		assert.True(t, b.runs())
		require.NoError(t, d.Destroy(background))
		b.gone()
		leavesNothing(t, config.Dir)
	})
}

func TestStartNeedsRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		_, err := Start(background, Config{Dir: filepath.Join(t.TempDir(), "c")})
		require.ErrorIs(t, err, errdefs.ErrPermissionDenied)
		return
	}
	// The test binary's own folder is closed to others.
	dir, err := os.MkdirTemp("", "managed")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	require.NoError(t, os.Chmod(dir, 0o755))
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "program"), program, 0o755))
	_, r := startOwner(t, Config{Dir: filepath.Join(dir, "c")}, func(cmd *exec.Cmd) {
		cmd.Path, cmd.Dir = filepath.Join(dir, "program"), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	})
	assert.Contains(t, r.Fault, "only root can start containerd, this is uid 65534")
	assert.Contains(t, r.Fault, "permission denied")
}

// TestDestroyEndsProgramsOfTheFolder: a program that lies in the folder, as the
// writers of logs do, has some time to end and is killed then; others are let be.
func TestDestroyEndsProgramsOfTheFolder(t *testing.T) {
	eachContainerd(t, func(t *testing.T, config Config) {
		d := begin(t, config)
		require.NoError(t, d.Close(background, false))
		run := func(dir string, args ...string) (*exec.Cmd, io.Closer) {
			program, err := os.ReadFile(busybox)
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(dir, 0o700))
			path := filepath.Join(dir, "busybox")
			require.NoError(t, os.WriteFile(path, program, 0o700))
			cmd := exec.Command(path, args...)
			in, err := cmd.StdinPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { kill(cmd) })
			return cmd, in
		}
		stubborn, _ := run(filepath.Join(config.Dir, "bin"), "sleep", "100000")
		other, in := run(config.Dir+"2", "cat")
		t.Cleanup(func() { assert.NoError(t, os.RemoveAll(config.Dir+"2")) })
		require.NoError(t, Destroy(background, config.Dir))
		assert.ErrorContains(t, stubborn.Wait(), "killed")
		require.NoError(t, in.Close())
		assert.NoError(t, other.Wait(), "it is nobody's business")
	})
}
