//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/resource"
)

// common is what tests share: a private hypervisor, and what its machines boot.
var common struct {
	once  sync.Once
	err   error
	dir   string
	p     *Provider // holds the daemon
	guest testguest.Guest
}

func TestMain(m *testing.M) {
	if os.Getenv(victimOperation) != "" {
		os.Exit(victim())
	}
	code := m.Run()
	if common.dir != "" {
		var err error
		if common.p != nil {
			err = common.p.Close()
		}
		if err == nil {
			err = Remove(context.Background(), filepath.Join(common.dir, "d"))
		}
		if err == nil {
			err = os.RemoveAll(common.dir)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "clean up after the tests:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// startShared starts the private libvirtd of all tests.
func startShared(t testing.TB) *Provider {
	t.Helper()
	if testing.Short() {
		t.Skip("short: machines take a while to boot")
	}
	for _, program := range []string{"libvirtd", "qemu-system-x86_64"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s: scripts/setup installs it", program)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	common.once.Do(func() {
		if common.dir, common.err = os.MkdirTemp("", "univirt-lv-"); common.err != nil {
			return
		}
		if common.guest, common.err = testguest.Build(context.Background()); common.err != nil {
			return
		}
		common.p, common.err = New(context.Background(), Options{
			Managed: &Managed{Dir: filepath.Join(common.dir, "d"), PrivateNetwork: true}, Namespace: "common",
		})
	})
	require.NoError(t, common.err)
	return common.p
}

// open returns a provider of a namespace of the shared hypervisor.
func open(t testing.TB, namespace string) *Provider {
	t.Helper()
	shared := startShared(t)
	p, err := New(t.Context(), Options{
		Managed: shared.opts.Managed, Namespace: namespace,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

// machine is the spec of a machine that runs a program of package guest and goes
// off when that ends; without one it waits for its power button.
func machine(name string, program ...string) compute.Spec {
	line := testguest.Parameters
	if len(program) > 0 {
		line += " -- " + testguest.Program
		for _, word := range program {
			line += " " + url.PathEscape(word)
		}
	}
	return compute.Spec{
		Name:      name,
		Resources: compute.Resources{Memory: 256 * resource.MiB},
		Boot:      &compute.Boot{Kernel: common.guest.Kernel, Initrd: common.guest.Initrd, CommandLine: line},
	}
}
