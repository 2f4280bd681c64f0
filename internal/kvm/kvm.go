// Package kvm finds out whether KVM is of use on this host. That /dev/kvm opens
// says little: on a host that is itself a guest it may run code so slowly, or not
// at all, that software emulation is the better choice.
package kvm

import (
	"fmt"
	"strings"
	"time"
)

const (
	// limit is what the loop may take. Hardware needs about 1 ms, a host on which a
	// guest crawled for minutes took 126 ms.
	limit = 20 * time.Millisecond
	// patience is how long the whole probe may take. Running a guest cannot be
	// cancelled, so it happens in a process that is killed then.
	patience = 3 * time.Second
	// turns is how often the loop goes round, for messages.
	turns = "65,536"
)

// Options say for whom and with what to probe.
type Options struct {
	// Dir is the absolute path of a folder for the helper program and for what was
	// found, which others must not be able to write; see keeper.Install. Required.
	Dir string
	// User is the name of the user that QEMU runs as. Empty means that of this
	// process. That it may open the device is only checked if this process is root,
	// or that user.
	User string
}

// Result is what a probe found.
type Result struct {
	// Usable says that QEMU should be accelerated.
	Usable bool
	// Present says that there is a /dev/kvm. One that is of no use must be hidden
	// from libvirt, which else probes QEMU anew all the time.
	Present bool
	// Loop is what 65,536 turns of a loop in a guest took at best; zero where none
	// ended.
	Loop time.Duration
	// Reason says in a sentence without an end why KVM is usable or not.
	Reason string
}

// finding is what the helper said, line by line.
type finding struct {
	open, user, fail string
	loop             time.Duration
}

const granted = "ok"

// parse reads the helper's output, which ends anywhere if it was killed.
func parse(output string) finding {
	var f finding
	for line := range strings.Lines(output) {
		text, whole := strings.CutSuffix(line, "\n")
		if !whole {
			continue
		}
		key, value, _ := strings.Cut(text, " ")
		switch key {
		case "open":
			f.open = value
		case "user":
			f.user = value
		case "fail":
			f.fail = value
		case "loop":
			f.loop, _ = time.ParseDuration(value + "ns")
		}
	}
	return f
}

// judge draws the conclusion. A helper that said too little was killed.
func (f finding) judge(user string) Result {
	r := Result{Present: true, Loop: max(0, f.loop)}
	switch {
	case f.open == "":
		r.Reason = fmt.Sprintf("opening /dev/kvm did not end within %s", patience)
	case f.open != granted:
		r.Reason = "/dev/kvm cannot be opened: " + f.open
	case f.fail != "":
		r.Reason = "/dev/kvm opens, but a guest cannot run: " + f.fail
	case r.Loop == 0:
		r.Reason = fmt.Sprintf("/dev/kvm opens, but %s turns of a loop in a guest did not end within %s", turns, patience)
	case r.Loop > limit:
		r.Reason = fmt.Sprintf("/dev/kvm opens, but %s turns of a loop in a guest took %s, more than %s", turns, r.Loop.Round(time.Microsecond), limit)
	case f.user != "" && f.user != granted:
		r.Reason = fmt.Sprintf("the user %s, as which QEMU runs, may not open /dev/kvm: %s", user, f.user)
	default:
		r.Usable = true
		r.Reason = fmt.Sprintf("%s turns of a loop in a guest took %s", turns, r.Loop.Round(time.Microsecond))
	}
	return r
}
