//go:build linux && amd64

package main

import (
	"encoding/binary"
	"io"
	"os"
	"os/signal"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// inputEvent is the kernel's struct input_event.
type inputEvent struct {
	_          [2]int64 // when
	Kind, Code uint16
	Value      int32
}

const (
	kindKey  = 1   // EV_KEY
	keyPower = 116 // KEY_POWER
)

// watchButton watches an input device for the power key.
func (g *guest) watchButton(name string) {
	if !strings.HasPrefix(name, "event") || g.buttons[name] {
		return
	}
	file, err := os.Open("/dev/input/" + name)
	if err != nil {
		warn("input device", err)
		return
	}
	g.buttons[name] = true
	go func() {
		defer file.Close()
		for {
			var e inputEvent
			if err := binary.Read(io.Reader(file), binary.LittleEndian, &e); err != nil {
				return
			}
			if e.Kind == kindKey && e.Code == keyPower && e.Value == 1 {
				g.presses <- struct{}{}
			}
		}
	}()
}

func (g *guest) pressed() {
	switch {
	case g.parameters.has("univirt.ignore_acpi"):
		say("power button ignored")
	case g.program != nil:
		say("power button")
		g.program.terminate()
	default:
		say("power button")
		g.shutdown(unix.LINUX_REBOOT_CMD_POWER_OFF)
	}
}

// shutdown ends the processes, and the machine with what is on its disks.
func (g *guest) shutdown(how int) {
	gone := g.processes.end()
	_ = unix.Kill(-1, unix.SIGTERM)
	// A shell ignores TERM and ends on HUP.
	_ = unix.Kill(-1, unix.SIGHUP)
	select {
	case <-gone:
	case <-time.After(time.Second):
		_ = unix.Kill(-1, unix.SIGKILL)
	}
	unix.Sync()
	// A root in memory cannot be remounted, and need not.
	_ = unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	say("ends")
	end(how)
}

func catch(signals ...os.Signal) <-chan os.Signal {
	to := make(chan os.Signal, 4)
	signal.Notify(to, signals...)
	return to
}
