package daemon

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	tailBytes = 4 << 10
	tailLines = 10
	// trimPause is the least time between two looks at a busy log.
	trimPause = time.Second
)

// tail returns the last lines that were written to the log after the offset
// from, or nil. What cannot be printed is replaced, since a daemon may log what
// a guest told it.
func tail(path string, from int64) []string {
	file, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return nil
	}
	// A log shorter than the offset was trimmed in the meantime.
	if from > info.Size() {
		from = 0
	}
	cut := info.Size()-from > tailBytes
	if cut {
		from = info.Size() - tailBytes
	}
	data, err := io.ReadAll(io.NewSectionReader(file, from, tailBytes))
	if err != nil {
		return nil
	}
	if cut {
		if _, rest, ok := bytes.Cut(data, []byte("\n")); ok {
			data = rest
		}
	}
	return lastLines(string(data))
}

func lastLines(text string) []string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.Map(printable, line))
		if line != "" {
			lines = append(lines, line)
		}
	}
	return lines[max(0, len(lines)-tailLines):]
}

func printable(r rune) rune {
	switch {
	case r == '\n' || r == '\r':
		return -1
	case unicode.IsPrint(r):
		return r
	}
	return '?'
}

// withLog adds the last lines of the log to an error.
func withLog(err error, path string, from int64) error {
	lines := tail(path, from)
	if len(lines) == 0 {
		return fmt.Errorf("%w (nothing in the log %s)", err, path)
	}
	return fmt.Errorf("%w; end of %s:\n\t%s", err, path, strings.Join(lines, "\n\t"))
}

// trim moves the content of a log that has reached limit to path.1. The daemon
// keeps its descriptor, so the file is emptied in place; what is written at
// this very moment may be lost.
func trim(path string, limit int64) error {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	l := &lock{file: file}
	defer l.release()
	// Every open value watches the log: one of them is enough.
	if !l.exclusive() {
		return nil
	}
	info, err := file.Stat()
	if err != nil || info.Size() < limit {
		return err
	}
	kept, err := os.OpenFile(path+".1"+tempSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(kept, io.NewSectionReader(file, max(0, info.Size()-limit), limit))
	if failed := kept.Close(); err == nil {
		err = failed
	}
	if err == nil {
		err = os.Rename(path+".1"+tempSuffix, path+".1")
	}
	// Bounding the log matters more than keeping its past.
	return errors.Join(err, file.Truncate(0))
}

// boundLog trims the log whenever it has grown, until ctx ends. Without inotify
// the log is trimmed at each start only.
func boundLog(ctx context.Context, path string, limit int64) {
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		return
	}
	events := os.NewFile(uintptr(fd), "inotify")
	defer events.Close()
	if _, err := unix.InotifyAddWatch(fd, path, unix.IN_MODIFY); err != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() { events.Close() })
	defer stop()
	buf := make([]byte, 4<<10)
	for {
		// The daemon works on if its log cannot be trimmed.
		_ = trim(path, limit)
		if _, err := events.Read(buf); err != nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(trimPause):
		}
	}
}

func (d *Daemon) logPath() string { return filepath.Join(d.config.Dir, logFile) }
