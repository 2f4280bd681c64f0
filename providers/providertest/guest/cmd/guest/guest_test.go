//go:build linux && (amd64 || arm64)

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/univirt/univirt/providers/providertest/guest"
	testimage "github.com/univirt/univirt/providers/providertest/image"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// command returns the program as it stands in the test image, in a folder that
// every user can reach.
func command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	program, err := testimage.Binary(t.Context(), runtime.GOARCH)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "guest")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "guest")
	require.NoError(t, os.WriteFile(path, program, 0o755))
	require.NoError(t, os.Chmod(path, 0o755), "whatever the umask")
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Dir = "/"
	return cmd
}

func hardening(t *testing.T, attr *syscall.SysProcAttr) guest.Hardening {
	t.Helper()
	cmd := command(t, "hardening")
	cmd.SysProcAttr = attr
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	require.NoError(t, err)
	var h guest.Hardening
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&h))
	return h
}

// needs is the capability without which the kernel forbids a call.
var needs = map[string]string{
	"mount": "SYS_ADMIN", "umount": "SYS_ADMIN", "pivot_root": "SYS_ADMIN", "unshare-uts": "SYS_ADMIN",
	"sethostname": "SYS_ADMIN", "swapon": "SYS_ADMIN", "init_module": "SYS_MODULE", "kexec_load": "SYS_BOOT",
	"reboot": "SYS_BOOT", "settimeofday": "SYS_TIME", "mknod": "MKNOD", "open-device": "MKNOD", "socket-raw": "NET_RAW",
}

func TestHardening(t *testing.T) {
	before, err := os.Hostname()
	require.NoError(t, err)
	h := hardening(t, nil)
	var own guest.Hardening
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	require.NoError(t, own.ParseStatus(string(status)))
	assert.Equal(t, own.Seccomp, h.Seccomp)
	assert.Equal(t, own.NoNewPrivs, h.NoNewPrivs)
	assert.Equal(t, own.Effective, h.Effective)
	assert.Len(t, h.Paths, len(guest.MaskedPaths)+len(guest.ReadOnlyPaths))
	assert.Len(t, h.Calls, len(probes))
	assert.Subset(t, slices.Collect(maps.Keys(h.Calls)), guest.ForbiddenCalls)
	if h.Seccomp == 0 {
		for call, capability := range needs {
			// A kernel may lack a call as such.
			if slices.Contains(h.Effective, capability) && h.Calls[call] != "ENOSYS" {
				assert.False(t, h.Forbids(call), "%s: %s", call, h.Calls[call])
			}
		}
	}
	after, err := os.Hostname()
	require.NoError(t, err)
	assert.Equal(t, before, after, "the machine is as it was")
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "guest*", "device"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestHardeningWithoutPrivileges(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can run a program as another user")
	}
	h := hardening(t, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1000, Gid: 1000}})
	assert.Empty(t, h.Effective)
	for call := range needs {
		assert.True(t, h.Forbids(call), "%s: %q", call, h.Calls[call])
	}
}

func TestPathStates(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount")
	}
	// A goroutine that never unlocks its thread takes the mount namespace with it.
	states := make(chan map[string]guest.PathState)
	dir := t.TempDir()
	fault := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		got := map[string]guest.PathState{}
		fault <- func() error {
			if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
				return err
			}
			if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
				return err
			}
			for _, name := range []string{"masked", "full", "readonly", "open"} {
				if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
					return err
				}
			}
			file := filepath.Join(dir, "file")
			if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", filepath.Join(dir, "masked"), "tmpfs", unix.MS_RDONLY, ""); err != nil {
				return err
			}
			if err := unix.Mount("tmpfs", filepath.Join(dir, "full"), "tmpfs", 0, ""); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(dir, "full", "x"), nil, 0o600); err != nil {
				return err
			}
			if err := unix.Mount("", filepath.Join(dir, "full"), "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
				return err
			}
			readonly := filepath.Join(dir, "readonly")
			if err := unix.Mount(readonly, readonly, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			if err := unix.Mount("", readonly, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
				return err
			}
			got["file"] = state(file)
			if err := unix.Mount(os.DevNull, file, "", unix.MS_BIND, ""); err != nil {
				return err
			}
			for _, name := range []string{"masked", "full", "readonly", "open", "none"} {
				got[name] = state(filepath.Join(dir, name))
			}
			got["masked file"] = state(file)
			return nil
		}()
		states <- got
	}()
	if err := <-fault; err != nil {
		<-states
		require.ErrorIs(t, err, unix.EPERM)
		t.Skip("root cannot mount here: ", err)
	}
	assert.Equal(t, map[string]guest.PathState{
		"masked": guest.PathMasked, "masked file": guest.PathMasked, "full": guest.PathReadOnly,
		"readonly": guest.PathReadOnly, "open": guest.PathOpen, "file": guest.PathOpen, "none": guest.PathAbsent,
	}, <-states)
}

// terminal opens a pair of pseudo terminal ends.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	require.NoError(t, err)
	t.Cleanup(func() { master.Close() })
	require.NoError(t, unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	slave, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func resize(t *testing.T, f *os.File, columns, rows uint16) {
	t.Helper()
	require.NoError(t, unix.IoctlSetWinsize(int(f.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: columns, Row: rows}))
}

func TestTerminal(t *testing.T) {
	master, slave := terminal(t)
	resize(t, master, 80, 24)
	cmd := command(t, "tty", "watch")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	require.NoError(t, cmd.Start())
	expect := func(want string) {
		t.Helper()
		got := make([]byte, len(want))
		_, err := io.ReadFull(master, got)
		require.NoError(t, err)
		require.Equal(t, want, string(got))
	}
	expect("stdin=true stdout=true stderr=true\r\nsize=80x24\r\n")
	resize(t, master, 132, 50)
	expect("size=132x50\r\n")
	_, err := master.WriteString("\x03")
	require.NoError(t, err)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, 130, exit.ExitCode(), "the interrupt key ends it")
}

func TestMixedStreams(t *testing.T) {
	_, slave := terminal(t)
	resize(t, slave, 10, 5)
	cmd := command(t, "tty")
	cmd.Stderr = slave
	out, err := cmd.Output()
	require.NoError(t, err)
	assert.Equal(t, "stdin=false stdout=false stderr=true\nsize=10x5\n", string(out))
}

// The first process of a PID namespace dies by no signal that it sends itself,
// and is not killed by one that it does not handle.
func TestFirstProcess(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a PID namespace")
	}
	for _, c := range []struct {
		args []string
		code int
	}{
		{[]string{"die", "KILL"}, 137},
		{[]string{"die", "SEGV"}, 139},
		{[]string{"die", "TERM"}, 143},
		{[]string{"pid"}, 0},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			cmd := command(t, c.args...)
			cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}
			out, _ := cmd.Output()
			status := cmd.ProcessState.Sys().(syscall.WaitStatus)
			assert.False(t, status.Signaled())
			assert.Equal(t, c.code, cmd.ProcessState.ExitCode())
			if c.code == 0 {
				assert.Equal(t, "1\n", string(out))
			}
		})
	}
}

// Memory counts only once it is touched.
func TestAllocTouchesMemory(t *testing.T) {
	cmd := command(t, "alloc", "33554432")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line := make([]byte, len("allocated 33554432\n"))
	_, err = io.ReadFull(out, line)
	require.NoError(t, err)
	status, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(cmd.Process.Pid), "status"))
	require.NoError(t, err)
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	require.Error(t, cmd.Wait())
	assert.Equal(t, 143, cmd.ProcessState.ExitCode())
	for l := range strings.Lines(string(status)) {
		if f := strings.Fields(l); f[0] == "RssAnon:" {
			kilobytes, err := strconv.Atoi(f[1])
			require.NoError(t, err)
			assert.GreaterOrEqual(t, kilobytes, 32<<10)
			return
		}
	}
	t.Fatal("no resident memory is known")
}
