package compute

import (
	"fmt"
	"time"
)

// Exit says how a run ended.
type Exit struct {
	// Run is the token of the run.
	Run string
	// Known is false where the backend no longer knows how the run ended: its
	// code and signal mean nothing then.
	Known bool
	// Code is the exit code, 128 plus the signal's number where a signal ended
	// the main process, 0 for a virtual machine that was powered off.
	Code int
	// Signal is the name of the signal that ended the main process, such as
	// "SIGKILL". It is empty where the backend tells no more than the code, as
	// containerd does: a code above 128 may be the program's own. SIGKILL is told
	// there where memory ran out.
	Signal string
	// OOM says that the main process was ended for want of memory.
	OOM bool
	// Reason is a short word where there is more to say, such as "stopped",
	// "forced" or "crashed". A provider may leave it out, and containerd's does:
	// nothing should be decided by it.
	Reason string
	// Started and Finished bound the run; zero where not known.
	Started, Finished time.Time
}

// Success reports whether the run is known to have ended with code 0.
func (e Exit) Success() bool { return e.Known && e.Code == 0 }

// String says how the run ended, such as "exit code 1", "SIGKILL, out of memory"
// or "exit code not known".
func (e Exit) String() string {
	how := ending(e.Known, e.Code, e.Signal)
	if e.OOM {
		how += ", out of memory"
	}
	return how
}

// ending says in words how a process ended.
func ending(known bool, code int, signal string) string {
	switch {
	case !known:
		return "exit code not known"
	case signal != "":
		return signal
	}
	return fmt.Sprintf("exit code %d", code)
}

// WaitOptions are the options of Wait. The zero value waits for the run under
// way, or else gives the last one's exit.
type WaitOptions struct {
	// Run names a run by its token, from Info or an earlier Exit. The exit of a
	// run that is no longer known has Known false; it is never another run's.
	Run string
}
