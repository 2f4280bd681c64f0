//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/sweeping"
	"github.com/univirt/univirt/resource"
)

var _ univirt.Sweeper = (*Provider)(nil)

// The kinds of what a sweep removes beside instances.
const (
	// kindLogs is what the guest of an instance that is no more wrote.
	kindLogs resource.Kind = "logs"
	// kindLock is the lock of a change that nobody makes any more.
	kindLock resource.Kind = "lock"
	// kindPorts is what is left of ports that were published.
	kindPorts resource.Kind = "ports"
	// kindTree is an archive that was being unpacked for a volume.
	kindTree resource.Kind = "tree"
	// kindCopy is the copy of a disk that a machine makes for nobody.
	kindCopy resource.Kind = "copy"
	// kindGeneration is the mark of a dead provider value.
	kindGeneration resource.Kind = "generation"
)

// Sweep implements univirt.Sweeper. Whether the maker of something lives is known
// of those that have the same folder for state; what makers elsewhere made
// ephemeral is swept with All only. What has no owner on record (locks, logs and
// marks) is swept where the options name no owner.
func (p *Provider) Sweep(ctx context.Context, opts univirt.SweepOptions) (univirt.SweepReport, error) {
	ref := p.ref("", "", "")
	ctx, done, err := p.begin(ctx)
	if err != nil {
		return univirt.SweepReport{}, resource.Fail("sweep", ref, err)
	}
	defer done()
	if err := opts.Validate().Err(); err != nil {
		return univirt.SweepReport{}, resource.Fail("sweep", ref, err)
	}
	s := &sweep{Sweep: sweeping.New(opts), p: p, opts: opts}
	err = s.run(ctx)
	return s.Report(), resource.Fail("sweep", ref, err)
}

// leftovers lists what is in the making and whose maker is dead.
func (p *Provider) leftovers(ctx context.Context) ([]resource.Ref, error) {
	return sweeping.Lasting(func() ([]resource.Ref, error) {
		opts := univirt.SweepOptions{DryRun: true}
		s := &sweep{Sweep: sweeping.New(opts), p: p, opts: opts, unfinished: true}
		err := s.run(ctx)
		return s.Report().Removed, err
	})
}

// sweep is one sweep.
type sweep struct {
	*sweeping.Sweep
	p    *Provider
	opts univirt.SweepOptions
	// unfinished leaves out what is finished.
	unfinished bool

	all []*domain
	// here are the IDs of all domains, whoever made them.
	here map[string]bool
	// consoles, locks, published and unpacked are IDs that files are named by, and files
	// those of the pool. They are read before the domains: what is made meanwhile has none.
	consoles, locks, published, unpacked, files []string
}

func (s *sweep) run(ctx context.Context) error {
	if err := s.read(ctx); err != nil {
		return err
	}
	// Copies end before the files go that they are made into, and disks go before the
	// endpoints: what is done about either takes the lock along by which the disks of
	// the dead are known.
	for _, step := range []func(context.Context) error{s.instances, s.copies, s.volumes, s.strays, s.disks, s.endpoints, s.networks, s.images, s.drafts, s.revisions, s.logs, s.ports, s.trees, s.changes, s.generations} {
		if err := s.Step(ctx, step); err != nil {
			return err
		}
		if done := ended(ctx); done != nil {
			return done
		}
	}
	return nil
}

func (s *sweep) read(ctx context.Context) (err error) {
	if s.p.daemon != nil {
		// The folder of another daemon may be for others too.
		if s.consoles, err = idsIn(s.p.daemon.Outside(consoleFolder), ".log"); err != nil {
			return err
		}
	}
	if s.locks, err = idsIn(s.p.opts.StateDir, lockSuffix); err != nil {
		return err
	}
	if s.published, err = idsIn(s.p.opts.StateDir, portsSuffix); err != nil {
		return err
	}
	if s.unpacked, err = idsIn(s.p.opts.StateDir, treeSuffix); err != nil {
		return err
	}
	if s.files, err = s.p.filesIn(ctx, s.p.opts.Pool); err != nil {
		return err
	}
	if s.all, err = s.p.readAll(ctx); err != nil {
		return err
	}
	s.here = make(map[string]bool, len(s.all))
	for _, d := range s.all {
		s.here[d.id] = true
	}
	return nil
}

// idsIn lists the IDs of the files of a folder that are named by one.
func idsIn(dir, suffix string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), suffix); ok && resource.IsID(id) {
			ids = append(ids, id)
		}
	}
	return ids, err
}

// instances takes what is past its lifetime, or all.
func (s *sweep) instances(ctx context.Context) error {
	if s.unfinished {
		return nil // a domain is made in one call
	}
	now := time.Now()
	for _, d := range s.all {
		if !s.p.ours(d.facts) || !s.due(d.facts, now) {
			continue
		}
		ref := s.p.info(d).Ref
		s.Take(ctx, ref, func() error {
			return s.p.handle(d.id, ref.Name).Delete(ctx, compute.DeleteOptions{Force: true})
		})
	}
	return nil
}

// due reports whether the sweep takes an instance. Of one that cannot be read nobody
// knows whose it is, and how long it was to live.
func (s *sweep) due(f *facts, now time.Time) bool {
	switch r := f.record; {
	case f.fault != nil:
		return s.opts.All && s.opts.Owner == ""
	case r == nil || !s.Mine(r.Owner.Name):
		return false
	default:
		return s.opts.All || r.spec.Lifetime.Expired(now, s.p.mayLive(r.Home, r.Owner))
	}
}

// copies ends those that machines of this host make of disks that nobody has locked: a
// machine goes on with the copy of somebody who died, until it ends itself.
func (s *sweep) copies(ctx context.Context) error {
	if s.unfinished || !s.p.opts.local() || s.p.inProcess() {
		return nil
	}
	for _, d := range s.all {
		r := d.facts.record
		if r == nil || !d.state.Active() || !s.p.ours(d.facts) || !s.Mine(r.Owner.Name) {
			continue
		}
		disks, err := s.p.copiedDisks(ctx, d.id)
		if isNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		for _, disk := range disks {
			of, ok := copiedFrom(disk)
			if !ok {
				continue
			}
			if held, err := filelock.Held(s.p.lockPath(of)); held || err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue // somebody is at it
			}
			s.Take(ctx, s.p.ref(kindCopy, r.Name, d.id), func() error { return s.p.endCopy(ctx, d.id, of, disk.Target.Dev) })
		}
	}
	return nil
}

// copiedFrom is the ID of the instance or the volume that a disk is of, by its file.
func copiedFrom(disk libvirtxml.DomainDisk) (id string, ok bool) {
	if disk.Source == nil || disk.Source.File == nil {
		return "", false
	}
	id, _, _ = strings.Cut(filepath.Base(disk.Source.File.File), ".")
	return id, resource.IsID(id)
}

// endCopy ends the copy of a disk, if it is still under way when the disk is locked.
func (p *Provider) endCopy(ctx context.Context, id, of, disk string) error {
	return p.locked(ctx, of, func() error {
		disks, err := p.copiedDisks(ctx, id)
		if err == nil && !slices.ContainsFunc(disks, func(d libvirtxml.DomainDisk) bool { return d.Target.Dev == disk }) {
			err = errdefs.ErrNotFound
		}
		if err != nil {
			return err
		}
		job, stop, err := p.copyJob(ctx, id, disk)
		if err != nil {
			return err
		}
		defer stop()
		return job.end(ctx)
	})
}

// logs takes what guests wrote of which nothing else is left.
func (s *sweep) logs(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for _, id := range s.consoles {
		if s.here[id] {
			continue
		}
		s.Take(ctx, s.p.ref(kindLogs, "", id), func() error {
			return s.p.handle(id, "").removeConsole()
		})
	}
	return nil
}

// changes takes the locks that died with their holder.
func (s *sweep) changes(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	for _, id := range s.locks {
		if held, err := filelock.Held(s.p.lockPath(id)); held || err != nil {
			continue
		}
		s.Take(ctx, s.p.ref(kindLock, "", id), func() error { return releaseDead(s.p.lockPath(id)) })
	}
	return nil
}

// releaseDead removes the file of a lock that nobody holds; another's is NotFound
// among the dead.
func releaseDead(path string) error {
	if _, err := os.Lstat(path); err != nil {
		return errdefs.ErrNotFound
	}
	once, cancel := context.WithCancel(context.Background())
	cancel() // so that it does not wait
	lock, err := filelock.Acquire(once, path, filelock.Exclusive)
	if errors.Is(err, context.Canceled) {
		return errdefs.ErrNotFound
	}
	lock.Remove()
	return err
}

// generations takes the marks of the dead.
func (s *sweep) generations(ctx context.Context) error {
	if s.opts.Owner != "" {
		return nil
	}
	dead, err := s.p.generations().Dead()
	if err != nil {
		return err
	}
	for _, id := range dead {
		s.Take(ctx, s.p.ref(kindGeneration, "", id), func() error { return s.p.generations().Forget(id) })
	}
	return nil
}

// bury deletes an ephemeral instance at Close, when no other operation of this value
// is under way.
func (p *Provider) bury(ctx context.Context, id string) error {
	i := p.handle(id, "")
	err := p.locked(ctx, id, func() error { return i.delete(ctx, compute.DeleteOptions{Force: true}) })
	if isNotFound(err) {
		return nil
	}
	return i.fail("delete", err)
}
