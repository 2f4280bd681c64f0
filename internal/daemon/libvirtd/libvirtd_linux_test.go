package libvirtd

import (
	"context"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/daemon"
)

func TestRunsVMs(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	assert.Regexp(t, `^\d+\.\d+\.\d+$`, d.Version())
	assert.Empty(t, virsh(t, d, "list", "--all"))
	s, _ := d.Status()
	shortest := time.Hour
	for _, name := range []string{nameA, nameB} {
		pid := vm(t, d, name)
		assert.Equal(t, s.PID, parentOf(t, pid), "the helper is the parent of what lost its own")
		info, err := os.Stat(filepath.Join("/proc", strconv.Itoa(pid)))
		require.NoError(t, err)
		qemu, err := user.Lookup(DefaultUser())
		require.NoError(t, err)
		assert.Equal(t, qemu.Uid, strconv.Itoa(int(info.Sys().(*syscall.Stat_t).Uid)))

		began := time.Now()
		virsh(t, d, "destroy", name)
		shortest = min(shortest, time.Since(began))
		assert.False(t, alive(pid))
	}
	// Libvirt waits for the pid to vanish, whose turn a slow reaper would delay by
	// a second or more.
	assert.Less(t, shortest, 500*time.Millisecond)

	require.NoError(t, d.Close(background, false))
	assert.Empty(t, inhabitantsOf(t, dir))
	assert.Empty(t, sockets(t, d.layout.run()))
}

func TestKilledLibvirtdIsBackWithItsVMs(t *testing.T) {
	d := begin(t, testConfig(folder(t)))
	began := time.Now()
	pid, old := vm(t, d, nameA), libvirtdOf(t, d)
	// One that dies sooner is taken for one that cannot run.
	require.Eventually(t, func() bool { return time.Since(began) > 1500*time.Millisecond }, 10*time.Second, 10*time.Millisecond)
	before, _ := d.Status()
	kill(t, old)
	require.Eventually(t, func() bool {
		_, err := AskVersion(background, d.Socket())
		return err == nil && !alive(old)
	}, 20*time.Second, 5*time.Millisecond)
	t.Logf("back after %s", time.Since(began)-1500*time.Millisecond)

	assert.NotEqual(t, old, libvirtdOf(t, d))
	after, _ := d.Status()
	assert.Equal(t, before, after, "the helper has seen to it")
	assert.True(t, alive(pid))
	assert.Equal(t, "running", virsh(t, d, "domstate", nameA))
	assert.Equal(t, after.PID, parentOf(t, pid))
	virsh(t, d, "destroy", nameA)
	assert.False(t, alive(pid))
}

func TestKilledParentIsSucceeded(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	pid, libvirtd, virtlogd := vm(t, d, nameA), libvirtdOf(t, d), virtlogdOf(t, d)
	before, _ := d.Status()
	network := namespaceOf(t, d)
	kill(t, before.PID)
	after := await(t, d, func(s daemon.Status) bool { return s.State == daemon.Running && s.Restarts > 0 })
	assert.NotEqual(t, before.PID, after.PID)
	assert.False(t, alive(libvirtd), "it dies with its parent")
	assert.Equal(t, virtlogd, virtlogdOf(t, d), "the log of the VM goes on")
	assert.Equal(t, network, namespaceOf(t, d), "the VM is in the same network")
	assert.True(t, alive(pid))
	assert.Equal(t, "running", virsh(t, d, "domstate", nameA))

	// The helper is not the parent of this log daemon, and replaces it all the same.
	kill(t, virtlogd)
	require.Eventually(t, func() bool {
		// The file is empty for a moment.
		data, err := os.ReadFile(filepath.Join(d.layout.run(), "virtlogd.pid"))
		pid, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return err == nil && pid != 0 && pid != virtlogd
	}, 20*time.Second, 5*time.Millisecond)
	second := vm(t, d, nameB)
	assert.Equal(t, after.PID, parentOf(t, second))
	end(t, d, nameA)
	virsh(t, d, "destroy", nameB)
	require.NoError(t, d.Close(background, false))
	assert.Empty(t, inhabitantsOf(t, dir))
	assert.Empty(t, sockets(t, d.layout.run()))
}

func TestKilledWithItsLogDaemon(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	pid, network := vm(t, d, nameA), namespaceOf(t, d)
	before, _ := d.Status()
	kill(t, virtlogdOf(t, d))
	kill(t, before.PID)
	await(t, d, func(s daemon.Status) bool { return s.State == daemon.Running && s.Restarts > 0 })
	assert.Equal(t, network, namespaceOf(t, d), "the VM keeps it")
	assert.Equal(t, "running", virsh(t, d, "domstate", nameA))
	require.NoError(t, d.Destroy(background))
	assert.False(t, alive(pid))
}

func TestKilledOwnerLeavesDaemonToAdopt(t *testing.T) {
	dir := folder(t)
	owner := startOwner(t, dir)
	r := owner.report()
	owner.kill()
	d := begin(t, testConfig(dir))
	s, _ := d.Status()
	assert.Equal(t, daemon.Status{State: daemon.Running, PID: r.PID, Adopted: true}, s)
	assert.NotEmpty(t, d.Version())
	require.NoError(t, d.Close(background, false))
	assert.Empty(t, inhabitantsOf(t, dir))
}

func TestManyStartsMakeOneDaemon(t *testing.T) {
	dir := folder(t)
	first, second := startOwner(t, dir), startOwner(t, dir)
	var wg sync.WaitGroup
	starters := make(chan int, 4)
	pids := make(chan int, 4)
	for range 2 {
		wg.Go(func() {
			d, err := Start(background, testConfig(dir))
			if !assert.NoError(t, err) {
				return
			}
			s, _ := d.Status()
			pids <- s.PID
			if !s.Adopted {
				starters <- s.PID
			}
			assert.NoError(t, d.Close(background, true))
		})
	}
	wg.Wait()
	for _, r := range []report{first.report(), second.report()} {
		pids <- r.PID
		if !r.Adopted {
			starters <- r.PID
		}
	}
	close(pids)
	assert.Len(t, starters, 1)
	pid := <-starters
	for other := range pids {
		assert.Equal(t, pid, other)
	}
}

func TestVMsOutliveTheDaemon(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	pid, libvirtd := vm(t, d, nameA), libvirtdOf(t, d)
	network := namespaceOf(t, d)
	s, _ := d.Status()
	require.NoError(t, d.Close(background, false))
	assert.False(t, alive(libvirtd))
	assert.False(t, alive(s.PID))
	assert.True(t, alive(pid))
	assert.Equal(t, []string{"virtlogd-admin-sock", "virtlogd-sock"}, sockets(t, d.layout.run()), "its log goes on")

	d = begin(t, testConfig(dir))
	assert.Equal(t, "running", virsh(t, d, "domstate", nameA))
	assert.Equal(t, network, namespaceOf(t, d))
	err := Destroy(background, dir)
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, "a value is open")
	assert.True(t, alive(pid))
	assert.NotEmpty(t, cgroups(t))
	require.NoError(t, d.Destroy(background))
	assert.False(t, alive(pid))
	require.NoError(t, Destroy(background, dir), "destroying twice")
}

func TestLogDaemonOfAnEarlierParentEndsToo(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	vm(t, d, nameA)
	virtlogd := virtlogdOf(t, d)
	require.NoError(t, d.Close(background, false))
	d = begin(t, testConfig(dir))
	assert.Equal(t, virtlogd, virtlogdOf(t, d))
	end(t, d, nameA)
	began := time.Now()
	require.NoError(t, d.Close(background, false))
	assert.Less(t, time.Since(began), 1500*time.Millisecond, "nobody's patience was needed")
	assert.Empty(t, inhabitantsOf(t, dir))
	assert.Empty(t, sockets(t, d.layout.run()))
}

func TestLeavesAndAdopts(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	s, _ := d.Status()
	require.NoError(t, d.Close(background, true))
	assert.True(t, alive(s.PID))

	d = begin(t, testConfig(dir))
	again, _ := d.Status()
	assert.Equal(t, daemon.Status{State: daemon.Running, PID: s.PID, Adopted: true}, again)
}

func TestFailedStartLeavesNothing(t *testing.T) {
	t.Run("libvirtd that cannot run", func(t *testing.T) {
		dir := folder(t)
		config := testConfig(dir)
		config.Binary = "/bin/false"
		began := time.Now()
		_, err := Start(background, config)
		require.ErrorIs(t, err, errdefs.ErrUnavailable)
		assert.ErrorContains(t, err, "/bin/false ended")
		assert.Less(t, time.Since(began), 10*time.Second)
		assert.Empty(t, inhabitantsOf(t, dir))
	})
	t.Run("cancelled", func(t *testing.T) {
		dir := folder(t)
		// One that never answers, so that the start cannot be over first.
		config := testConfig(dir)
		config.Binary = filepath.Join(t.TempDir(), "libvirtd")
		require.NoError(t, os.WriteFile(config.Binary, []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700))
		ctx, cancel := context.WithCancel(background)
		go func() {
			defer cancel()
			for ctx.Err() == nil {
				if _, err := os.Lstat(filepath.Join(dir, "run", "virtlogd-sock")); err == nil {
					return
				}
			}
		}()
		_, err := Start(ctx, config)
		cancel()
		require.ErrorIs(t, err, context.Canceled)
		assert.Empty(t, inhabitantsOf(t, dir))
	})
}

func TestHidesKVM(t *testing.T) {
	for name, tt := range map[string]struct {
		hide bool
		want fs.FileMode
	}{"hidden": {true, 0}, "shown": {false, fs.ModeDevice | fs.ModeCharDevice}} {
		t.Run(name, func(t *testing.T) {
			config := testConfig(folder(t))
			config.HideKVM = tt.hide
			d := begin(t, config)
			if _, err := os.Stat("/dev/kvm"); err != nil {
				assert.NoFileExists(t, d.within(t, "/dev/kvm"), "there is nothing to hide")
				return
			}
			info, err := os.Stat(d.within(t, "/dev/kvm"))
			require.NoError(t, err)
			assert.Equal(t, tt.want, info.Mode()&^0o777)
			if tt.hide {
				assert.Zero(t, info.Mode().Perm())
			}
			// What is hidden in there is not hidden here.
			info, err = os.Stat("/dev/kvm")
			require.NoError(t, err)
			assert.NotZero(t, info.Mode()&fs.ModeDevice)
		})
	}
}

// network is isolated, and has a server for names.
const network = `<network><name>n</name><bridge name='univirt-test0'/><ip address='192.0.2.1' netmask='255.255.255.0'/></network>`

func TestPrivateNetwork(t *testing.T) {
	dir := folder(t)
	d := begin(t, testConfig(dir))
	flags, err := os.ReadFile(d.within(t, "/sys/class/net/lo/flags"))
	require.NoError(t, err)
	value, err := strconv.ParseUint(string(flags[2:len(flags)-1]), 16, 32)
	require.NoError(t, err)
	assert.NotZero(t, value&syscall.IFF_UP)
	own, err := os.Stat("/proc/self/ns/net")
	require.NoError(t, err)
	assert.NotEqual(t, own.Sys().(*syscall.Stat_t).Ino, namespaceOf(t, d))

	file := filepath.Join(t.TempDir(), "network.xml")
	require.NoError(t, os.WriteFile(file, []byte(network), 0o600))
	virsh(t, d, "net-define", file)
	virsh(t, d, "net-start", "n")
	assert.DirExists(t, d.within(t, "/sys/class/net/univirt-test0/bridge"))
	assert.NoDirExists(t, "/sys/class/net/univirt-test0")

	// Networks outlive the daemon, as VMs do.
	require.NoError(t, d.Close(background, false))
	d = begin(t, testConfig(dir))
	assert.Contains(t, virsh(t, d, "net-list"), "active")
	assert.DirExists(t, d.within(t, "/sys/class/net/univirt-test0/bridge"))
	virsh(t, d, "net-destroy", "n")
	require.NoError(t, d.Close(background, false))
	assert.Empty(t, inhabitantsOf(t, dir))
}

func TestHostNetwork(t *testing.T) {
	config := testConfig(folder(t))
	config.PrivateNetwork = false
	d := begin(t, config)
	own, err := os.Stat("/proc/self/ns/net")
	require.NoError(t, err)
	assert.Equal(t, own.Sys().(*syscall.Stat_t).Ino, namespaceOf(t, d))
}

// within is how a path of the daemon's mount namespace is reached from here.
func (d *Daemon) within(t *testing.T, path string) string {
	t.Helper()
	s, _ := d.Status()
	return filepath.Join("/proc", strconv.Itoa(s.PID), "root", path)
}

func namespaceOf(t *testing.T, d *Daemon) uint64 {
	t.Helper()
	info, err := os.Stat(d.NetworkNamespace())
	require.NoError(t, err)
	return info.Sys().(*syscall.Stat_t).Ino
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
