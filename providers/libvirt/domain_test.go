package libvirt

import (
	"cmp"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

// emulated is a hypervisor as Debian's QEMU is without KVM.
var emulated = hypervisor{virtType: "qemu", arch: "x86_64", machine: "q35", consoles: "/var/log/consoles"}

const goldenID = "11111111-2222-4333-8444-555555555555"

func described(t *testing.T, h hypervisor, spec compute.Spec) string {
	t.Helper()
	require.NoError(t, h.checkSpec(spec))
	r, err := record{Name: spec.Name, Namespace: "team", Created: time.Unix(0, 0).UTC(), Revision: 1}.with(h.withChoices(spec))
	require.NoError(t, err)
	if hasDisks(spec) {
		r.Disks = &diskRecord{Pool: "univirt", Folder: "/var/lib/libvirt/images/univirt"}
		if spec.Image != "" {
			r.Disks.Image = &imageUse{Name: spec.Image, Digest: digestA, Record: goldenID}
		}
	}
	text, err := h.describe(goldenID, r)
	require.NoError(t, err)
	return text
}

// golden compares a description with the one that is kept.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".xml")
	got += "\n"
	if *update {
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, string(want), got, "to write it anew: go test ./providers/libvirt -run Domain -update")
}

// someVolumes are volumes as a machine gets them.
func someVolumes() []volumeDisk {
	return []volumeDisk{
		{id: goldenID, path: "/data", file: "/pool/" + goldenID + ".raw", format: "raw", thin: true},
		{id: goldenID, path: "/srv/a-b", file: "/pool/<&>.qcow2", format: "qcow2", readOnly: true, shared: true},
	}
}

func TestADomainWithVolumes(t *testing.T) {
	r, err := record{Name: "web", Namespace: "team", Revision: 1}.with(emulated.withChoices(compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/boot/vmlinuz"}}))
	require.NoError(t, err)
	text, err := emulated.describe(goldenID, r.mounting(someVolumes()))
	require.NoError(t, err)
	golden(t, "volumes", text)
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(text))
	disk, ok := volumeAt(&d, "/srv/a-b")
	require.True(t, ok)
	assert.Equal(t, "/pool/<&>.qcow2", disk.Source.File.File)
}

func TestADomainOnNetworks(t *testing.T) {
	r, err := record{Name: "web", Namespace: "team", Revision: 1}.with(emulated.withChoices(compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/boot/vmlinuz"}}))
	require.NoError(t, err)
	r.Nets = []netUse{
		{Libvirt: "team.lan", Network: goldenID, Endpoint: goldenID, MAC: "52:54:00:01:02:03"},
		{Network: goldenID, Endpoint: goldenID, MAC: "02:00:00:00:00:01", Other: &otherEndpoint{Bridge: "br-others", MTU: 1400}},
	}
	text, err := emulated.describe(goldenID, r)
	require.NoError(t, err)
	golden(t, "networks", text)
}

func TestSerialsOfMounts(t *testing.T) {
	for path, want := range map[string]string{
		"/data": "data", "/srv/www": "srv-www", "/srv-www": "", "/": "", "/a/very/long/path/indeed": "", "/a b": "", "/ü": "",
	} {
		got := serialOf(path)
		if want == "" {
			assert.Len(t, got, maxSerial, path)
			continue
		}
		assert.Equal(t, want, got)
	}
	assert.NotEqual(t, serialOf("/srv/www"), serialOf("/srv-www"))
	assert.Equal(t, "vdaa", targetName(26))
	assert.Equal(t, "vdz", targetName(25))
}

func TestDomainsOfSpecs(t *testing.T) {
	boot := &compute.Boot{Kernel: "/boot/vmlinuz"}
	for name, c := range map[string]struct {
		h    hypervisor
		spec compute.Spec
	}{
		"minimal": {emulated, compute.Spec{Name: "web", Boot: boot}},
		"whole": {emulated, compute.Spec{
			Name:        "web",
			Boot:        &compute.Boot{Kernel: "/boot/vmlinuz", Initrd: "/boot/initrd", CommandLine: `quiet a="b & c" <d>`, Machine: "pc"},
			Resources:   compute.Resources{CPUs: 4, CPUWeight: 200, CPUSet: "0-3", Memory: 3 * resource.GiB},
			Labels:      resource.Labels{"tier": "web"},
			Annotations: resource.Annotations{"note": "]]> & <b> \"ü\" \U0001F600 \x01"},
		}},
		"edited": {emulated, compute.Spec{Name: "web", Boot: boot, Native: compute.Natives{DomainEdit{Version: "1", Edit: func(d *libvirtxml.Domain) error {
			d.Title = "by hand"
			return nil
		}}}}},
		"uefi":  {emulated, compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/boot/vmlinuz", Firmware: compute.FirmwareUEFI}}},
		"image": {emulated, compute.Spec{Name: "web", Image: "localhost/disk:1", RootDisk: 10 * resource.GiB}},
		"seed": {emulated, compute.Spec{
			Name: "web", Image: "localhost/disk:1",
			CloudInit: &compute.CloudInit{UserData: resource.NewSecret("#cloud-config"), MetaData: "{}", NetworkConfig: "version: 2"},
		}},
		"tests": {hypervisor{virtType: "test", arch: "i686"}, compute.Spec{Name: "web", Boot: boot}},
	} {
		t.Run(name, func(t *testing.T) {
			golden(t, name, described(t, c.h, c.spec))
		})
	}
}

// FuzzDomain holds that no spec, and no name or path that goes with it, alters the
// description: it is refused with a kind of error, or found again in what was made of it.
func FuzzDomain(f *testing.F) {
	f.Add("web", "/boot/vmlinuz", "/boot/initrd", "quiet", "q35", "text", "web", "0-1", "/dev/data", "/pool/a.raw", "team.lan", 1.0, int64(512<<20), 100)
	f.Add("a-b", "/k<>&'\"", "/i]]>", "a\x00b", "q35' ><x", "]]></metadata>", "<&>", "0' a='1", "/dev/<&>", "/pool/<&>\"'.raw", "a<b>&'", 2.0, int64(1<<40), 10000)
	f.Add("web", "/boot/ü\ufffe", "", "\ufeff", "pc", "\u2028\ufffd", "\ud7ff", "", "/dev/ü", "/pool/\u2028.raw", "\U0001F600", 512.0, int64(1<<20), 1)
	f.Fuzz(func(t *testing.T, name, kernel, initrd, commandLine, machine, note, label, cpuSet, mount, file, lan string, cpus float64, memory int64, weight int) {
		spec := compute.Spec{
			Name:        name,
			Boot:        &compute.Boot{Kernel: kernel, Initrd: initrd, CommandLine: commandLine, Machine: machine},
			Resources:   compute.Resources{CPUs: cpus, Memory: memory, CPUWeight: weight, CPUSet: cpuSet},
			Labels:      resource.Labels{"tier": label},
			Annotations: resource.Annotations{"note": note},
			Mounts:      []compute.Mount{{Type: compute.MountDevice, Source: "data", Path: mount}},
		}
		if err := emulated.checkSpec(spec); err != nil {
			require.NotNil(t, resource.KindOf(err), "%v", err)
			return
		}
		// Libvirt has told them in XML.
		if !carried(file) || !carried(lan) {
			return
		}
		want := emulated.withChoices(spec)
		r, err := record{Name: name, Namespace: "team", Revision: 1}.with(want)
		if err != nil {
			require.NotNil(t, resource.KindOf(err), "%v", err)
			return
		}
		r.Nets = []netUse{{Libvirt: lan, Network: goldenID, Endpoint: goldenID, MAC: "52:54:00:01:02:03"}}
		text, err := emulated.describe(goldenID, r.mounting([]volumeDisk{{id: goldenID, path: mount, file: file, format: formatRaw}}))
		require.NoError(t, err)
		var d libvirtxml.Domain
		require.NoError(t, d.Unmarshal(text))
		require.Equal(t, "team."+name, d.Name)
		require.Equal(t, goldenID, d.UUID)
		require.Equal(t, kernel, d.OS.Kernel)
		require.Equal(t, initrd, d.OS.Initrd)
		require.Equal(t, commandLine, d.OS.Cmdline)
		require.Equal(t, want.Boot.Machine, d.OS.Type.Machine)
		require.Equal(t, uint(want.Resources.CPUs), cmp.Or(d.VCPU.Current, d.VCPU.Value))
		require.Len(t, d.Devices.Serials, 1)
		require.Len(t, d.Devices.Disks, 1)
		require.Equal(t, file, d.Devices.Disks[0].Source.File.File)
		require.Equal(t, serialOf(mount), d.Devices.Disks[0].Serial)
		require.Len(t, d.Devices.Interfaces, 1)
		require.Equal(t, lan, d.Devices.Interfaces[0].Source.Network.Network)
		found, err := readFacts(text)
		require.NoError(t, err)
		require.NoError(t, found.fault)
		require.NotNil(t, found.record)
		require.Equal(t, goldenID, found.uuid)
		require.Equal(t, r.Nets, found.record.Nets)
		require.Empty(t, resource.Diff(r.spec, found.record.spec))
	})
}

// FuzzFacts holds that no description that somebody else wrote is more than an
// error.
func FuzzFacts(f *testing.F) {
	f.Add(`<domain><name>a</name><uuid>` + goldenID + `</uuid><metadata><u:doc xmlns:u="https://univirt.io/xmlns/instance/1">{}</u:doc></metadata></domain>`)
	f.Add(`<domain><metadata><u:doc xmlns:u="https://univirt.io/xmlns/instance/2">{}</u:doc></metadata></domain>`)
	f.Add(`<domain><metadata><u:doc xmlns:u="https://univirt.io/xmlns/run/1">{"run":-1}</u:doc></metadata><devices/></domain>`)
	f.Add(`<domain><metadata><u:doc xmlns:u="https://univirt.io/xmlns/stop/1">{"run":-1}</u:doc><f:doc xmlns:f="https://univirt.io/xmlns/found/1">{"run":1,"resets":-1,"health":"x","ready":true}</f:doc></metadata><devices/></domain>`)
	f.Fuzz(func(t *testing.T, text string) {
		if found, err := readFacts(text); err == nil && found.record != nil {
			require.NoError(t, found.fault)
		}
	})
}

func TestARecordOfAnotherReleaseIsNotRead(t *testing.T) {
	found, err := readFacts(`<domain><name>team.web</name><metadata><u:doc xmlns:u="https://univirt.io/xmlns/instance/2">{}</u:doc></metadata></domain>`)
	require.NoError(t, err)
	assert.Nil(t, found.record)
	assert.ErrorContains(t, found.fault, "another release")
}

func TestResourcesOfAMachine(t *testing.T) {
	for name, c := range map[string]struct {
		r     compute.Resources
		field string
	}{
		"a fraction of a processor": {compute.Resources{CPUs: 1.5}, "cpus"},
		"too many processors":       {compute.Resources{CPUs: 513}, "cpus"},
	} {
		faults := checkResources(c.r)
		require.Len(t, faults, 1, name)
		assert.Equal(t, c.field, faults[0].Field, name)
	}
	assert.Empty(t, checkResources(compute.Resources{CPUs: 2, Memory: resource.GiB}))
}

func TestADomainIsEditedByHandUpToItsIdentity(t *testing.T) {
	failed := errors.New("failed")
	by := func(edit func(*libvirtxml.Domain) error) compute.Native { return DomainEdit{Version: "1", Edit: edit} }
	for name, c := range map[string]struct {
		native compute.Native
		want   error
	}{
		"nothing":       {DomainEdit{Version: "1"}, nil},
		"its error":     {by(func(*libvirtxml.Domain) error { return failed }), failed},
		"the name":      {by(func(d *libvirtxml.Domain) error { d.Name = "other"; return nil }), errdefs.ErrInvalidArgument},
		"the UUID":      {by(func(d *libvirtxml.Domain) error { d.UUID = ""; return nil }), errdefs.ErrInvalidArgument},
		"no metadata":   {by(func(d *libvirtxml.Domain) error { d.Metadata = nil; return nil }), errdefs.ErrInvalidArgument},
		"other type":    {compute.RecordedNative{Provider: Scheme, Version: "1"}, errdefs.ErrInvalidArgument},
		"of another":    {compute.RecordedNative{Provider: "containerd", Version: "1"}, nil},
		"only a title":  {by(func(d *libvirtxml.Domain) error { d.Title = "t"; return nil }), nil},
		"other devices": {by(func(d *libvirtxml.Domain) error { d.Devices.Channels = nil; return nil }), nil},
	} {
		r, err := record{Name: "web", Namespace: "team"}.with(emulated.withChoices(compute.Spec{Name: "web", Native: compute.Natives{c.native}}))
		require.NoError(t, err, name)
		_, err = emulated.describe(goldenID, r)
		require.ErrorIs(t, err, c.want, name)
	}
}

func TestSharesOfAWeight(t *testing.T) {
	for weight, want := range map[int][2]uint{1: {10, 1}, 100: {1024, 100}, 10000: {102400, 10000}} {
		assert.Equal(t, want[0], hypervisor{}.shares(weight))
		assert.Equal(t, want[1], hypervisor{unified: true}.shares(weight))
	}
}
