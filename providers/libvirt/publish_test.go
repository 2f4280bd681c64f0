//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// forwarderOf is the process that forwards the ports of an instance, or 0.
func forwarderOf(t *testing.T, id string) int {
	t.Helper()
	pids, err := daemon.Processes(func(pid int) bool {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		words := strings.Split(string(line), "\x00")
		return err == nil && slices.Contains(words, "forward") && slices.Contains(words, id)
	})
	require.NoError(t, err)
	if len(pids) == 0 {
		return 0
	}
	require.Len(t, pids, 1)
	return pids[0]
}

// echoed reports whether a line comes back from a port of the host.
func echoed(t *testing.T, port network.Port) bool {
	t.Helper()
	conn, err := net.DialTimeout(string(port.Protocol), netip.AddrPortFrom(port.HostIP, port.Host).String(), 5*time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	return echoes(conn)
}

func echoes(conn net.Conn) bool {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, "hello\n"); err != nil {
		return false
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	return err == nil && line == "hello\n"
}

func TestPublishedPorts(t *testing.T) {
	t.Parallel()
	p := open(t, "ports")
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	n, err := p.Networks().Create(ctx, dualStack("lan", "10.83.1.0/24", "fd42:83:1::/64"))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	spec := machine("web", "listen", ":80")
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	spec.Ports = []network.Port{
		{Name: "http", Instance: 80, Publish: true}, {Instance: 81, Publish: true}, {Name: "inside", Instance: 80},
		{Instance: 53, Protocol: network.UDP, Publish: true},
	}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	remove := func() error {
		return inst.Delete(context.WithoutCancel(ctx), compute.DeleteOptions{Force: true})
	}
	deleted := false
	t.Cleanup(func() {
		if !deleted {
			assert.NoError(t, remove())
		}
	})
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.Len(t, info.Ports, 3)
	assert.Zero(t, info.Ports[0].Host)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err = compute.WaitFor(ctx, inst, compute.LevelAddress)
	require.NoError(t, err)
	require.Len(t, info.Ports, 3)
	web := info.Ports[0]
	assert.NotZero(t, web.Host)
	assert.True(t, web.HostIP.IsLoopback())
	require.Eventually(t, func() bool { return echoed(t, web) }, 30*time.Second, 100*time.Millisecond)
	assert.False(t, echoed(t, info.Ports[1]), "where nothing listens")

	t.Run("both families are dialled", func(t *testing.T) {
		for _, port := range []string{"http", "80"} {
			conn, err := compute.Dial(ctx, inst, port)
			require.NoError(t, err)
			assert.True(t, echoes(conn))
			require.NoError(t, conn.Close())
		}
		_, err = compute.Dial(ctx, inst, "82")
		require.ErrorIs(t, err, errdefs.ErrUnavailable)
		conn, err := inst.(compute.Dialer).Dial(ctx, network.UDP, 53)
		require.NoError(t, err)
		_, err = conn.Write([]byte("x"))
		require.NoError(t, err)
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNREFUSED, "the machine says that nothing listens")
		require.NoError(t, conn.Close())
		_, err = inst.(compute.Dialer).Dial(ctx, network.TCP, 0)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
	})
	t.Run("each direction has its own end", func(t *testing.T) {
		const size = 8 << 20
		conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(web.HostIP, web.Host)))
		require.NoError(t, err)
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		go func() {
			_, _ = io.CopyN(conn, rand.Reader, size)
			_ = conn.CloseWrite()
		}()
		n, err := io.Copy(io.Discard, conn)
		require.NoError(t, err)
		assert.EqualValues(t, size, n, "the machine has seen the end, and answered all")
	})
	t.Run("many connections", func(t *testing.T) {
		var all sync.WaitGroup
		for range 100 {
			all.Go(func() { assert.True(t, echoed(t, web)) })
		}
		all.Wait()
	})
	t.Run("datagrams", func(t *testing.T) {
		_, err := compute.WaitFor(ctx, inst, compute.LevelAgent)
		require.NoError(t, err)
		x, err := compute.Exec(ctx, inst, compute.ExecSpec{Process: compute.Process{Command: []string{testguest.Program, "answer", ":53"}}})
		require.NoError(t, err)
		defer func() { _ = x.Signal(ctx, "SIGKILL") }()
		require.Eventually(t, func() bool { return echoed(t, info.Ports[2]) }, 30*time.Second, 50*time.Millisecond)
		conn, err := inst.(compute.Dialer).Dial(ctx, network.UDP, 53)
		require.NoError(t, err)
		assert.True(t, echoes(conn))
		require.NoError(t, conn.Close())
	})
	t.Run("a helper that is killed is replaced", func(t *testing.T) {
		pid := forwarderOf(t, inst.ID())
		require.NotZero(t, pid)
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
		require.Eventually(t, func() bool { return !echoed(t, web) }, 10*time.Second, 10*time.Millisecond)
		again, err := inst.Info(ctx)
		require.NoError(t, err)
		assert.Equal(t, info.Ports, again.Ports, "with the same ports")
		assert.True(t, echoed(t, web))
		assert.NotEqual(t, pid, forwarderOf(t, inst.ID()))
	})
	t.Run("another cannot have the port", func(t *testing.T) {
		other := spec
		other.Name, other.Ports = "other", []network.Port{{Instance: 80}, {Instance: 80, Publish: true, Host: web.Host}}
		second, err := p.Instances().Create(ctx, other)
		require.NoError(t, err)
		defer func() { assert.NoError(t, second.Delete(ctx, compute.DeleteOptions{Force: true})) }()
		err = second.Start(ctx, compute.StartOptions{})
		require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
		assert.Equal(t, "ports[1].host", fieldOf(err))
		assert.Zero(t, forwarderOf(t, second.ID()))
	})
	t.Run("it ends with the run, and the next has the same", func(t *testing.T) {
		conn, err := compute.Dial(ctx, inst, "http")
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
		_, err = conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, syscall.ECONNRESET)
		require.Eventually(t, func() bool { return forwarderOf(t, inst.ID()) == 0 }, 5*time.Second, 5*time.Millisecond)
		require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
		again, err := inst.Info(ctx)
		require.NoError(t, err)
		assert.Equal(t, info.Ports, again.Ports)
		require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
		busy, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", web.Host))
		require.NoError(t, err)
		defer busy.Close()
		require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
		again, err = inst.Info(ctx)
		require.NoError(t, err)
		assert.NotEqual(t, web.Host, again.Ports[0].Host, "nobody asked for that one")
		assert.Equal(t, info.Ports[1], again.Ports[1])
	})
	require.NoError(t, remove())
	deleted = true
	assert.Zero(t, forwarderOf(t, inst.ID()))
	assert.NoFileExists(t, p.portsPath(inst.ID()))
}

// fieldOf is the field that an error names.
func fieldOf(err error) string {
	var own *resource.Error
	if errors.As(err, &own) {
		return own.Field
	}
	return ""
}

func TestPublishingNeedsAnAddress(t *testing.T) {
	p := open(t, "noaddress")
	spec := machine("web")
	spec.Ports = []network.Port{{Instance: 80, Publish: true}}
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	defer func() { assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true})) }()
	err = inst.Start(t.Context(), compute.StartOptions{})
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	assert.Equal(t, "ports[0].publish", fieldOf(err))
}

func TestSweepTakesPortsOfTheDead(t *testing.T) {
	p := open(t, "deadports")
	id := resource.NewID()
	require.NoError(t, os.WriteFile(p.portsPath(id), []byte("40000\n"), 0o600))
	report, err := p.Sweep(t.Context(), univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, report.Failed)
	assert.NoFileExists(t, p.portsPath(id))
}

// TestPortsOutliveTheirProviderAndNotItsFolder needs no guest that boots.
func TestPortsOutliveTheirProviderAndNotItsFolder(t *testing.T) {
	startShared(t)
	dir := filepath.Join(t.TempDir(), "d")
	ctx := t.Context()
	p, err := New(ctx, Options{Managed: &Managed{Dir: dir, PrivateNetwork: true}})
	require.NoError(t, err)
	removed := false
	t.Cleanup(func() {
		if !removed {
			_ = p.Close()
			assert.NoError(t, Remove(context.WithoutCancel(ctx), dir))
		}
	})
	_, err = p.Networks().Create(ctx, network.Spec{Name: "lan"})
	require.NoError(t, err)
	spec := machine("web")
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	spec.Ports = []network.Port{{Instance: 80, Publish: true}}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	require.NoError(t, p.Close())
	taken := func() bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", info.Ports[0].Host))
		if err == nil {
			_ = l.Close()
		}
		return errors.Is(err, syscall.EADDRINUSE)
	}
	assert.True(t, taken())
	assert.NotZero(t, forwarderOf(t, inst.ID()))
	require.NoError(t, Remove(ctx, dir))
	removed = true
	assert.False(t, taken())
	assert.NoDirExists(t, dir)
}

func TestPortsOfMachinesOutOfReach(t *testing.T) {
	for name, p := range map[string]*Provider{
		"of another host": {opts: Options{URI: "qemu+ssh://hv1.example/system"}, hyper: hypervisor{virtType: "kvm"}},
		"for tests":       {opts: Options{URI: "test:///default"}, hyper: hypervisor{virtType: "test"}},
	} {
		t.Run(name, func(t *testing.T) {
			p.hyper.unreachable = p.unreachable()
			require.NotEmpty(t, p.hyper.unreachable)
			support := p.machines().Features[compute.FeatureDial]
			assert.Equal(t, resource.Support{Reason: p.hyper.unreachable}, support)
			table := p.hyper.fields()
			for _, field := range []string{"ports[].publish", "ports[].hostIP", "ports[].host"} {
				assert.Equal(t, resource.FieldRefused, table.Rule(field).Level, field)
			}
			assert.Equal(t, resource.FieldHonored, table.Rule("ports[].name").Level)
			_, err := p.handle(resource.NewID(), "").dial(t.Context(), network.TCP, 80)
			require.ErrorIs(t, err, errors.ErrUnsupported)
		})
	}
}

// TestPortsOfRunsThatGoOn are published again when a machine is resumed, and when a
// snapshot brings it back.
func TestPortsOfRunsThatGoOn(t *testing.T) {
	p := open(t, "portsagain")
	ctx := t.Context()
	n, err := p.Networks().Create(ctx, network.Spec{Name: "lan"})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, n.Delete(context.WithoutCancel(ctx), network.DeleteOptions{})) })
	spec := newScratch(t, p).disk(machine("web"))
	spec.Networks = []compute.NetworkAttachment{{Network: "lan"}}
	spec.Ports = []network.Port{{Instance: 80, Publish: true}}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, inst.Delete(context.WithoutCancel(ctx), compute.DeleteOptions{Force: true}))
	})
	gone := func() {
		t.Helper()
		require.Eventually(t, func() bool { return forwarderOf(t, inst.ID()) == 0 }, 5*time.Second, 5*time.Millisecond)
	}
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	_, err = inst.(compute.Snapshotter).CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one", Memory: true})
	require.NoError(t, err)
	require.NotZero(t, forwarderOf(t, inst.ID()))
	require.NoError(t, inst.(compute.Suspender).Suspend(ctx, compute.SuspendOptions{}))
	gone()
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	require.NotZero(t, forwarderOf(t, inst.ID()))
	require.NoError(t, inst.(compute.Snapshotter).RevertSnapshot(ctx, "one", compute.RevertOptions{Force: true}))
	require.NotZero(t, forwarderOf(t, inst.ID()))
	after, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.Running, after.State)
	assert.Equal(t, info.Ports, after.Ports)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	gone()
}

// TestRunProcess finds QEMU by what libvirt notes, and where that is not for everyone
// by its command line.
func TestRunProcess(t *testing.T) {
	p := open(t, "process")
	inst, err := p.Instances().Create(t.Context(), machine("web"))
	require.NoError(t, err)
	defer func() { assert.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{Force: true})) }()
	d, err := p.read(t.Context(), inst.ID())
	require.NoError(t, err)
	_, _, err = p.runProcess(d)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	f, pid, err := p.runProcess(d)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	stranger := &Provider{opts: Options{URI: "qemu+unix:///elsewhere"}}
	f, other, err := stranger.runProcess(d)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	assert.Equal(t, pid, other)
}
