//go:build linux && amd64

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// guest is the state of the machine. It is used by one goroutine.
type guest struct {
	parameters parameters
	modules    *modules
	processes  *processes
	// clients are the DHCP clients by interface, agents the qemu-guest-agents by
	// port.
	clients, agents map[string]*process
	// disks are the paths that disks are at, by name.
	disks map[string]string
	// buttons are the input devices that are watched, by name.
	buttons map[string]bool
	presses chan struct{}
	orphans chan string // ports whose agent has ended
	program *process
}

func newGuest(p parameters) *guest {
	return &guest{
		parameters: p,
		modules:    readModules(),
		processes:  newProcesses(),
		clients:    map[string]*process{},
		agents:     map[string]*process{},
		disks:      map[string]string{},
		buttons:    map[string]bool{},
		presses:    make(chan struct{}, 16),
		orphans:    make(chan string, 16),
	}
}

// coldplug loads the modules of the devices that are there, and of those that
// these modules find.
func (g *guest) coldplug() {
	seen := map[string]bool{}
	for fresh := true; fresh; {
		fresh = false
		for _, place := range []string{"bus/acpi/devices/", "bus/pci/devices/", "bus/virtio/devices/", "bus/scsi/devices/", "class/input/"} {
			entries, _ := os.ReadDir("/sys/" + place)
			for _, entry := range entries {
				if device := place + entry.Name(); !seen[device] {
					seen[device] = true
					fresh = g.modules.loadFor(aliasOf(device)) || fresh
				}
			}
		}
	}
}

// aliasOf returns what a device says it is. Those of ACPI, of which there are
// many, have their kind in their name.
func aliasOf(device string) string {
	if name, ok := strings.CutPrefix(device, "bus/acpi/devices/"); ok {
		kind, _, _ := strings.Cut(name, ":")
		return "acpi:" + kind + ":"
	}
	return read("/sys/" + device + "/modalias")
}

// start starts what belongs to the devices that are there.
func (g *guest) start() {
	// Memory that is plugged in is used without being asked for.
	if blocks := "/sys/devices/system/memory/auto_online_blocks"; exists(blocks) {
		warn("use new memory", os.WriteFile(blocks, []byte("online"), 0))
	}
	for _, class := range []string{"cpu", "block", "net", "input", "virtio-ports"} {
		folder := "/sys/class/" + class
		if class == "cpu" {
			folder = "/sys/bus/cpu/devices"
		}
		entries, _ := os.ReadDir(folder)
		for _, entry := range entries {
			g.appeared(class, entry.Name())
		}
	}
}

// serve reacts to what happens, without end.
func (g *guest) serve(events <-chan event) {
	asked := catch(unix.SIGUSR1, unix.SIGUSR2, unix.SIGTERM)
	for {
		var ended <-chan struct{}
		if g.program != nil {
			ended = g.program.ended
		}
		select {
		case e := <-events:
			g.happened(e)
		case <-g.presses:
			g.pressed()
		case device := <-g.orphans:
			delete(g.agents, device)
			g.usePort(device)
			if g.agents[device] != nil {
				say("agent started again")
			}
		case <-ended:
			say("program ended: %s", g.program.how())
			g.shutdown(unix.LINUX_REBOOT_CMD_POWER_OFF)
		case sig := <-asked:
			if sig == unix.SIGTERM {
				g.shutdown(unix.LINUX_REBOOT_CMD_RESTART)
			}
			g.shutdown(unix.LINUX_REBOOT_CMD_POWER_OFF)
		}
	}
}

func (g *guest) happened(e event) {
	name := filepath.Base(e["DEVPATH"])
	switch e["ACTION"] {
	case "add", "change":
		if alias := e["MODALIAS"]; alias != "" {
			g.modules.loadFor(alias)
		}
		g.appeared(e["SUBSYSTEM"], name)
	case "remove":
		if client, ok := g.clients[name]; ok && e["SUBSYSTEM"] == "net" {
			delete(g.clients, name)
			client.kill()
		}
		if e["SUBSYSTEM"] == "block" {
			g.lostDisk(name)
		}
	}
}

// appeared is called for devices of all kinds, and more than once for some.
func (g *guest) appeared(class, name string) {
	switch class {
	case "cpu":
		g.useProcessor(name)
	case "block":
		g.useDisk(name)
	case "net":
		g.useInterface(name)
	case "input":
		g.watchButton(name)
	case "virtio-ports":
		g.usePort(name)
	}
}

func (g *guest) useProcessor(name string) {
	online := "/sys/devices/system/cpu/" + name + "/online"
	if read(online) == "0" {
		if err := os.WriteFile(online, []byte("1"), 0); err != nil {
			warn("use "+name, err)
			return
		}
		say("uses %s", name)
	}
}

// useInterface sets up an interface by DHCP, unless the seed has set it up.
func (g *guest) useInterface(name string) {
	if name == "lo" {
		warn("interface lo", linkUp("lo"))
		return
	}
	if g.clients[name] != nil || exists("/run/static/"+name) || !exists("/bin/busybox") || !strings.HasPrefix(name, "e") {
		return
	}
	warn("interface "+name, linkUp(name))
	hostname, _ := os.Hostname()
	client, err := g.processes.start(os.Stdout, nil,
		"/bin/busybox", "udhcpc", "-f", "-S", "-i", name, "-s", "/etc/udhcpc", "-t", "5", "-T", "1", "-A", "2", "-x", "hostname:"+hostname)
	if err != nil {
		warn("DHCP", err)
		return
	}
	g.clients[name] = client
}

func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, request); err != nil {
		return err
	}
	request.SetUint16(request.Uint16() | unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request)
}

// agentPort is the port that qemu-guest-agent answers on.
const agentPort = "org.qemu.guest_agent.0"

// usePort links a port under the name that its other end gave it, and starts
// qemu-guest-agent on the one for it. The name comes some time after the port.
func (g *guest) usePort(device string) {
	name := read("/sys/class/virtio-ports/" + device + "/name")
	if name == "" {
		return
	}
	link := "/dev/virtio-ports/" + filepath.Base(name)
	if !exists(link) {
		warn("folder of ports", os.MkdirAll(filepath.Dir(link), 0o755))
		warn("port "+name, os.Symlink("../"+device, link))
	}
	if name != agentPort || g.agents[device] != nil || !exists("/usr/sbin/qemu-ga") {
		return
	}
	agent, err := g.processes.start(os.Stdout, nil, "/usr/sbin/qemu-ga", "-m", "virtio-serial", "-p", "/dev/"+device, "-t", "/run", "-l", "/run/qemu-ga.log")
	if err != nil {
		warn("agent", err)
		return
	}
	g.agents[device] = agent
	go func() {
		<-agent.ended
		time.Sleep(agentPause)
		g.orphans <- device
	}()
}

// agentPause keeps an agent that ends at once from using up the processor.
const agentPause = 200 * time.Millisecond

// readSeed has the program for it apply a NoCloud seed, if a disk holds one.
func (g *guest) readSeed() {
	const program = "/sbin/seed"
	if disks, _ := os.ReadDir("/sys/class/block"); len(disks) == 0 || !exists(program) {
		return
	}
	seed, err := g.processes.start(os.Stdout, nil, program)
	if err != nil {
		warn("seed", err)
		return
	}
	<-seed.ended
}

// run starts the program of the command line on the console.
func (g *guest) run(args []string) {
	console, err := openConsole()
	if err == nil {
		g.program, err = g.processes.start(console, console, args...)
	}
	if err != nil {
		say("run %s: %v", args[0], err)
		end(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// shell starts a shell on the console, again and again.
func (g *guest) shell() {
	console, err := openConsole()
	if err != nil || !exists("/bin/busybox") {
		return
	}
	go func() {
		for {
			shell, err := g.processes.start(console, console, "/bin/busybox", "sh")
			if err != nil {
				return // The machine ends.
			}
			<-shell.ended
		}
	}()
}

// openConsole opens the terminal behind /dev/console, which can be that of a
// session, as /dev/console cannot.
func openConsole() (*os.File, error) {
	names := strings.Fields(read("/sys/class/tty/console/active"))
	if len(names) == 0 {
		return nil, os.ErrNotExist
	}
	return os.OpenFile("/dev/"+names[len(names)-1], os.O_RDWR|syscall.O_NOCTTY, 0)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// read returns the content of a small file without the end of its line, or
// nothing.
func read(path string) string {
	text, _ := os.ReadFile(path)
	return strings.TrimSpace(string(text))
}
