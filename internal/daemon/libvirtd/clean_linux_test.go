package libvirtd

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMachineOf(t *testing.T) {
	for line, want := range map[string]string{
		"4:cpu:/machine/qemu-1-a.libvirt-qemu/emulator":        "/machine/qemu-1-a.libvirt-qemu",
		"0::/machine/qemu-1-a.libvirt-qemu":                    "/machine/qemu-1-a.libvirt-qemu",
		"0::/univirt/x.partition/qemu-1-a.libvirt-qemu/vcpu0":  "/univirt/x.partition/qemu-1-a.libvirt-qemu",
		"0::/machine.slice/machine-qemu.scope/libvirt/vcpu0":   "",
		"0::/machine/qemu-1-a.libvirt-qemu/../../system.slice": "",
		"0::/.libvirt-qemu": "",
		"0::/":              "",
		"":                  "",
	} {
		got, ok := machineOf(line)
		assert.Equal(t, want, got, line)
		assert.Equal(t, want != "", ok, line)
	}
}

func FuzzMachineOf(f *testing.F) {
	f.Add("4:cpu:/machine/qemu-1-a.libvirt-qemu/emulator")
	f.Fuzz(func(t *testing.T, line string) {
		if path, ok := machineOf(line); ok {
			assert.True(t, strings.HasSuffix(path, ".libvirt-qemu"))
			assert.NotContains(t, strings.Split(path, "/"), "..")
			assert.Contains(t, line, path)
		}
	})
}
