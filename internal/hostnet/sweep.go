package hostnet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// Leftovers is what nobody owns: what makers that died have left.
type Leftovers struct {
	// Links of this folder that no record knows.
	Links []string
	// Networks are the IDs of those whose making or deleting was not finished.
	Networks []string
	// Files are other files of the folder, as paths in it.
	Files []string
}

// Empty reports whether nothing was found.
func (l Leftovers) Empty() bool { return len(l.Links)+len(l.Networks)+len(l.Files) == 0 }

// Inventory lists what Sweep would remove, as far as nobody is at it right now. Whoever
// changes a network waits meanwhile.
func (h *Host) Inventory(ctx context.Context) (Leftovers, error) { return h.sweep(ctx, true) }

// Sweep removes what has no record and what nobody will finish, repairs the rest, and
// returns what was removed. Links that are not this folder's are never touched.
func (h *Host) Sweep(ctx context.Context) (Leftovers, error) { return h.sweep(ctx, false) }

func (h *Host) sweep(ctx context.Context, dry bool) (out Leftovers, err error) {
	lock, err := h.changing(ctx)
	if err != nil {
		return out, err
	}
	defer lock.Release()
	// Links are looked at first: a record is made before its link and removed after it.
	links, err := h.kernel.links()
	if err != nil {
		return out, err
	}
	ids, err := namesIn(filepath.Join(h.dir, "networks"))
	if err != nil {
		return out, err
	}
	known := map[string]bool{}
	for _, id := range ids {
		if err := h.sweepNetwork(ctx, id, dry, known, &out); err != nil {
			return out, err
		}
	}
	if err := h.sweepNames(dry, &out); err != nil {
		return out, err
	}
	for _, l := range links {
		if known[l.name] {
			continue
		}
		out.Links = append(out.Links, l.name)
		if !dry {
			if err := h.kernel.remove(l.name); err != nil {
				return out, err
			}
		}
	}
	if dry {
		return out, nil
	}
	return out, h.repair(ctx)
}

// sweepNetwork looks at one network, under its lock, and tells which links it has.
func (h *Host) sweepNetwork(ctx context.Context, id string, dry bool, known map[string]bool, out *Leftovers) error {
	if !resource.IsID(id) {
		return nil // nothing that we would have made
	}
	lock, err := h.using(ctx, id, filelock.Exclusive)
	if err != nil {
		return err
	}
	keep := true
	defer func() {
		if keep {
			lock.Release()
		}
	}()
	n, err := h.record(id)
	absent := errdefs.IsNotFound(err)
	if err != nil && !absent {
		return err
	}
	if absent || n.Stage != "" {
		out.Networks = append(out.Networks, id)
		if dry {
			return nil
		}
		if absent {
			n = Network{ID: id, Bridge: h.bridgeName(id)}
		}
		keep = false
		return h.erase(n, lock)
	}
	if !n.Joined() {
		known[n.Bridge] = true
	}
	stray, err := h.strayFiles(ctx, n, known)
	for _, path := range stray {
		out.Files = append(out.Files, path)
		if !dry {
			err = errors.Join(err, unlink(filepath.Join(h.dir, path)))
		}
	}
	return err
}

// strayFiles lists the files of a network that belong to no endpoint. As the lock is
// held, nobody is about to finish what they are for.
func (h *Host) strayFiles(ctx context.Context, n Network, known map[string]bool) ([]string, error) {
	claimed := map[string]bool{}
	for e, err := range h.Endpoints(ctx, n.ID) {
		if err != nil {
			return nil, err
		}
		known[h.endpointName(e.ID)] = true
		claimed[macClaim(e.MAC)] = true
		for _, a := range e.Addresses {
			claimed[addressClaim(a.Addr())] = true
		}
	}
	var stray []string
	for folder, isStray := range map[string]func(name string) bool{
		"":      func(name string) bool { return strings.HasPrefix(name, temporary) },
		"taken": func(name string) bool { return !claimed[name] },
		"endpoints": func(name string) bool {
			return strings.HasPrefix(name, temporary) || strings.HasSuffix(name, endpointLock)
		},
	} {
		entries, err := os.ReadDir(h.in(n.ID, folder))
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if isStray(e.Name()) {
				stray = append(stray, filepath.Join("networks", n.ID, folder, e.Name()))
			}
		}
	}
	slices.Sort(stray)
	return stray, nil
}

// sweepNames looks for names of networks that are not there, and for files that were
// being written. The lock for changes is held.
func (h *Host) sweepNames(dry bool, out *Leftovers) error {
	entries, err := os.ReadDir(filepath.Join(h.dir, "names"))
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join("names", e.Name())
		if !strings.HasPrefix(e.Name(), temporary) {
			id, err := os.ReadFile(filepath.Join(h.dir, path))
			if err != nil {
				return err
			}
			if _, err := os.Lstat(h.in(string(id), "record")); err == nil {
				continue
			} else if !isAbsent(err) {
				return err
			}
		}
		out.Files = append(out.Files, path)
		if !dry {
			if err := unlink(filepath.Join(h.dir, path)); err != nil {
				return err
			}
		}
	}
	return nil
}
