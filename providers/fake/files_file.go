package fake

import (
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/univirt/univirt/compute"
)

// File is an open file or folder of a [Tree]. Its methods may be called
// concurrently.
type File struct {
	t    *Tree
	name string
	flag int
	step
	// mu guards what follows, and is taken before the lock of the files.
	mu     sync.Mutex
	offset int64
	closed bool
	// entries are those of a folder that are not yet read; listed says that there
	// were any.
	entries []fs.DirEntry
	listed  bool
}

var (
	_ fs.ReadDirFile     = (*File)(nil)
	_ io.ReadWriteSeeker = (*File)(nil)
	_ io.ReaderAt        = (*File)(nil)
	_ io.WriterAt        = (*File)(nil)
)

func (f *File) writes() bool { return f.flag&(os.O_WRONLY|os.O_RDWR) != 0 }

// quota is what counts the file; nil where it has no name any more.
func (f *File) quota() *quota {
	if f.node.names == 0 {
		return nil
	}
	return f.at.fs.quota
}

// Name returns the name that the file was opened by.
func (f *File) Name() string { return f.name }

func (f *File) fail(op string, err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return &fs.PathError{Op: op, Path: f.name, Err: err}
}

// begin says why the file cannot be used. It is locked.
func (f *File) begin() error {
	if f.closed {
		return fs.ErrClosed
	}
	return f.t.pass()
}

// Stat says what the file is.
func (f *File) Stat() (fs.FileInfo, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(); err != nil {
		return nil, f.fail("stat", err)
	}
	f.t.files.RLock()
	defer f.t.files.RUnlock()
	return f.node.info(path.Base(f.name)), nil
}

// Read reads from the file's offset on.
func (f *File) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.readAt(b, f.offset)
	f.offset += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, f.fail("read", err)
}

// ReadAt reads from an offset on; see io.ReaderAt.
func (f *File) ReadAt(b []byte, offset int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.readAt(b, offset)
	return n, f.fail("read", err)
}

func (f *File) readAt(b []byte, offset int64) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	switch {
	case f.node.mode.IsDir():
		return 0, syscall.EISDIR
	case f.flag&os.O_WRONLY != 0:
		return 0, syscall.EBADF
	case offset < 0:
		return 0, syscall.EINVAL
	}
	f.t.files.RLock()
	defer f.t.files.RUnlock()
	n, err := f.node.content.readAt(b, offset)
	f.t.counts.read(n)
	return n, err
}

// Write writes at the file's offset, or at its end with os.O_APPEND.
func (f *File) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.writeAt(b, f.offset, f.flag&os.O_APPEND != 0)
	return n, f.fail("write", err)
}

// WriteAt writes at an offset; see io.WriterAt.
func (f *File) WriteAt(b []byte, offset int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.offset
	n, err := f.writeAt(b, offset, false)
	f.offset = was
	return n, f.fail("write", err)
}

// writeAt writes, and moves the offset behind what was written.
func (f *File) writeAt(b []byte, offset int64, end bool) (int, error) {
	if err := f.begin(); err != nil {
		return 0, err
	}
	switch {
	case !f.writes():
		return 0, syscall.EBADF
	case offset < 0:
		return 0, syscall.EINVAL
	}
	f.t.files.Lock()
	defer f.t.files.Unlock()
	if end {
		offset = f.node.content.size
	}
	full := b
	if f.node.mode&fs.ModeDevice != 0 {
		// A device has the size that it has.
		b = b[:max(0, min(int64(len(b)), f.node.content.size-offset))]
	}
	n, err := f.node.content.writeAt(b, offset, f.quota())
	f.offset = offset + int64(n)
	f.node.modified = time.Now()
	f.t.counts.wrote(n)
	if err == nil && n < len(full) {
		err = syscall.ENOSPC
	}
	return n, err
}

// Seek sets the offset; see io.Seeker.
func (f *File) Seek(offset int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.begin(); err != nil {
		return 0, f.fail("seek", err)
	}
	switch whence {
	case io.SeekCurrent:
		offset += f.offset
	case io.SeekEnd:
		f.t.files.RLock()
		offset += f.node.size()
		f.t.files.RUnlock()
	}
	if offset < 0 {
		return 0, f.fail("seek", syscall.EINVAL)
	}
	f.offset = offset
	if offset == 0 {
		f.entries, f.listed = nil, false
	}
	return offset, nil
}

// Truncate sets the size of the file.
func (f *File) Truncate(size int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin()
	if err == nil && (!f.writes() || f.node.mode&fs.ModeDevice != 0) {
		err = syscall.EINVAL
	}
	if err == nil {
		f.t.files.Lock()
		err = f.node.content.truncate(size, f.quota())
		f.node.modified = time.Now()
		f.t.files.Unlock()
	}
	return f.fail("truncate", err)
}

// ReadDir reads the next n entries of a folder in the order of names; all that
// are left where n is not more than 0.
func (f *File) ReadDir(n int) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.begin()
	if err == nil && !f.node.mode.IsDir() {
		err = syscall.ENOTDIR
	}
	if err != nil {
		return nil, f.fail("readdir", err)
	}
	if !f.listed {
		f.entries, f.listed = f.t.entries(f.step), true
	}
	count := len(f.entries)
	if n > 0 {
		if count == 0 {
			return nil, io.EOF
		}
		count = min(count, n)
	}
	part := f.entries[:count:count]
	f.entries = f.entries[count:]
	return part, nil
}

// entries lists a folder.
func (t *Tree) entries(in step) []fs.DirEntry {
	t.files.RLock()
	defer t.files.RUnlock()
	out := make([]fs.DirEntry, 0, len(in.node.children))
	for _, name := range in.node.list() {
		child, _ := t.view.child(in, name)
		out = append(out, child.node.info(name))
	}
	return out
}

// Sync does nothing: what is written is there.
func (f *File) Sync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail("sync", f.begin())
}

// Close closes the file. Closing twice is fs.ErrClosed.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.fail("close", fs.ErrClosed)
	}
	f.closed = true
	f.t.files.Lock()
	f.at.open--
	f.t.files.Unlock()
	return nil
}

// diskCounts are what a run has read and written. They are nil where nobody
// counts.
type diskCounts struct{ readBytes, writeBytes, readOps, writeOps atomic.Int64 }

func (c *diskCounts) read(n int) {
	if c != nil {
		c.readBytes.Add(int64(n))
		c.readOps.Add(1)
	}
}

func (c *diskCounts) wrote(n int) {
	if c != nil {
		c.writeBytes.Add(int64(n))
		c.writeOps.Add(1)
	}
}

// reset begins the counts of a new run.
func (c *diskCounts) reset() {
	for _, n := range []*atomic.Int64{&c.readBytes, &c.writeBytes, &c.readOps, &c.writeOps} {
		n.Store(0)
	}
}

func (c *diskCounts) stats() compute.IOStats {
	return compute.IOStats{
		ReadBytes: c.readBytes.Load(), WriteBytes: c.writeBytes.Load(),
		ReadOps: c.readOps.Load(), WriteOps: c.writeOps.Load(),
	}
}
