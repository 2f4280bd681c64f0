package guest

import (
	"strings"
)

// Signal is the name of a signal without its prefix, such as "TERM". It is a
// name and not a number because numbers differ between systems, and because
// neither package os nor package syscall has all of them everywhere.
type Signal string

// The signals that sub commands know by name.
const (
	HUP   Signal = "HUP"
	INT   Signal = "INT"
	QUIT  Signal = "QUIT"
	KILL  Signal = "KILL"
	USR1  Signal = "USR1"
	USR2  Signal = "USR2"
	PIPE  Signal = "PIPE"
	TERM  Signal = "TERM"
	CHLD  Signal = "CHLD"
	CONT  Signal = "CONT"
	URG   Signal = "URG"
	WINCH Signal = "WINCH"
)

// signalNumbers are Linux' numbers on all architectures but MIPS, SPARC, Alpha
// and PA-RISC.
var signalNumbers = map[Signal]int{
	HUP: 1, INT: 2, QUIT: 3, "ILL": 4, "TRAP": 5, "ABRT": 6, "BUS": 7, "FPE": 8,
	KILL: 9, USR1: 10, "SEGV": 11, USR2: 12, PIPE: 13, "ALRM": 14, TERM: 15,
	"STKFLT": 16, CHLD: 17, CONT: 18, "STOP": 19, "TSTP": 20, "TTIN": 21,
	"TTOU": 22, URG: 23, "XCPU": 24, "XFSZ": 25, "VTALRM": 26, "PROF": 27,
	WINCH: 28, "IO": 29, "PWR": 30, "SYS": 31,
}

// ParseSignal reads a name with or without the prefix SIG, in any case.
func ParseSignal(s string) (Signal, bool) {
	sig := Signal(strings.TrimPrefix(strings.ToUpper(s), "SIG"))
	_, ok := signalNumbers[sig]
	return sig, ok
}

// SignalByNumber returns the signal with that number on Linux.
func SignalByNumber(n int) (Signal, bool) {
	for sig, number := range signalNumbers {
		if number == n {
			return sig, true
		}
	}
	return "", false
}

// Number returns the number on Linux, or 0 for an unknown name.
func (s Signal) Number() int { return signalNumbers[s] }

// ExitCode returns the exit code of a program that the signal ended, 128 plus
// its number.
func (s Signal) ExitCode() int { return 128 + s.Number() }

// harmless reports whether a program that does not handle the signal goes on.
// The job control signals are among them: nothing here runs under a shell.
func (s Signal) harmless() bool {
	switch s {
	case CHLD, CONT, URG, WINCH, "TSTP", "TTIN", "TTOU":
		return true
	}
	return s.Number() == 0
}
