package daemon

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"
)

const (
	ownerFile   = "owner.json"
	startFile   = "start.lock"
	useFile     = "use.lock"
	processFile = "process.json"
	logFile     = "daemon.log"

	recordVersion = 1
)

// owner is the content of owner.json.
type owner struct {
	Version int    `json:"version"`
	Name    string `json:"name"`
	// ID marks the processes of this folder in their environment.
	ID string `json:"id"`
	// Made says that the folder itself was made by us and goes with its content.
	Made bool `json:"made"`
}

// folder is the locked folder of a daemon.
type folder struct {
	dir   string
	owner owner
	start *lock
}

func (f *folder) path(name string) string { return filepath.Join(f.dir, name) }

func (f *folder) unlock() { f.start.release() }

// claim makes or checks the folder and locks it against every other start,
// stop and removal.
func claim(ctx context.Context, dir, name string) (*folder, error) {
	for {
		made, err := makeFolder(dir)
		if err != nil {
			return nil, err
		}
		f := &folder{dir: dir}
		err = f.enter(ctx, name, made)
		// Somebody removed the folder after we had seen it: begin again.
		if errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
			continue
		}
		if err != nil {
			return nil, err
		}
		return f, nil
	}
}

func makeFolder(dir string) (made bool, err error) {
	if err := checkParents(dir); err != nil {
		return false, err
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return false, err
	}
	switch err := os.Mkdir(dir, 0o700); {
	case err == nil:
		made = true
	case !errors.Is(err, fs.ErrExist):
		return false, err
	}
	return made, checkPrivate(dir)
}

// checkPrivate refuses a folder whose content, or which itself, somebody else
// could replace: it decides what runs with our rights.
func checkPrivate(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return AtField("Dir", "it is not a folder: %w", errdefs.ErrFailedPrecondition)
	}
	if owner := ownerOf(info); owner != os.Geteuid() {
		return AtField("Dir", "the folder belongs to uid %d, not to the caller's uid %d: %w", owner, os.Geteuid(), errdefs.ErrPermissionDenied)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return AtField("Dir", "the folder is writable by others (mode %#o): %w", info.Mode().Perm(), errdefs.ErrPermissionDenied)
	}
	return checkParents(dir)
}

// checkParents refuses a path of which another user could replace a part, be it
// a folder or a link to one. Parents that do not exist yet are left out.
func checkParents(dir string) error {
	parent := filepath.Dir(dir)
	for {
		_, err := os.Stat(parent)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		parent = filepath.Dir(parent)
	}
	resolved, err := filepath.EvalSymlinks(parent)
	if err != nil {
		return err
	}
	for _, path := range []string{parent, resolved} {
		for ; path != "/"; path = filepath.Dir(path) {
			if err := checkParent(path); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkParent(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	// The mode of a link means nothing, and in a sticky folder everybody may
	// only replace what is theirs.
	mode := info.Mode()
	exposed := mode.Perm()&0o022 != 0 && mode&(fs.ModeSticky|fs.ModeSymlink) == 0
	if owner := ownerOf(info); owner != 0 && owner != os.Geteuid() || exposed {
		return AtField("Dir", "the folder can be replaced by others: its parent %s has owner uid %d and mode %s: %w",
			path, owner, mode, errdefs.ErrPermissionDenied)
	}
	return nil
}

func ownerOf(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// enter locks a folder that exists, and marks one that is empty. Nothing is
// written into a folder that is neither empty nor marked.
func (f *folder) enter(ctx context.Context, name string, made bool) error {
	// Somebody else may mark and fill the folder between the two looks.
	err := checkEmpty(f.dir)
	if err != nil && !f.marked() {
		return err
	}
	if f.start, err = acquire(ctx, f.path(startFile), unix.LOCK_EX, os.O_CREATE); err != nil {
		return err
	}
	err = f.check(name)
	if errors.Is(err, fs.ErrNotExist) {
		err = f.mark(name, made)
	} else if err == nil && made && !f.owner.Made {
		// Somebody else was first to mark the folder that we had made.
		f.owner.Made = true
		err = writeRecord(f.path(ownerFile), f.owner)
	}
	if err != nil {
		f.unlock()
	}
	return err
}

func (f *folder) marked() bool {
	_, err := os.Lstat(f.path(ownerFile))
	return err == nil
}

// checkEmpty allows the lock file, which a start that was killed may have left
// or one that is under way may have made.
func checkEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != startFile && e.Name() != ownerFile && e.Name() != ownerFile+tempSuffix {
			return AtField("Dir", "the folder holds %q and was not made by this library, give an empty or absent one: %w",
				e.Name(), errdefs.ErrFailedPrecondition)
		}
	}
	return nil
}

func (f *folder) mark(name string, made bool) error {
	if err := checkEmpty(f.dir); err != nil {
		return err
	}
	f.owner = owner{Version: recordVersion, Name: name, ID: rand.Text(), Made: made}
	return writeRecord(f.path(ownerFile), f.owner)
}

func (f *folder) check(name string) error {
	if err := readRecord(f.path(ownerFile), &f.owner); err != nil {
		return err
	}
	if err := checkVersion(f.path(ownerFile), f.owner.Version); err != nil {
		return err
	}
	if f.owner.Name != name || f.owner.ID == "" {
		return AtField("Dir", "the folder belongs to the daemon %q, not %q: %w", f.owner.Name, name, errdefs.ErrFailedPrecondition)
	}
	return nil
}

// open locks a folder that claim made. Unlike claim it creates nothing: if the
// folder or its mark is gone the error is [fs.ErrNotExist].
func open(ctx context.Context, dir, name string) (*folder, error) {
	if err := checkPrivate(dir); err != nil {
		return nil, err
	}
	f := &folder{dir: dir}
	if _, err := os.Lstat(f.path(ownerFile)); err != nil {
		return nil, err
	}
	var err error
	if f.start, err = acquire(ctx, f.path(startFile), unix.LOCK_EX, 0); err != nil {
		return nil, err
	}
	if err := f.check(name); err != nil {
		f.unlock()
		return nil, err
	}
	return f, nil
}

// Made says whether Start has made dir the folder of a daemon of that name.
func Made(dir, name string) bool {
	var o owner
	return readRecord(filepath.Join(dir, ownerFile), &o) == nil && o.Name == name
}

func checkVersion(path string, version int) error {
	if version != recordVersion {
		return fmt.Errorf("%s has version %d, this library knows %d: %w", path, version, recordVersion, errdefs.ErrFailedPrecondition)
	}
	return nil
}

const tempSuffix = ".new"

// writeRecord replaces a record as a whole. It runs under the start lock, so
// the temporary name needs not be unique, and one left by a kill is reused.
func writeRecord(path string, value any) error {
	data, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+tempSuffix, data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+tempSuffix, path)
}

func readRecord(path string, value any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, value); err != nil {
		return fmt.Errorf("%s: %w: %w", path, err, errdefs.ErrDataLoss)
	}
	return nil
}
