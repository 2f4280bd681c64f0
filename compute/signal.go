package compute

import (
	"strconv"
	"strings"

	"github.com/univirt/univirt/resource"
)

// signals are Linux' signals by number, as signal(7) lists them for x86 and
// ARM. Instances are Linux whatever the caller's system is, so the numbers do
// not come from package syscall.
var signals = [...]string{
	1: "HUP", 2: "INT", 3: "QUIT", 4: "ILL", 5: "TRAP", 6: "ABRT", 7: "BUS", 8: "FPE", 9: "KILL",
	10: "USR1", 11: "SEGV", 12: "USR2", 13: "PIPE", 14: "ALRM", 15: "TERM", 16: "STKFLT", 17: "CHLD",
	18: "CONT", 19: "STOP", 20: "TSTP", 21: "TTIN", 22: "TTOU", 23: "URG", 24: "XCPU", 25: "XFSZ",
	26: "VTALRM", 27: "PROF", 28: "WINCH", 29: "IO", 30: "PWR", 31: "SYS",
}

const (
	firstRealTime = 34
	lastRealTime  = 64
)

// ParseSignal returns the Linux number of a signal: "SIGTERM", "TERM", "15",
// "SIGRTMIN+3". The error is Faults with the field "signal".
func ParseSignal(text string) (int, error) {
	name := strings.TrimPrefix(text, "SIG")
	for number, known := range signals {
		if known != "" && name == known {
			return number, nil
		}
	}
	base, offset, plus := strings.Cut(name, "+")
	if base == "RTMIN" && !plus {
		return firstRealTime, nil
	}
	digits, least := name, 1
	if base == "RTMIN" {
		digits, least = offset, 0
	}
	if n, err := strconv.ParseUint(digits, 10, 8); err == nil && int(n) >= least {
		number := int(n)
		if base == "RTMIN" {
			number += firstRealTime
		}
		if number <= lastRealTime {
			return number, nil
		}
	}
	return 0, resource.Faults{{Field: "signal", Reason: "is no signal: " + strconv.QuoteToASCII(text)}}
}

// SignalName returns the name of a Linux signal, such as "SIGTERM", or "" for
// a number that is none.
func SignalName(number int) string {
	switch {
	case number > 0 && number < len(signals):
		return "SIG" + signals[number]
	case number == firstRealTime:
		return "SIGRTMIN"
	case number > firstRealTime && number <= lastRealTime:
		return "SIGRTMIN+" + strconv.Itoa(number-firstRealTime)
	}
	return ""
}
