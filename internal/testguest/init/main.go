//go:build linux && amd64

// Command init is process 1 of the test guests.
//
// It loads the modules of the devices that are there or come later, starts what
// the guest has (a DHCP client, qemu-guest-agent, a shell on the console), and
// powers off when the power button is pressed. What it does it says on the
// console in lines that begin with "guest: ", which tests wait for.
//
// It understands these kernel parameters:
//
//	univirt.halt            powers off as soon as user space is reached
//	univirt.panic           crashes the kernel when the guest is ready
//	univirt.ignore_acpi     says that the power button was pressed, and no more
//	univirt.hostname=NAME   sets the hostname
//	univirt.root=DEVICE     changes to the ext4 root on that block device
//	univirt.silent          says nothing on the console
//
// A disk with an ext4 whose serial number is a path, with '-' between its parts, is
// mounted there.
//
// What follows "--" on the command line is a program with its arguments, in which
// %XX stands for the byte of that number. It runs
// on the console instead of the shell; the power button sends it TERM, and the
// guest powers off when it ends.
//
// Under the names modprobe, poweroff, shutdown, halt and reboot it is what the
// kernel and qemu-guest-agent expect below /sbin. An agent that ends is started
// again.
package main

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "modprobe":
		modprobe(os.Args[len(os.Args)-1])
	case "poweroff", "shutdown", "halt":
		ask(unix.SIGUSR2)
	case "reboot":
		ask(unix.SIGTERM)
	default:
		boot()
	}
}

// ask sends process 1 a signal, with the meanings that busybox gave them: TERM
// reboots, USR1 and USR2 power off.
func ask(sig syscall.Signal) {
	if err := unix.Kill(1, sig); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// silent keeps the console to the program.
var silent bool

// say writes a line to the console.
func say(format string, args ...any) {
	if silent {
		return
	}
	fmt.Fprintf(os.Stdout, "guest: "+format+"\n", args...)
}

// warn says what failed, if anything did: a guest with a fault is still of use.
func warn(what string, err error) {
	if err != nil {
		say("%s: %v", what, err)
	}
}

func boot() {
	warn("mount", mountKernel())
	parameters, program := parse(read("/proc/cmdline"))
	silent = parameters.has("univirt.silent")
	say("userspace")
	if parameters.has("univirt.halt") {
		end(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
	g := newGuest(parameters)
	events := make(chan event, 256)
	warn("listen to the kernel", listen(events))
	g.coldplug()
	if device, ok := parameters["univirt.root"]; ok {
		warn("change to the root "+device, changeRoot(device))
		// It has more modules than what was needed to find it.
		g.modules = readModules()
		g.coldplug()
	}
	if name, ok := parameters["univirt.hostname"]; ok {
		warn("set the hostname", unix.Sethostname([]byte(name)))
	}
	g.readSeed()
	g.start()
	if len(program) > 0 {
		g.run(program)
	} else {
		say("ready")
		g.shell()
	}
	if parameters.has("univirt.panic") {
		warn("panic", os.WriteFile("/proc/sysrq-trigger", []byte("c"), 0))
	}
	g.serve(events)
}

// parameters are those of the kernel's command line that init knows.
type parameters map[string]string

func (p parameters) has(name string) bool {
	_, ok := p[name]
	return ok
}

// parse returns the parameters of the kernel's command line that are for init, and
// the program. The arguments of init do not tell: the kernel adds parameters that
// it does not know.
func parse(line string) (parameters, []string) {
	p := parameters{}
	fields := strings.Fields(line)
	for i, field := range fields {
		if field == "--" {
			program := fields[i+1:]
			for n, word := range program {
				if text, err := url.PathUnescape(word); err == nil {
					program[n] = text
				}
			}
			return p, program
		}
		if name, value, _ := strings.Cut(field, "="); strings.HasPrefix(name, "univirt.") {
			p[name] = value
		}
	}
	return p, nil
}

// end ends the machine. Without it the kernel would panic when process 1 ends.
func end(how int) {
	unix.Sync()
	warn("end the machine", unix.Reboot(how))
	for {
		time.Sleep(time.Hour)
	}
}
