package containerd

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/generations"
	"github.com/univirt/univirt/internal/keeper"
	"github.com/univirt/univirt/resource"
)

// stateDir is the folder of one namespace: what must outlive this process and
// has no place in containerd.
//
//	bin/keeper-DIGEST          the helper program
//	NAMESPACE/generations/ID   locked by a living Provider value
//	NAMESPACE/instances/ID/    lock, and logs of an instance
//	NAMESPACE/fifos/ID/        the streams of a generation's execs
//	NAMESPACE/names            locked while names are given back
//	NAMESPACE/supervisor       locked by the value that supervises, or is about to
type stateDir struct {
	root, space string
	// keeper is the path of the helper program.
	keeper string
}

// openState makes the folder and what is shared in it.
func openState(root, space string) (stateDir, error) {
	s := stateDir{root: root, space: space}
	for _, dir := range []string{string(s.generations()), s.instances(), s.fifos()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return s, err
		}
	}
	var err error
	s.keeper, err = keeper.Install(filepath.Join(root, "bin"))
	return s, err
}

func (s stateDir) generations() generations.Folder {
	return generations.Folder(filepath.Join(s.root, s.space, "generations"))
}
func (s stateDir) instances() string { return filepath.Join(s.root, s.space, "instances") }
func (s stateDir) fifos() string     { return filepath.Join(s.root, s.space, "fifos") }
func (s stateDir) names() string     { return filepath.Join(s.root, s.space, "names") }

func (s stateDir) supervisor() string { return filepath.Join(s.root, s.space, "supervisor") }

// instance is the folder of an instance. An ID has the shape of one, so that it
// is a single part of a path.
func (s stateDir) instance(id string) string { return filepath.Join(s.instances(), id) }
func (s stateDir) logs(id string) string     { return filepath.Join(s.instance(id), "logs") }

// lockInstance keeps other processes from starting, changing or deleting the
// instance. Within this process turns do that.
//
// It says whether it made the folder, of which nothing should be left then unless
// something was put into it.
func (s stateDir) lockInstance(ctx context.Context, id string) (lock *filelock.Lock, made bool, err error) {
	for {
		err := os.Mkdir(s.instance(id), 0o700)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, false, err
		}
		made = made || err == nil
		lock, err := s.lockFolder(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue // whoever deleted the instance removed the folder in between
		}
		return lock, made, err
	}
}

// lockFolder is lockInstance where there is a folder, and fs.ErrNotExist where
// there is none.
func (s stateDir) lockFolder(ctx context.Context, id string) (*filelock.Lock, error) {
	return filelock.Acquire(ctx, filepath.Join(s.instance(id), lockName), filelock.Exclusive)
}

// removeInstance removes the folder of an instance that is no more. It goes out of
// the way first, as whoever waits for its lock makes the file of the lock anew.
func (s stateDir) removeInstance(id string) error {
	away := filepath.Join(s.instances(), goneMark+resource.NewID())
	err := os.Rename(s.instance(id), away)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, os.RemoveAll(away))
}

// lockName is the file in an instance's folder that is locked.
const lockName = "lock"

// goneMark begins the name of a folder that is being removed.
const goneMark = "gone-"

// folders tells which instances have one: those that were started.
func (s stateDir) folders() (map[string]bool, error) {
	dir, err := os.Open(s.instances())
	if err != nil {
		return nil, err
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	there := make(map[string]bool, len(names))
	for _, name := range names {
		there[name] = true
	}
	return there, err
}
