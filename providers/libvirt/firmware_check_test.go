//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestAMachineBootsThroughUEFI(t *testing.T) {
	p := open(t, "uefi")
	ctx := t.Context()
	if _, err := os.Stat("/usr/share/OVMF"); err != nil {
		t.Skip("needs UEFI for machines: scripts/setup libvirt installs it")
	}
	spec := machine("web", "echo", "hello")
	spec.Boot.Firmware = compute.FirmwareUEFI
	spec.Boot.Kernel = common.guest.CompressedKernel // the other is no program of UEFI's
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	require.NoError(t, err)
	require.True(t, exit.Success(), "%+v", exit)
	text, err := os.ReadFile(p.consoleLog(inst.ID()))
	require.NoError(t, err)
	assert.Contains(t, string(text), "\x1b[=3h", "how UEFI sets up its terminal")
	assert.Contains(t, string(text), "hello")
	memory := p.daemon.Outside("/var/lib/libvirt/qemu/nvram")
	left, err := filepath.Glob(filepath.Join(memory, "*"))
	require.NoError(t, err)
	require.Len(t, left, 1, "the firmware's memory")
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	left, err = filepath.Glob(filepath.Join(memory, "*"))
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestFirmwareThatIsNotThere(t *testing.T) {
	for name, caps := range map[string]string{
		"none at all": `<domainCapabilities><arch>x86_64</arch></domainCapabilities>`,
		"others":      `<domainCapabilities><os supported='yes'><enum name='firmware'><value>bios</value></enum></os></domainCapabilities>`,
	} {
		err := offersUEFI(caps)
		require.ErrorIs(t, err, errdefs.ErrFailedPrecondition, name)
		var own *resource.Error
		require.ErrorAs(t, err, &own)
		assert.Equal(t, "boot.firmware", own.Field)
	}
	assert.NoError(t, offersUEFI(`<domainCapabilities><os supported='yes'><enum name='firmware'><value>efi</value></enum></os></domainCapabilities>`))
	p := &Provider{hyper: hypervisor{arch: "aarch64"}}
	assert.ErrorIs(t, p.checkFirmware(t.Context(), &compute.Boot{Firmware: compute.FirmwareBIOS}), errdefs.ErrFailedPrecondition)
}

func TestTheHypervisorForTestsHasNoFirmware(t *testing.T) {
	p, err := New(t.Context(), Options{URI: "test:///default", StateDir: t.TempDir()})
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	_, err = p.Instances().Create(t.Context(), compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz", Firmware: compute.FirmwareUEFI}})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, onlyReal)
}
