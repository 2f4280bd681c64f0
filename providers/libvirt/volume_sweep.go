//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/resource"
)

// kindFile is a file of the pool that somebody needed on the way only.
const kindFile resource.Kind = "file"

// abandoned reports whether nobody sees the phase of a document through.
func (p *Provider) abandoned(d document) bool {
	if d.Home == p.home {
		return !p.generations().Alive(d.Maker)
	}
	return time.Now().After(d.Until)
}

// volumes takes those that were never finished or not deleted to the end, and those
// past their lifetime, or all.
func (s *sweep) volumes(ctx context.Context) error {
	if s.p.inProcess() {
		return nil
	}
	v := volumes{s.p}
	docs, err := v.records().list(ctx)
	if err != nil {
		return err
	}
	half, err := v.records().claimed(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	for _, d := range append(docs, half...) {
		facts, err := readVolume(d)
		switch {
		case err != nil || !s.Mine(d.Owner.Name):
			continue
		case d.hidden() && s.p.abandoned(d):
			s.Take(ctx, v.ref(d.Name, d.ID), func() error { return s.p.discard(ctx, d, facts.spec.Pool) })
		case d.hidden() || s.unfinished:
			continue
		case s.opts.All || facts.spec.Lifetime.Expired(now, s.p.mayLive(d.Home, d.Owner)):
			s.Take(ctx, v.ref(d.Name, d.ID), func() error { return s.p.buryVolume(ctx, d.ID) })
		}
	}
	return nil
}

// strays takes the files of volumes that no record of theirs has, of operations whose
// process did not live to remove them.
func (s *sweep) strays(ctx context.Context) error {
	if s.p.inProcess() || s.opts.Owner != "" {
		return nil
	}
	v := volumes{s.p}
	docs, err := v.records().list(ctx)
	if err != nil {
		return err
	}
	pools := map[string][]string{}
	for _, d := range docs {
		facts, err := readVolume(d)
		if err != nil || d.hidden() {
			continue
		}
		pool := facts.spec.Pool
		if _, ok := pools[pool]; !ok {
			if pools[pool], err = s.p.filesIn(ctx, pool); err != nil {
				return err
			}
		}
		if !slices.ContainsFunc(pools[pool], facts.stray) {
			continue
		}
		if held, err := filelock.Held(s.p.lockPath(d.ID)); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
			continue // somebody is at it
		}
		s.Take(ctx, s.p.ref(kindFile, facts.Name, d.ID), func() error { return v.handle(d.ID, d.Name).tidy(ctx) })
	}
	return nil
}

// stray reports whether a file is the volume's and none that its record has.
func (v volumeFacts) stray(file string) bool {
	_, draft := parseDraft(file)
	return !draft && strings.HasPrefix(file, v.ID+".") && file != v.file() && (file != v.Refill || v.Phase == finished) &&
		!slices.ContainsFunc(v.Snapshots, func(s volumeSnapshot) bool { return file == v.fileOf(s) })
}

// tidy removes the volume's strays, when no operation on it is under way.
func (v *volume) tidy(ctx context.Context) error {
	return v.p.lockedVolume(ctx, v.id, func() error {
		facts, err := v.load(ctx)
		if err != nil {
			return err
		}
		files, err := v.p.filesIn(ctx, facts.spec.Pool)
		if err != nil {
			return err
		}
		for _, file := range slices.DeleteFunc(files, func(file string) bool { return !facts.stray(file) }) {
			if err := v.p.removeFile(ctx, facts.spec.Pool, file); err != nil {
				return err
			}
		}
		return nil
	})
}
