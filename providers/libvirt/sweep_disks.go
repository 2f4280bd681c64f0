//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// kindDisk is a disk of an instance that is no more, or that was never made.
const kindDisk resource.Kind = "disk"

// ownDiskOf is the instance whose own disk a file of the pool is.
func ownDiskOf(file string) (id string, ok bool) {
	id, _, _ = strings.Cut(file, ".")
	return id, resource.IsID(id) && (file == rootFile(id) || file == seedFile(id))
}

// disks takes the disks of instances that are not there. Who makes or deletes one
// holds its lock: where that is of this host it has died with its holder; where there
// is none the disks are left to hosts that have it.
func (s *sweep) disks(ctx context.Context) error {
	if s.opts.Owner != "" || len(s.files) == 0 {
		return nil
	}
	done := map[string]bool{}
	for _, file := range s.files {
		id, ok := ownDiskOf(file)
		if !ok || s.here[id] || done[id] {
			continue
		}
		done[id] = true
		if held, err := filelock.Held(s.p.lockPath(id)); held || err != nil || !slices.Contains(s.locks, id) {
			continue
		}
		s.Take(ctx, s.p.ref(kindDisk, "", id), func() error {
			return s.p.locked(ctx, id, func() error {
				if _, err := s.p.read(ctx, id); !isNotFound(err) {
					return errdefs.ErrNotFound // it was finished meanwhile
				}
				return s.p.removeDisks(ctx, s.p.opts.Pool, diskFiles(id, nil)...)
			})
		})
	}
	return nil
}

// drafts takes those of this host's dead.
func (s *sweep) drafts(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for _, file := range s.files {
		draft, ok := parseDraft(file)
		if !ok || draft.home != s.p.home || s.p.generations().Alive(draft.maker) {
			continue
		}
		s.Take(ctx, s.p.ref(kindFile, "", draft.id), func() error { return s.p.removeFile(ctx, s.p.opts.Pool, file) })
	}
	return nil
}

// revisions takes those that a newer one has replaced: whoever wrote that did not live
// to remove them.
func (s *sweep) revisions(ctx context.Context) error {
	if s.p.inProcess() || len(s.files) == 0 {
		return nil
	}
	for _, kind := range []resource.Kind{resource.KindImage, resource.KindVolume, resource.KindNetwork} {
		docs, err := records{s.p, kind}.list(ctx)
		if err != nil {
			return err
		}
		present := make(map[string]document, len(docs))
		for _, d := range docs {
			present[d.ID] = d
		}
		for _, file := range s.files {
			at, ok := parsePlace(file)
			d, there := present[at.id]
			if !ok || !there || d.fault != nil || at.claim() != d.place().claim() || at.revision >= d.Revision || !s.Mine(d.Owner.Name) {
				continue
			}
			s.Take(ctx, s.p.ref(kindFile, d.Name, d.ID), func() error { return s.p.removeFile(ctx, s.p.opts.Pool, file) })
		}
	}
	return nil
}

// images takes what is left of imports that ended half-way, and ends removals. What
// is finished stays, whoever brought it: images are shared.
func (s *sweep) images(ctx context.Context) error {
	if s.p.inProcess() {
		return nil
	}
	all := images{s.p}
	docs, err := all.records().list(ctx)
	if err != nil {
		return err
	}
	half, err := all.records().claimed(ctx)
	if err != nil {
		return err
	}
	for _, d := range append(docs, half...) {
		if d.fault != nil || !d.hidden() || !s.Mine(d.Owner.Name) || !s.p.abandoned(d) {
			continue
		}
		s.Take(ctx, s.p.ref(resource.KindImage, "", d.ID), func() error {
			users, err := s.p.imageUsers(ctx, []document{d})
			if err == nil && len(users) > 0 {
				return all.amend(ctx, d.ID, func(d document, _ imageFacts) (document, error) { return d.ended(), nil })
			}
			if err != nil {
				return err
			}
			return all.drop(ctx, d.ID)
		})
	}
	return nil
}
