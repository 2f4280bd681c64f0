package logfile

import (
	"errors"
	"strconv"
	"strings"
)

const (
	logSuffix    = ".log"
	writerSuffix = ".writer"
	seqDigits    = 6
	maxRun       = 128
)

// ErrRun is the error for a token that cannot name a run.
var ErrRun = errors.New("logfile: a run token is 1 to 128 letters, digits, '.', '_' or '-' and starts with a letter or digit")

// CheckRun returns [ErrRun] unless run can be a part of a file name.
func CheckRun(run string) error {
	if run == "" || len(run) > maxRun {
		return ErrRun
	}
	for i := range len(run) {
		c := run[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case i > 0 && (c == '.' || c == '_' || c == '-'):
		default:
			return ErrRun
		}
	}
	return nil
}

func writerName(run string) string { return run + writerSuffix }

func logName(run string, seq int) string {
	n := strconv.Itoa(seq)
	if len(n) < seqDigits {
		n = strings.Repeat("0", seqDigits-len(n)) + n
	}
	return run + "." + n + logSuffix
}

// parseLogName is the inverse of logName; ok is false for every other name.
func parseLogName(name string) (run string, seq int, ok bool) {
	base, ok := strings.CutSuffix(name, logSuffix)
	if !ok {
		return "", 0, false
	}
	dot := strings.LastIndexByte(base, '.')
	if dot < 0 {
		return "", 0, false
	}
	run = base[:dot]
	seq, err := strconv.Atoi(base[dot+1:])
	if err != nil || seq < 1 || CheckRun(run) != nil || logName(run, seq) != name {
		return "", 0, false
	}
	return run, seq, true
}
