package libvirtd

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/daemon"
)

// roleVariable makes the test binary a second program that starts the libvirtd of
// a folder.
const roleVariable = "LIBVIRTD_TEST_ROLE"

var background = context.Background()

func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == "owner" {
		owner(os.Args[1])
		return
	}
	os.Exit(m.Run())
}

type report struct {
	PID     int
	Adopted bool
	Fault   string
}

// owner starts the libvirtd of dir, reports, and ends with its input. It does not
// close what it started.
func owner(dir string) {
	var r report
	d, err := Start(background, testConfig(dir))
	if err != nil {
		r.Fault = err.Error()
	} else {
		s, _ := d.Status()
		r.PID, r.Adopted = s.PID, s.Adopted
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// program is a second program on a folder.
type program struct {
	t       *testing.T
	cmd     *exec.Cmd
	reports *json.Decoder
}

func startOwner(t *testing.T, dir string) *program {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, dir)
	cmd.Env = append(os.Environ(), roleVariable+"=owner")
	cmd.Stderr = os.Stderr
	_, err = cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	p := &program{t: t, cmd: cmd, reports: json.NewDecoder(bufio.NewReader(out))}
	t.Cleanup(p.kill)
	return p
}

func (p *program) report() (r report) {
	p.t.Helper()
	require.NoError(p.t, p.reports.Decode(&r))
	require.Empty(p.t, r.Fault)
	return r
}

func (p *program) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

// testConfig touches nothing of the host: no network, no device.
func testConfig(dir string) Config {
	return Config{Dir: dir, HideKVM: true, PrivateNetwork: true}
}

// folder makes the folder of a test, and sees to it that nothing is left.
func folder(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts libvirtd")
	}
	if _, err := find("", os.Getenv("PATH")); err != nil {
		t.Skipf("needs libvirtd: %v", err)
	}
	for _, name := range []string{"virsh", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("needs %s (packages libvirt-clients, qemu-system-x86)", name)
		}
	}
	// The name of the test would make the path too long for a socket.
	parent, err := os.MkdirTemp("", "managed%&'é")
	require.NoError(t, err)
	dir := filepath.Join(parent, "v")
	t.Cleanup(func() {
		if log, err := os.ReadFile(filepath.Join(dir, "daemon.log")); err == nil && t.Failed() {
			t.Logf("%s", log)
		}
		assert.NoError(t, Destroy(background, dir))
		assert.NoDirExists(t, dir)
		assert.Empty(t, inhabitantsOf(t, dir))
		assert.NotContains(t, mounts(t), parent)
		assert.Empty(t, cgroups(t))
		assert.NoError(t, os.RemoveAll(parent))
	})
	return dir
}

// begin starts the libvirtd of a folder; a test that fails does not keep it.
func begin(t *testing.T, config Config) *Daemon {
	t.Helper()
	d, err := Start(background, config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, d.Close(background, true)) })
	return d
}

// virsh runs one command on the daemon.
func virsh(t *testing.T, d *Daemon, args ...string) string {
	t.Helper()
	out, err := tryVirsh(d, args...)
	require.NoError(t, err, "virsh %s: %s", strings.Join(args, " "), out)
	return out
}

func tryVirsh(d *Daemon, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(background, 60*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "virsh", append([]string{"-q", "-c", d.URI()}, args...)...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// end ends a VM whose parent is init. If that reaps late, libvirt 9.0 may find out
// that the VM is gone while it waits, complain that there is none to destroy, and
// leave its cgroup.
func end(t *testing.T, d *Daemon, name string) {
	t.Helper()
	out, err := tryVirsh(d, "destroy", name)
	if err != nil {
		require.Contains(t, out, "domain is not running")
	}
	require.Equal(t, "shut off", virsh(t, d, "domstate", name))
	for _, path := range cgroups(t) {
		if strings.Contains(path, name) {
			removeCgroup(filepath.Join("/machine", filepath.Base(path)))
		}
	}
}

// domain is a VM without a disk, whose BIOS finds nothing to boot.
const domain = `<domain type='qemu'>
  <name>%s</name>
  <memory unit='MiB'>32</memory>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <serial type='pty'/>
    <memballoon model='none'/>
  </devices>
</domain>`

// The names of VMs, by which their cgroups are called, differ from those of others
// who test on this host.
var (
	nameA = fmt.Sprintf("a-%d", os.Getpid())
	nameB = fmt.Sprintf("b-%d", os.Getpid())
)

// vm defines and starts a VM and returns its process.
func vm(t *testing.T, d *Daemon, name string) int {
	t.Helper()
	file := filepath.Join(t.TempDir(), "domain.xml")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, domain, name), 0o600))
	virsh(t, d, "define", file)
	virsh(t, d, "start", name)
	return pidFrom(t, filepath.Join(d.layout.run(), "qemu", name+".pid"))
}

func pidFrom(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	require.NoError(t, err)
	return pid
}

// libvirtdOf is the process of libvirtd itself.
func libvirtdOf(t *testing.T, d *Daemon) int {
	t.Helper()
	return pidFrom(t, filepath.Join(d.layout.run(), "libvirtd.pid"))
}

func virtlogdOf(t *testing.T, d *Daemon) int {
	t.Helper()
	return pidFrom(t, filepath.Join(d.layout.run(), "virtlogd.pid"))
}

func parentOf(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	require.NoError(t, err)
	fields := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	parent, err := strconv.Atoi(fields[1])
	require.NoError(t, err)
	return parent
}

func alive(pid int) bool {
	line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
	return err == nil && len(line) > 0
}

// inhabitantsOf lists the processes that see the folder, or name it.
func inhabitantsOf(t *testing.T, dir string) []string {
	t.Helper()
	run, statErr := os.Stat(layout{dir: dir}.run())
	pids, err := daemon.Processes(func(pid int) bool {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		mounted, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "mountinfo"))
		return pid != os.Getpid() && (strings.Contains(string(line), dir+"\x00") || strings.Contains(string(mounted), dir)) ||
			statErr == nil && inhabits(pid, run)
	})
	require.NoError(t, err)
	var found []string
	for _, pid := range pids {
		line, _ := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		found = append(found, fmt.Sprintf("%d: %q", pid, line))
	}
	return found
}

func mounts(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/mountinfo")
	require.NoError(t, err)
	return string(data)
}

// cgroups lists those of our VMs.
func cgroups(t *testing.T) (found []string) {
	t.Helper()
	for _, name := range []string{nameA, nameB} {
		for _, pattern := range []string{"/sys/fs/cgroup/machine*/*-%s.*", "/sys/fs/cgroup/*/machine*/*-%s.*"} {
			paths, err := filepath.Glob(fmt.Sprintf(pattern, name))
			require.NoError(t, err)
			found = append(found, paths...)
		}
	}
	return found
}

// sockets lists the sockets in a folder.
func sockets(t *testing.T, dir string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		if e.Type() == os.ModeSocket {
			found = append(found, e.Name())
		}
	}
	return found
}

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}
