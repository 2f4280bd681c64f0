package libvirt

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
)

func TestRoomForProcessors(t *testing.T) {
	for cpus, want := range map[uint]uint{1: 8, 2: 8, 3: 12, 60: 240, 100: 240, 240: 240, 241: 241, 512: 512} {
		assert.Equal(t, want, emulated.room("q35", cpus), cpus)
		assert.Equal(t, want, emulated.room("pc-i440fx-7.2", cpus), cpus)
		assert.Equal(t, cpus, emulated.room("microvm", cpus), "a type that takes none")
		assert.Equal(t, cpus, hypervisor{virtType: "qemu", arch: "aarch64"}.room("virt", cpus))
		assert.Equal(t, cpus, hypervisor{virtType: "test", arch: "i686"}.room("pc", cpus))
	}
}

// TestProcessorsThatAreArranged holds that who arranges the processors by hand needs to
// know of no others.
func TestProcessorsThatAreArranged(t *testing.T) {
	described := func(cpus float64, edit func(*libvirtxml.Domain)) *libvirtxml.DomainVCPU {
		spec := emulated.withChoices(compute.Spec{
			Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"}, Resources: compute.Resources{CPUs: cpus},
			Native: compute.Natives{DomainEdit{Version: "1", Edit: func(d *libvirtxml.Domain) error { edit(d); return nil }}},
		})
		r, err := record{Name: "web", Namespace: "team", Revision: 1}.with(spec)
		require.NoError(t, err)
		text, err := emulated.describe(goldenID, r)
		require.NoError(t, err)
		var d libvirtxml.Domain
		require.NoError(t, d.Unmarshal(text))
		emulated.applyResources(&d, spec.Resources)
		again, err := d.Marshal()
		require.NoError(t, err)
		require.Equal(t, text, again, "a change makes the same of it")
		return d.VCPU
	}
	arrange := func(sockets, cores, threads int) func(*libvirtxml.Domain) {
		return func(d *libvirtxml.Domain) {
			d.CPU = &libvirtxml.DomainCPU{Topology: &libvirtxml.DomainCPUTopology{Sockets: sockets, Cores: cores, Threads: threads}}
		}
	}
	assert.Equal(t, &libvirtxml.DomainVCPU{Placement: "static", Value: 4}, described(4, arrange(1, 2, 2)))
	assert.Equal(t, &libvirtxml.DomainVCPU{Placement: "static", Current: 4, Value: 16}, described(4, arrange(16, 1, 1)))
	assert.Equal(t, &libvirtxml.DomainVCPU{Placement: "static", Current: 4, Value: 16}, described(4, func(*libvirtxml.Domain) {}))
}

func TestProcessorsThatAGuestBringsUp(t *testing.T) {
	reply := func(states ...string) (r vcpusReply) {
		for id, s := range states {
			r = append(r, vcpu{ID: id, Online: s != "away", Movable: s != "fixed"})
		}
		return r
	}
	for _, c := range []struct {
		has  vcpusReply
		n    int
		want vcpusReply
	}{
		{reply("fixed", "away", "away"), 2, vcpusReply{{ID: 1, Online: true}}},
		{reply("fixed", "up", "up"), 1, vcpusReply{{ID: 2}, {ID: 1}}},
		{reply("fixed", "up", "away"), 1, vcpusReply{{ID: 1}}},
		{reply("fixed", "away"), 4, vcpusReply{{ID: 1, Online: true}}},
		{reply("fixed", "fixed", "up"), 1, vcpusReply{{ID: 2}}},
		{reply("fixed", "up"), 2, nil},
	} {
		assert.Equal(t, c.want, c.has.toward(c.n), "%v %d", c.has, c.n)
	}
	assert.True(t, reply("fixed", "up").allows(1))
	assert.True(t, reply("fixed", "up").allows(5))
	assert.False(t, reply("fixed", "fixed").allows(1))
	assert.True(t, reply("fixed", "fixed").unsure())
	assert.False(t, reply("fixed", "up", "away").unsure())
	for _, text := range []string{
		`{"return":[]}`, `{"return":[{"logical-id":-1,"online":true}]}`, `{"return":[{"logical-id":0,"online":false}]}`,
		`{"return":[{"logical-id":0,"online":true},{"logical-id":0,"online":true}]}`,
	} {
		_, err := parseReply[vcpusReply](text)
		assert.Error(t, err, text)
	}
}

func TestProcessorsThatCameAreThereFromTheStartOfWhatIsKept(t *testing.T) {
	var d libvirtxml.Domain
	require.NoError(t, d.Unmarshal(`<domain><vcpu current="2">4</vcpu><vcpus>
		<vcpu id="0" enabled="yes" hotpluggable="no"/><vcpu id="1" enabled="yes" hotpluggable="yes"/><vcpu id="2" enabled="no" hotpluggable="yes"/>
		</vcpus><devices><disk><target dev="vda" bus="virtio"/></disk><disk><target dev="sda" bus="sata"/></disk></devices></domain>`))
	require.True(t, settleCPUs(&d))
	assert.Equal(t, "no", d.VCPUs.VCPU[1].Hotpluggable)
	assert.Equal(t, "yes", d.VCPUs.VCPU[2].Hotpluggable)
	assert.EqualValues(t, 1, *d.Devices.Disks[0].Driver.Queues)
	assert.Nil(t, d.Devices.Disks[1].Driver)
	require.False(t, settleCPUs(&d), "none has come since")
	require.False(t, settleCPUs(&libvirtxml.Domain{}))
}
