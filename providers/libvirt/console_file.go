//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/univirt/univirt/internal/logfile"
)

// mostBackups is how many files there may be of what a console has said before:
// libvirt's log daemon begins another where one has become large, and numbers the
// older ones from 0.
const mostBackups = 16

// consoleFiles are the names that a console's files may have, the oldest first.
func consoleFiles(path string) []string {
	names := make([]string, 0, mostBackups+1)
	for n := mostBackups - 1; n >= 0; n-- {
		names = append(names, path+"."+strconv.Itoa(n))
	}
	return append(names, path)
}

// consoleEnd is where the output of a console ends, and that of a run begins.
func consoleEnd(path string, run int) consoleMark {
	mark := consoleMark{Run: run}
	f, id, err := logfile.Open(filepath.Split(path))
	if err != nil {
		return mark
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil {
		mark.Identity, mark.Offset = id, info.Size()
	}
	return mark
}

// consoleReader reads what a console has said, through all of its files.
type consoleReader struct {
	path        string
	from, until *consoleMark
	begun       bool
	file        *os.File // nil: none yet
	id          logfile.Identity
	off         int64
}

func (r *consoleReader) close() {
	if r.file != nil {
		_ = r.file.Close()
		r.file = nil
	}
}

// read reads what comes next; io.EOF where there is nothing yet.
func (r *consoleReader) read(p []byte) (int, error) {
	for {
		next, err := r.next()
		if err != nil {
			return 0, err
		}
		// That there is a next file was seen before: nothing more comes in this one.
		n, err := r.readFile(p)
		if n > 0 || err != nil && !errors.Is(err, io.EOF) {
			if next != nil {
				_ = next.file.Close()
			}
			return n, err
		}
		if next == nil || r.file != nil && r.until != nil && r.id == r.until.Identity {
			if next != nil {
				_ = next.file.Close()
			}
			return 0, io.EOF
		}
		r.close()
		r.file, r.id, r.off = next.file, next.id, 0
		if !r.begun && r.from != nil && r.from.Identity == r.id {
			r.off = r.from.Offset
		}
		r.begun = true
	}
}

func (r *consoleReader) readFile(p []byte) (int, error) {
	if r.file == nil {
		return 0, io.EOF
	}
	if r.until != nil && r.id == r.until.Identity {
		p = p[:max(0, min(int64(len(p)), r.until.Offset-r.off))]
		if len(p) == 0 {
			return 0, io.EOF
		}
	}
	n, err := r.file.ReadAt(p, r.off)
	r.off += int64(n)
	if n > 0 {
		err = nil
	}
	return n, err
}

type openFile struct {
	file *os.File
	id   logfile.Identity
}

// next opens the file that follows the one at hand; nil where there is none. Where
// that is gone it is the oldest; to begin with it is the one where the run began.
func (r *consoleReader) next() (*openFile, error) {
	var all []openFile
	keep := -1
	defer func() {
		for n, f := range all {
			if n != keep {
				_ = f.file.Close()
			}
		}
	}()
	for _, path := range consoleFiles(r.path) {
		f, id, err := logfile.Open(filepath.Split(path))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, openFile{f, id})
	}
	if len(all) == 0 {
		return nil, nil
	}
	keep = 0
	for n, f := range all {
		if r.file != nil && f.id == r.id {
			keep = n + 1
		}
		if !r.begun && r.from != nil && f.id == r.from.Identity {
			keep = n
		}
	}
	if keep == len(all) {
		keep = -1
		return nil, nil
	}
	return &all[keep], nil
}
