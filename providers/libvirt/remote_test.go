//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
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

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// freePort is a TCP port of the loopback that nobody listens on.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// serve runs a server until the test ends, and waits until it listens.
func serve(t *testing.T, port int, program string, args ...string) {
	t.Helper()
	var said bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Log(said.String())
		}
	})
	require.Eventually(t, func() bool {
		c, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			_ = c.Close()
		}
		return err == nil
	}, 20*time.Second, 20*time.Millisecond, "%s does not listen", program)
}

// sshServer is a private sshd.
type sshServer struct {
	port int
	// key is the path of the key that it takes, known that of the file with its own, and
	// command a client that believes in that.
	key, known, command string
}

func startSSH(t *testing.T) sshServer {
	t.Helper()
	sshd, err := exec.LookPath("/usr/sbin/sshd")
	if err != nil {
		t.Skip("needs sshd: scripts/setup installs it")
	}
	dir := t.TempDir()
	s := sshServer{port: freePort(t), key: filepath.Join(dir, "key"), known: filepath.Join(dir, "known"), command: filepath.Join(dir, "ssh")}
	for _, key := range []string{s.key, filepath.Join(dir, "host")} {
		out, err := exec.CommandContext(t.Context(), "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	require.NoError(t, err)
	for file, text := range map[string]string{
		"config": fmt.Sprintf("ListenAddress 127.0.0.1:%d\nHostKey %s/host\nAuthorizedKeysFile %s.pub\nPidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin yes\nMaxStartups 100\n", s.port, dir, s.key),
		"known":  fmt.Sprintf("[127.0.0.1]:%d %s", s.port, host),
		"ssh":    fmt.Sprintf("#!/bin/sh\nexec ssh -F none -o IdentitiesOnly=yes -o UserKnownHostsFile=%s -o StrictHostKeyChecking=yes \"$@\"\n", s.known),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o700))
	}
	// The system makes it where its own runs.
	require.NoError(t, os.MkdirAll("/run/sshd", 0o755))
	serve(t, s.port, sshd, "-D", "-e", "-f", filepath.Join(dir, "config"))
	return s
}

func TestAHypervisorBehindSSH(t *testing.T) {
	p := ownDaemon(t)
	s := startSSH(t)
	for transport, with := range map[string]url.Values{
		"ssh":    {"command": {s.command}, "no_tty": {"1"}},
		"libssh": {"known_hosts": {s.known}, "known_hosts_verify": {"normal"}, "sshauth": {"privkey"}},
	} {
		t.Run(transport, func(t *testing.T) {
			with.Set("keyfile", s.key)
			with.Set("socket", p.daemon.Socket())
			with.Set("state", t.TempDir())
			with.Set("namespace", transport)
			remote(t, fmt.Sprintf("libvirt+%s://root@127.0.0.1:%d/system?%s", transport, s.port, with.Encode()))
		})
	}
}

// remote does on another host's hypervisor what needs no file of its host.
func remote(t *testing.T, address string) {
	t.Helper()
	ctx := t.Context()
	opened, err := univirt.Open(ctx, address)
	require.NoError(t, err)
	defer func() { require.NoError(t, opened.Close()) }()
	p := opened.(*Provider)
	desc, err := p.Describe(ctx)
	require.NoError(t, err)
	require.Empty(t, desc.Problems)
	machines := desc.Kinds[compute.VM]
	assert.NotEmpty(t, machines.Features[compute.FeatureLogs].Reason, "the files are elsewhere")

	inst, err := p.Instances().Create(ctx, machine("web"))
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, compute.Running, info.State)
	for _, err := range compute.Logs(ctx, inst, compute.LogOptions{}) {
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
	disk := makeVolume(t, p, storage.Spec{Name: "disk", Mode: storage.Block, Size: resource.MiB})
	require.NoError(t, storage.Import(ctx, disk, strings.NewReader("content"), storage.TransferOptions{Format: storage.Raw}))
	var out bytes.Buffer
	require.NoError(t, storage.Export(ctx, disk, &out, storage.TransferOptions{Format: storage.Raw}))
	assert.True(t, bytes.HasPrefix(out.Bytes(), []byte("content")))
	assert.Empty(t, volumeInfo(t, disk).Path, "of another host")
	require.NoError(t, disk.Delete(ctx, storage.DeleteOptions{}))
	require.NoError(t, inst.Delete(context.WithoutCancel(ctx), compute.DeleteOptions{Force: true}))
	for info, err := range p.Networks().List(ctx, network.Filter{}) {
		require.NoError(t, err)
		require.Empty(t, info)
	}
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, report)
}
