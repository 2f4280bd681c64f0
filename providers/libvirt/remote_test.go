//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
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

	"github.com/containerd/errdefs"
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
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
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

// sshServer is a private sshd, in whose sessions a hypervisor of the test's own stands
// for the host's.
type sshServer struct {
	port int
	// key is the path of the key that it takes, known that of the file with its own, and
	// command a client that believes in that.
	key, known, command string
}

func startSSH(t *testing.T, p *Provider) sshServer {
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
	serve(t, s.port, "nsenter", "-m", "-t", strconv.Itoa(libvirtdOf(t, p)), sshd, "-D", "-e", "-f", filepath.Join(dir, "config"))
	return s
}

func TestAHypervisorBehindSSH(t *testing.T) {
	p := ownDaemon(t)
	s := startSSH(t, p)
	for transport, with := range map[string]url.Values{
		"ssh":     {"command": {s.command}, "no_tty": {"1"}},
		"libssh2": {"known_hosts": {s.known}, "known_hosts_verify": {"normal"}, "sshauth": {"privkey"}},
	} {
		t.Run(transport, func(t *testing.T) {
			with.Set("keyfile", s.key)
			with.Set("state", t.TempDir())
			with.Set("namespace", transport)
			remote(t, fmt.Sprintf("libvirt+%s://root@127.0.0.1:%d/system?%s", transport, s.port, with.Encode()), true)
		})
	}
}

// authority makes certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue writes a certificate and its key, of the authority itself where that is new.
func (a *authority) issue(name, dir, certFile, keyFile string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	cert := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, BasicConstraintsValid: true,
	}
	if a.cert == nil {
		cert.IsCA, cert.KeyUsage, cert.ExtKeyUsage, cert.IPAddresses = true, x509.KeyUsageCertSign, nil, nil
		a.cert, a.key = cert, key
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: secret}} {
		require.NoError(a.t, os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600))
	}
}

// startTLS runs a libvirtd that listens, with folders and processes of its own, which
// end with the test.
func startTLS(t *testing.T, like *Provider) (port int, pki string) {
	t.Helper()
	dir := t.TempDir()
	for _, folder := range []string{"run", "lib", "cache", "log", "etc", "pki"} {
		require.NoError(t, os.Mkdir(filepath.Join(dir, folder), 0o755))
	}
	pki = filepath.Join(dir, "pki")
	a := &authority{t: t}
	a.issue("authority", pki, "cacert.pem", "cakey.pem")
	a.issue("127.0.0.1", pki, "servercert.pem", "serverkey.pem")
	a.issue("client", pki, "clientcert.pem", "clientkey.pem")
	qemu, err := os.ReadFile(filepath.Join(like.opts.Managed.Dir, "etc/qemu.conf"))
	require.NoError(t, err)
	port = freePort(t)
	for file, text := range map[string]string{
		"etc/qemu.conf": string(qemu) + "\nstdio_handler = \"file\"\n",
		"etc/libvirtd.conf": fmt.Sprintf("listen_tls = 1\nlisten_addr = \"127.0.0.1\"\ntls_port = \"%d\"\nauth_tls = \"none\"\nauth_unix_rw = \"none\"\n"+
			"ca_file = \"%[2]s/cacert.pem\"\ncert_file = \"%[2]s/servercert.pem\"\nkey_file = \"%[2]s/serverkey.pem\"\nlog_outputs = \"3:stderr\"\n", port, pki),
		"nothing": "",
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
	}
	// The shell is the parent of what loses its own, as of a machine.
	serve(t, port, "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-ec", `
		mount --bind "$0/run" /run/libvirt
		for part in lib cache log; do mount --bind "$0/$part" "/var/$part/libvirt"; done
		mount --bind "$0/etc" /etc/libvirt
		if [ -e /dev/kvm ]; then mount --bind "$0/nothing" /dev/kvm; fi
		libvirtd --listen --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid
		true`, dir)
	return port, pki
}

func TestAHypervisorBehindTLS(t *testing.T) {
	port, pki := startTLS(t, startShared(t))
	with := url.Values{"pkipath": {pki}, "state": {t.TempDir()}, "namespace": {"tls"}, "acceleration": {"none"}}
	address := fmt.Sprintf("libvirt+tls://127.0.0.1:%d/system?", port)
	remote(t, address+with.Encode(), false)

	// Another authority's client is nobody's.
	other := t.TempDir()
	a := &authority{t: t}
	a.issue("other", other, "cacert.pem", "cakey.pem")
	a.issue("client", other, "clientcert.pem", "clientkey.pem")
	with.Set("pkipath", other)
	_, err := univirt.Open(t.Context(), address+with.Encode())
	var own *resource.Error
	require.ErrorAs(t, err, &own)
	assert.Equal(t, "uri", own.Field)
	require.ErrorIs(t, err, errdefs.ErrUnauthenticated)
}

// remote does on another host's hypervisor what needs no file of its host, with
// networks where those are not this host's.
func remote(t *testing.T, address string, networks bool) {
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
	assert.NotEmpty(t, desc.Volumes.Features[storage.FeatureResize].Reason)
	assert.NotEmpty(t, desc.Backend.Details["locks"])

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
	tree := makeVolume(t, p, storage.Spec{Name: "tree", Size: 8 * resource.MiB})
	require.NoError(t, storage.Import(ctx, tree, bytes.NewReader(pack(t, regular("x", "here"))), storage.TransferOptions{Format: storage.Tar}))
	assert.Equal(t, "here", exported(t, tree)["x"].content)
	require.NoError(t, storage.Resize(ctx, tree, 16*resource.MiB, storage.ResizeOptions{}))
	require.ErrorIs(t, storage.Resize(ctx, tree, 8*resource.MiB, storage.ResizeOptions{Shrink: true}), errors.ErrUnsupported)
	require.NoError(t, tree.Delete(ctx, storage.DeleteOptions{}))
	if networks {
		lan, err := p.Networks().Create(ctx, network.Spec{Name: "lan"})
		require.NoError(t, err)
		require.NoError(t, lan.Delete(ctx, network.DeleteOptions{}))
	}
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	assert.Empty(t, report)
}
