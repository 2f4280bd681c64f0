package logfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Run describes one run of which a folder has logs.
type Run struct {
	// Token names the run.
	Token string
	// Started is when the run was first written.
	Started time.Time
	// Size is the number of bytes in all its files.
	Size int64
	// Writing says that a writer is alive, in this or another process.
	Writing bool
	seqs    []int
}

// Runs lists what a folder holds, the oldest run first. A folder that does not
// exist has no runs.
func Runs(dir string) ([]Run, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	byToken := make(map[string]*Run)
	get := func(token string) *Run {
		r := byToken[token]
		if r == nil {
			r = &Run{Token: token}
			byToken[token] = r
		}
		return r
	}
	for _, entry := range entries {
		token, seq, isLog := parseLogName(entry.Name())
		switch {
		case isLog && entry.Type().IsRegular():
			info, err := entry.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue // deleted by a rotation since
			}
			if err != nil {
				return nil, err
			}
			r := get(token)
			r.seqs = append(r.seqs, seq)
			r.Size += info.Size()
			if r.Started.IsZero() || info.ModTime().Before(r.Started) {
				r.Started = info.ModTime()
			}
		case entry.Type() == fs.ModeNamedPipe:
			token, ok := strings.CutSuffix(entry.Name(), writerSuffix)
			if !ok || CheckRun(token) != nil {
				continue
			}
			r := get(token)
			if info, err := entry.Info(); err == nil {
				r.Started = info.ModTime()
			}
			if r.Writing, err = Writing(dir, token); err != nil {
				return nil, err
			}
		}
	}
	runs := make([]Run, 0, len(byToken))
	for _, r := range byToken {
		slices.Sort(r.seqs)
		runs = append(runs, *r)
	}
	slices.SortFunc(runs, func(a, b Run) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.Token, b.Token)
	})
	return runs, nil
}

// Writing says whether the run has a writer. It is false for a run that is not
// known. After a start it tells whether the log writer came up, which the
// container engine does not.
func Writing(dir, run string) (bool, error) {
	if err := CheckRun(run); err != nil {
		return false, err
	}
	alive, err := writing(dir, run)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return alive, err
}

// Remove deletes the folder of an instance with all its runs. A writer that is
// still alive loses what it writes from then on. That the folder is absent is
// nil.
func Remove(dir string) error { return os.RemoveAll(dir) }

// RemoveRun deletes what the folder holds of one run; that there is nothing is
// nil. It returns [ErrWriting] while the run has a writer.
func RemoveRun(dir, run string) error {
	alive, err := Writing(dir, run)
	if err != nil {
		return err
	}
	if alive {
		return ErrWriting
	}
	seqs, err := listSeqs(dir, run)
	if err != nil {
		return err
	}
	names := []string{}
	for _, seq := range seqs {
		names = append(names, logName(run, seq))
	}
	// The mark goes last, so that an interrupted removal leaves a run that is
	// seen and can be removed again.
	for _, name := range append(names, writerName(run)) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// listSeqs returns the numbers of a run's files, ascending.
func listSeqs(dir, run string) ([]int, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var seqs []int
	for _, entry := range entries {
		if token, seq, ok := parseLogName(entry.Name()); ok && token == run && entry.Type().IsRegular() {
			seqs = append(seqs, seq)
		}
	}
	slices.Sort(seqs)
	return seqs, nil
}
