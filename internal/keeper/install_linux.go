package keeper

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

func install(dir string, content []byte) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", err
	}
	if err := checkFolders(dir); err != nil {
		return "", err
	}
	digest := sha256.Sum256(content)
	path := filepath.Join(dir, "keeper-"+hex.EncodeToString(digest[:8]))
	if err := verify(path, content); err == nil {
		return path, nil
	}
	if err := replace(path, content); err != nil {
		return "", err
	}
	return path, verify(path, content)
}

// checkFolders refuses a folder in which, or in a parent of which, others could
// put a different file in the helper's place. Others are all but root and the
// user of this process.
func checkFolders(dir string) error {
	var mount unix.Statfs_t
	if err := unix.Statfs(dir, &mount); err != nil {
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	if mount.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("keeper: %s: mounted noexec: %w", dir, ErrUntrusted)
	}
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		if !owned(info) {
			return fmt.Errorf("keeper: %s: owned by another user: %w", at, ErrUntrusted)
		}
		// A sticky folder lets nobody replace what is another's; that is enough
		// for a parent such as /tmp.
		if open := info.Mode()&0o022 != 0; open && (at == dir || info.Mode()&fs.ModeSticky == 0) {
			return fmt.Errorf("keeper: %s: mode %s lets others write: %w", at, info.Mode(), ErrUntrusted)
		}
		if at == filepath.Dir(at) {
			return nil
		}
	}
}

func owned(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (stat.Uid == 0 || int(stat.Uid) == os.Geteuid())
}

// verify returns nil for an executable with that content that others cannot
// write.
func verify(path string, content []byte) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != 0o755 || !owned(info) {
		return fmt.Errorf("keeper: %s: mode %s or owner: %w", path, info.Mode(), ErrUntrusted)
	}
	same, err := holds(f, content)
	if err != nil {
		return err
	}
	if !same {
		return fmt.Errorf("keeper: %s: altered or truncated: %w", path, ErrUntrusted)
	}
	return nil
}

// holds reports whether that content is all that a reader has.
func holds(r io.Reader, content []byte) (bool, error) {
	part := make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(r, part)
		if n > len(content) || !bytes.Equal(part[:n], content[:n]) {
			return false, nil
		}
		content = content[n:]
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
			return len(content) == 0, nil
		case err != nil:
			return false, err
		}
	}
}

// replace puts content at path in one step.
func replace(path string, content []byte) (err error) {
	// A child forked meanwhile would hold the file open for writing until it
	// executes something, and executing the helper would fail with ETXTBSY.
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	f, err := os.CreateTemp(filepath.Dir(path), ".keeper-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(content)
	// The mode is set after the umask, and the content is on the disk before the
	// name is: a crash leaves the old file, none, or the whole one.
	err = errors.Join(err, f.Chmod(0o755), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
