//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/generations"
	"github.com/univirt/univirt/resource"
)

// The folder for state has:
//
//	home             the folder's own ID, by which records tell hosts apart
//	generations/ID   locked by a living Provider value
//	ID.lock          held while an instance is made or changed
//	ID.tree          an archive that is being unpacked for a volume, whose lock is held
//	NAME.supervisor  held by the value that supervises a namespace, or is about to
//	ID.ports         the ports of the host that an instance has, held while they are
//	                 forwarded

// makeState makes the folder for state and finds out its ID.
func (p *Provider) makeState() (err error) {
	if err = os.MkdirAll(string(p.generations()), 0o700); err == nil {
		p.home, err = homeOf(p.opts.StateDir)
	}
	if err != nil {
		return atField("stateDir", resource.Errorf(errdefs.ErrFailedPrecondition, "%w", err))
	}
	return nil
}

// homeOf reads the ID of a folder for state, or gives it one. Of several processes
// that do so at once one wins.
func homeOf(dir string) (string, error) {
	path := filepath.Join(dir, "home")
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := writeOnce(path, resource.NewID()); err != nil {
			return "", err
		}
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(text))
	if !resource.IsID(id) {
		return "", fmt.Errorf("%s holds no ID", path)
	}
	return id, nil
}

// writeOnce makes a file with a text, whole or not at all. One that is there stays
// as it is.
func writeOnce(path, text string) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".home-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	_, err = f.WriteString(text + "\n")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func (p *Provider) generations() generations.Folder {
	return generations.Folder(filepath.Join(p.opts.StateDir, "generations"))
}

// mayLive reports whether the provider value that made a resource may live. Of
// values that have another folder for state, as those of other hosts, that cannot
// be known.
func (p *Provider) mayLive(home string, owner resource.Owner) bool {
	return home != p.home || p.generations().Alive(owner.Generation)
}

func (p *Provider) lockPath(id string) string { return filepath.Join(p.opts.StateDir, id+lockSuffix) }

const lockSuffix = ".lock"
