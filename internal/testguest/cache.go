//go:build linux

package testguest

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sources decide what is made, beside the packages and the programs.
//
//go:embed *.go rootfs
var sources embed.FS

// digest names what these packages and programs give.
func digest(packages []debianPackage, programs programs) string {
	h := sha256.New()
	_ = fs.WalkDir(sources, ".", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && !strings.HasSuffix(path, "_test.go") {
			text, _ := sources.ReadFile(path)
			fmt.Fprintf(h, "%s %d\n%s", path, len(text), text)
		}
		return err
	})
	for _, p := range packages {
		fmt.Fprintln(h, p.Name, p.Version)
	}
	for _, p := range []([]byte){programs.init, programs.seed, programs.guest} {
		fmt.Fprintln(h, len(p))
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// unused is how long what nobody asks for is kept.
const unused = 3 * 24 * time.Hour

// cache is a folder of folders that are made once.
type cache struct{ dir string }

// folder returns the folder of that name, and has it filled if there is none. It
// gets its name when it is whole.
func (c cache) folder(ctx context.Context, name string, fill func(into string) error) (string, error) {
	path := filepath.Join(c.dir, name)
	if c.used(path) {
		return path, nil
	}
	if err := c.make(); err != nil {
		return "", err
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return "", err
	}
	defer unlock()
	if c.used(path) {
		return path, nil
	}
	c.tidy()
	// Whoever holds the lock is alone: what is there by this name was left behind.
	unfinished := filepath.Join(c.dir, "unfinished")
	if err := os.RemoveAll(unfinished); err != nil {
		return "", err
	}
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)
	// Whatever the umask: QEMU may run as another user.
	if err := os.Chmod(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := fill(unfinished); err != nil {
		return "", err
	}
	return path, os.Rename(unfinished, path)
}

// make makes the folder of folders.
func (c cache) make() error { return os.MkdirAll(c.dir, 0o755) }

// used reports whether there is a folder, and notes that somebody asked for it.
func (c cache) used(path string) bool {
	now := time.Now()
	return os.Chtimes(path, now, now) == nil
}

// tidy removes what nobody has asked for in a long time.
func (c cache) tidy() {
	entries, _ := os.ReadDir(c.dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && entry.IsDir() && time.Since(info.ModTime()) > unused {
			_ = os.RemoveAll(filepath.Join(c.dir, entry.Name()))
		}
	}
}

// lock waits for the cache. The kernel frees it when its holder dies.
func (c cache) lock(ctx context.Context) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(c.dir, "lock"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// known is what the package lists said when they were last asked. Asking takes a
// second.
type known struct {
	// Lists identifies the lists and the question.
	Lists    string
	Packages []debianPackage
}

// packages returns the packages to use, of the versions that would be installed.
func (c cache) packages(ctx context.Context) ([]debianPackage, error) {
	var k known
	path := filepath.Join(c.dir, "packages.json")
	lists := listsDigest()
	if text, err := os.ReadFile(path); err == nil && json.Unmarshal(text, &k) == nil && k.Lists == lists {
		return k.Packages, nil
	}
	packages, err := findPackages(ctx)
	if err != nil {
		return nil, err
	}
	text, err := json.Marshal(known{listsDigest(), packages})
	if err != nil {
		return nil, err
	}
	if err := c.make(); err != nil {
		return nil, err
	}
	temporary, err := os.CreateTemp(c.dir, ".packages")
	if err != nil {
		return nil, err
	}
	defer os.Remove(temporary.Name())
	if _, err := temporary.Write(text); err != nil {
		return nil, err
	}
	if err := temporary.Close(); err != nil {
		return nil, err
	}
	return packages, os.Rename(temporary.Name(), path)
}
