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

// aliases are further names that signal(7) has for the same signals.
var aliases = map[string]int{"IOT": 6, "CLD": 17, "POLL": 29, "UNUSED": 31}

// Those between the last plain signal and the first real-time one are the C
// library's own.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// ParseSignal returns the Linux number of a signal: "SIGTERM", "TERM", "15",
// "SIGRTMIN+3", "SIGRTMAX-1". The error is Faults with the field "signal".
func ParseSignal(text string) (int, error) {
	name, prefixed := strings.CutPrefix(text, "SIG")
	if number, ok := aliases[name]; ok {
		return number, nil
	}
	for number, known := range signals {
		if known != "" && name == known {
			return number, nil
		}
	}
	number := -1
	if offset, ok := strings.CutPrefix(name, "RTMIN"); ok {
		number = realTime(firstRealTime, '+', offset)
	} else if offset, ok := strings.CutPrefix(name, "RTMAX"); ok {
		number = realTime(lastRealTime, '-', offset)
	} else if n, err := strconv.ParseUint(name, 10, 8); err == nil && !prefixed {
		number = int(n)
	}
	if SignalName(number) == "" {
		return 0, resource.Faults{{Field: "signal", Reason: "is no signal: " + resource.Quote(text)}}
	}
	return number, nil
}

// realTime returns the number of a real-time signal that is named by its
// distance from the first or last of them, or -1.
func realTime(base int, sign byte, offset string) int {
	if offset == "" {
		return base
	}
	n, err := strconv.ParseUint(offset[1:], 10, 8)
	if err != nil || offset[0] != sign {
		return -1
	}
	number := base + int(n)
	if sign == '-' {
		number = base - int(n)
	}
	if number < firstRealTime || number > lastRealTime {
		return -1
	}
	return number
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
