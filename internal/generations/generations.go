// Package generations keeps marks of the provider values that live: a file each,
// locked by the value, so that the lock dies with the process.
package generations

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
)

// Folder is the path of a folder of marks. The file of each is the generation's ID.
type Folder string

// Begin makes a mark and locks it. Removing the lock ends the generation.
func (f Folder) Begin(ctx context.Context, id string) (*filelock.Lock, error) {
	return filelock.Acquire(ctx, f.mark(id), filelock.Exclusive)
}

// Alive reports whether a generation's value lives, in whatever process. Where it
// cannot be told it does: nothing may be taken away from it.
func (f Folder) Alive(id string) bool {
	if id == "" || filepath.Base(id) != id {
		return false
	}
	held, err := filelock.Held(f.mark(id))
	return held || err != nil && !errors.Is(err, fs.ErrNotExist)
}

// Dead lists the marks that nobody holds.
func (f Folder) Dead() ([]string, error) {
	entries, err := os.ReadDir(string(f))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var dead []string
	for _, e := range entries {
		if !f.Alive(e.Name()) {
			dead = append(dead, e.Name())
		}
	}
	return dead, err
}

// Forget removes the mark of a dead generation, with its lock held: the mark of one
// that is just being made must not go. One that lives is NotFound among the dead.
// What else is to be removed with it is removed before the mark.
func (f Folder) Forget(id string, before ...func() error) error {
	once, cancel := context.WithCancel(context.Background())
	cancel() // so that it does not wait
	mark, err := filelock.Acquire(once, f.mark(id), filelock.Exclusive)
	if errors.Is(err, context.Canceled) {
		return fmt.Errorf("it lives: %w", errdefs.ErrNotFound)
	}
	if err != nil {
		return err
	}
	for _, remove := range before {
		if err := remove(); err != nil {
			mark.Release()
			return err
		}
	}
	mark.Remove()
	return nil
}

func (f Folder) mark(id string) string { return filepath.Join(string(f), id) }
