//go:build linux && amd64

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

const index = `virtio <  = 
virtio_ring <  = 
virtio_pci < virtio virtio_ring = pci:v00001AF4d*sv*sd*bc*sc*i*
virtio_net < virtio failover = virtio:d00000001v*
failover <  = 
button <  = acpi*:PNP0C0C:* acpi*:LNXPWRBN:*
isofs <  = fs-iso9660 iso9660
`

func TestModulesAreLoadedOnceBehindWhatTheyNeed(t *testing.T) {
	m := parseModules(index)
	var got []string
	m.insert = func(name string) error { got = append(got, name); return nil }
	for _, step := range []struct {
		alias string
		want  []string
	}{
		{"", nil},
		{"usb:v1d2", nil},
		{"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", []string{"virtio", "virtio_ring", "virtio_pci"}},
		{"pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00", nil},
		{"virtio:d00000001v00001AF4", []string{"failover", "virtio_net"}},
		{"acpi:LNXPWRBN:", []string{"button"}},
		{"fs-iso9660", []string{"isofs"}},
	} {
		got = nil
		assert.Equal(t, len(step.want) > 0, m.loadFor(step.alias), step.alias)
		assert.Equal(t, step.want, got, step.alias)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line    string
		want    parameters
		program []string
	}{
		{"console=ttyS0 quiet\n", parameters{}, nil},
		{"univirt.halt univirt.root=/dev/vda1 x=univirt.y", parameters{"univirt.halt": "", "univirt.root": "/dev/vda1"}, nil},
		{"quiet -- /bin/guest printf a%20b%0a %zz", parameters{}, []string{"/bin/guest", "printf", "a b\n", "%zz"}},
		{"quiet -- /bin/guest exit 7 univirt.halt", parameters{}, []string{"/bin/guest", "exit", "7", "univirt.halt"}},
	} {
		p, program := parse(c.line)
		assert.Equal(t, c.want, p, c.line)
		assert.Equal(t, c.program, program, c.line)
	}
}
