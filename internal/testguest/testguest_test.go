//go:build linux

package testguest

import (
	"encoding/json"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	testimage "github.com/univirt/univirt/providers/providertest/image"
)

// guests returns the guests, which the first test makes.
func guests(t *testing.T) Guest {
	t.Helper()
	if testing.Short() {
		t.Skip("short: boots virtual machines")
	}
	missing, err := Missing()
	if err != nil {
		t.Skipf("not offered: %v", err)
	}
	if _, err := exec.LookPath("qemu-system-x86_64"); err != nil {
		missing = append(missing, "qemu-system-x86_64")
	}
	if len(missing) > 0 {
		t.Skipf("needs %v: scripts/setup libvirt installs it", missing)
	}
	g, err := Build(t.Context())
	require.NoError(t, err)
	return g
}

func TestProgramIsWhereTheImageHasIt(t *testing.T) {
	assert.Equal(t, testimage.Path, Program)
}

func TestSecondBuildReturnsAtOnce(t *testing.T) {
	g := guests(t)
	before, err := os.Stat(g.Kernel)
	require.NoError(t, err)
	start := time.Now()
	again, err := Build(t.Context())
	require.NoError(t, err)
	assert.Less(t, time.Since(start), 5*time.Second, "it takes as long as the go command to find its programs")
	assert.Equal(t, g, again)
	after, err := os.Stat(g.Kernel)
	require.NoError(t, err)
	assert.True(t, os.SameFile(before, after) && before.ModTime().Equal(after.ModTime()))
}

func TestMinimalGuest(t *testing.T) {
	g := guests(t)
	t.Parallel()
	minimal := func(t *testing.T, parameters string) *machine {
		t.Parallel()
		return boot(t, "-m", "128", "-kernel", g.Kernel, "-initrd", g.MinimalInitrd, "-append", Parameters+" "+parameters)
	}
	t.Run("ends when the power button is pressed", func(t *testing.T) {
		m := minimal(t, "")
		m.says(UserSpace, Ready)
		m.pressButton()
		m.says(Button, End)
		m.ends()
	})
	t.Run("ignores the power button and can be told to halt at once", func(t *testing.T) {
		m := minimal(t, "univirt.ignore_acpi")
		m.says(Ready)
		m.pressButton()
		m.says(Button + " ignored")
		m.pressButton()
		m.says(Button + " ignored")
		m = boot(t, "-m", "128", "-kernel", g.Kernel, "-initrd", g.MinimalInitrd, "-append", Parameters+" univirt.halt")
		m.says(UserSpace)
		m.ends()
		assert.NotContains(t, m.said, Ready)
	})
}

func TestWholeGuest(t *testing.T) {
	g := guests(t)
	t.Parallel()
	m := boot(t, "-m", "256", "-smp", "1,maxcpus=2", "-kernel", g.Kernel, "-initrd", g.Initrd, "-append", Parameters+" univirt.hostname=web",
		"-device", "pcie-root-port,id=spare", "-netdev", "user,id=one", "-netdev", "user,id=two,net=10.9.0.0/24",
		"-device", "virtio-net-pci,netdev=one", "-device", "virtio-serial",
		"-chardev", "socket,id=agent,server=on,wait=off,path=agent", "-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0")
	m.says(Ready)
	assert.Equal(t, "eth0 10.0.2.15/24", m.says(Address))

	m.control(`{"execute":"device_add","arguments":{"driver":"qemu64-x86_64-cpu","id":"cpu","socket-id":0,"core-id":1,"thread-id":0}}`)
	m.says(Prefix + "uses cpu1")
	m.control(`{"execute":"device_add","arguments":{"driver":"virtio-net-pci","netdev":"two","bus":"spare","id":"nic"}}`)
	assert.Equal(t, "eth1 10.9.0.15/24", m.says(Address))

	var started struct{ PID int }
	answer := m.asked("agent", `{"execute":"guest-exec","arguments":{"path":"`+Program+`","arg":["exit","7"],"capture-output":true}}`)
	require.NoError(t, json.Unmarshal(answer, &started))
	status, err := json.Marshal(map[string]any{"execute": "guest-exec-status", "arguments": map[string]any{"pid": started.PID}})
	require.NoError(t, err)
	var ended struct {
		Exited   bool
		Exitcode int
	}
	for !ended.Exited {
		require.NoError(t, json.Unmarshal(m.asked("agent", string(status)), &ended))
	}
	assert.Equal(t, 7, ended.Exitcode)
	var name struct {
		Name string `json:"host-name"`
	}
	require.NoError(t, json.Unmarshal(m.asked("agent", `{"execute":"guest-get-host-name"}`), &name))
	assert.Equal(t, "web", name.Name)
	m.asked("agent", `{"execute":"guest-exec","arguments":{"path":"/bin/killall","arg":["qemu-ga"]}}`)
	m.says(Prefix + "agent started again")
	m.asked("agent", `{"execute":"guest-ping"}`)
	m.pressButton()
	m.says(End)
	m.ends()
}

func TestGuestRunsProgram(t *testing.T) {
	g := guests(t)
	t.Parallel()
	m := boot(t, "-m", "256", "-kernel", g.Kernel, "-initrd", g.Initrd, "-append", Parameters+" -- "+Program+" signals")
	m.says("ready")
	m.pressButton()
	m.says("TERM")
	assert.Equal(t, "code 0", m.says(Prefix+"program ended:"))
	m.ends()
}

func TestDisk(t *testing.T) {
	g := guests(t)
	t.Parallel()
	dir := t.TempDir()
	overlay, seed := dir+"/overlay.qcow2", dir+"/seed.iso"
	out, err := exec.CommandContext(t.Context(), "qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", g.Disk, overlay).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.NoError(t, os.WriteFile(seed, seedDisk(map[string]string{
		"meta-data": "instance-id: i-1\nlocal-hostname: web\n",
		"user-data": "#cloud-config\nssh_authorized_keys: [key one]\nwrite_files: [{path: /etc/motd, content: hello}]\n" +
			"runcmd: ['echo command sees $(hostname) $(cat /etc/motd) $(ip -o -4 address show eth0)']\n",
		"network-config": "version: 2\nethernets: {eth0: {addresses: [10.0.2.99/24], gateway4: 10.0.2.2}}\n",
	}), 0o600))
	start := func(more ...string) *machine {
		return boot(t, append([]string{"-m", "256", "-drive", "if=virtio,file=" + overlay, "-drive", "if=virtio,format=raw,readonly=on,file=" + seed,
			"-nic", "user,model=virtio-net-pci"}, more...)...)
	}
	m := start()
	m.says(UserSpace)
	for _, want := range []string{"on vdb for instance i-1", "hostname web", "address eth0 10.0.2.99/24", "route eth0 default via 10.0.2.2",
		"file /etc/motd 0644 5 bytes", "keys root 1"} {
		m.says(Prefix + "seed " + want)
	}
	assert.Contains(t, m.says("command sees web hello"), "inet 10.0.2.99/24")
	m.says(Prefix+"seed applied", Ready)
	m.pressButton()
	m.says(End)
	m.ends()

	// The same disk without its BIOS and boot loader.
	m = start("-kernel", g.Kernel, "-initrd", g.Initrd, "-append", Parameters+" univirt.root=/dev/vda1")
	m.says(Prefix+"seed address eth0 10.0.2.99/24", Prefix+"seed was applied before", Ready)
}
