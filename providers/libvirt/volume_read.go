//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"path"
	"slices"
	"strconv"
	"strings"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func revisionText(d document) string { return strconv.Itoa(d.Revision) }

// checkRevision is the error of an operation on another revision than the present
// one.
func (d document) checkRevision(want string) error {
	if have := revisionText(d); want != "" && have != want {
		return &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision", Err: errors.New("the revision is " + have + ", not " + want)}
	}
	return nil
}

// here is a path of the hypervisor's host for this process, empty where that is
// another host.
func (p *Provider) here(path string) string {
	switch {
	case path == "" || !p.opts.local():
		return ""
	case p.daemon != nil:
		return p.daemon.Outside(path)
	}
	return path
}

// allPools reads the pools that hold files and run.
func (p *Provider) allPools(ctx context.Context) ([]poolFacts, error) {
	return call(ctx, p, func(c *lv.Connect) ([]poolFacts, error) {
		all, err := c.ListAllStoragePools(lv.CONNECT_LIST_STORAGE_POOLS_ACTIVE)
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range all {
				_ = all[i].Free()
			}
		}()
		var out []poolFacts
		for i := range all {
			facts, err := readPool(&all[i])
			if errors.Is(err, lv.ERR_NO_STORAGE_POOL) {
				continue // it is gone meanwhile
			}
			if err != nil {
				return nil, err
			}
			// Others have names that nobody could give.
			if slices.Contains(filePools, facts.kind) && resource.CheckName(facts.name) == "" {
				out = append(out, facts)
			}
		}
		slices.SortFunc(out, func(a, b poolFacts) int { return strings.Compare(a.name, b.name) })
		return out, nil
	})
}

// volumeInfos tells all that is known of volumes, in one call per pool.
func (p *Provider) volumeInfos(ctx context.Context, all []volumeFacts, users map[string][]resource.Ref) ([]storage.Info, error) {
	infos := make([]storage.Info, len(all))
	byPool := map[string][]int{}
	for i, v := range all {
		infos[i] = v.told(users)
		if pool := v.spec.Pool; pool != "" {
			byPool[pool] = append(byPool[pool], i)
		}
	}
	for name, members := range byPool {
		_, err := onPool(ctx, p, name, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
			for _, i := range members {
				if err := readUsage(pool, all[i].file(), &infos[i]); err != nil {
					return struct{}{}, err
				}
			}
			return struct{}{}, nil
		})
		// A pool that is not there now hides the use of its volumes, not the volumes.
		if err != nil && !isNotFound(err) {
			return nil, err
		}
		for _, i := range members {
			infos[i].Path = p.here(infos[i].Path)
		}
	}
	return infos, nil
}

// readUsage reads what libvirt knows of a volume's file.
func readUsage(pool *lv.StoragePool, file string, info *storage.Info) error {
	v, err := pool.LookupStorageVolByName(file)
	if errors.Is(err, lv.ERR_NO_STORAGE_VOL) {
		return nil
	}
	if err != nil {
		return err
	}
	defer v.Free()
	facts, err := v.GetInfo()
	if err != nil {
		return err
	}
	info.Used, info.UsedKnown = int64(facts.Allocation), true
	if info.Capacity == 0 {
		info.Capacity = int64(facts.Capacity)
	}
	info.Path, err = v.GetPath()
	return err
}

// usersOfAll lists the instances of the namespace that have volumes attached, by the
// volumes' IDs.
func (p *Provider) usersOfAll(ctx context.Context) (map[string][]resource.Ref, error) {
	all, err := p.known(ctx)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(all, func(a, b *domain) int { return strings.Compare(a.id, b.id) })
	users := map[string][]resource.Ref{}
	for _, d := range all {
		r := d.facts.record
		if r == nil || r.Namespace != p.opts.Namespace {
			continue
		}
		ref := p.ref(resource.KindInstance, r.Name, d.id)
		for _, id := range r.Volumes {
			if !slices.Contains(users[id], ref) {
				users[id] = append(users[id], ref)
			}
		}
	}
	return users, nil
}

// user is a domain that has a file as a disk, now or at its next start.
type user struct {
	ref    resource.Ref
	active bool
	domain string
	// disk is the target of the disk in the domain that runs; empty where it does not
	// run, or has not got it so far.
	disk string
}

// usersOf finds the domains that have a volume's file, or one of its snapshots, as a
// disk: by their descriptions, whoever wrote those.
func (p *Provider) usersOf(ctx context.Context, id string) ([]user, error) {
	return call(ctx, p, func(c *lv.Connect) ([]user, error) {
		all, err := c.ListAllDomains(0)
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range all {
				_ = all[i].Free()
			}
		}()
		var users []user
		for i := range all {
			u, err := p.userOf(&all[i], id)
			if err != nil && !errors.Is(err, lv.ERR_NO_DOMAIN) {
				return nil, err
			}
			if u != nil {
				users = append(users, *u)
			}
		}
		return users, nil
	})
}

func (p *Provider) userOf(d *lv.Domain, id string) (*user, error) {
	next, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return nil, err
	}
	state, detail, err := d.GetState()
	if err != nil {
		return nil, err
	}
	is, _ := stateOf(state, detail)
	if is == compute.Stopped {
		saved, err := d.HasManagedSaveImage(0)
		if err == nil && saved {
			is = compute.Suspended
		}
	}
	now := ""
	if is.Active() {
		if now, err = d.GetXMLDesc(0); err != nil {
			return nil, err
		}
	}
	if !strings.Contains(next, id) && !strings.Contains(now, id) {
		return nil, nil
	}
	_, later := diskOf(next, id)
	disk, present := diskOf(now, id)
	if !later && !present {
		return nil, nil
	}
	facts, err := readFacts(next)
	if err != nil {
		return nil, err
	}
	u := &user{ref: p.ref(resource.KindInstance, "", facts.uuid), domain: facts.name, active: is.Active() || is == compute.Suspended, disk: disk}
	if facts.record != nil {
		u.ref.Namespace, u.ref.Name = facts.record.Namespace, facts.record.Name
	}
	return u, nil
}

// diskOf finds the disk of a description whose file, or what it is based on, is
// named by a volume's ID.
func diskOf(description, id string) (target string, found bool) {
	if description == "" {
		return "", false
	}
	var d libvirtxml.Domain
	if d.Unmarshal(description) != nil || d.Devices == nil {
		return "", false
	}
	for _, disk := range d.Devices.Disks {
		if !fromFile(disk.Source, id) && !basedOn(disk.BackingStore, id) {
			continue
		}
		if disk.Target != nil {
			target = disk.Target.Dev
		}
		return target, true
	}
	return "", false
}

func fromFile(source *libvirtxml.DomainDiskSource, id string) bool {
	switch {
	case source == nil:
		return false
	case source.File != nil:
		return strings.HasPrefix(path.Base(source.File.File), id+".")
	case source.Volume != nil:
		return strings.HasPrefix(source.Volume.Volume, id+".")
	}
	return false
}

func basedOn(store *libvirtxml.DomainDiskBackingStore, id string) bool {
	return store != nil && (fromFile(store.Source, id) || basedOn(store.BackingStore, id))
}

// label names a user in a message.
func (u user) label() string {
	if u.ref.Name != "" {
		return u.ref.Label()
	}
	return "the domain " + resource.Quote(u.domain)
}

// idle says who uses a volume.
func (p *Provider) idle(ctx context.Context, id string) error {
	users, err := p.usersOf(ctx, id)
	if err == nil && len(users) > 0 {
		err = resource.Errorf(errdefs.ErrFailedPrecondition, "the volume is in use by %s", users[0].label())
	}
	return err
}

// still says who uses a volume and runs. It returns nil for nobody.
func (p *Provider) still(ctx context.Context, id string) error {
	users, err := p.usersOf(ctx, id)
	if err != nil {
		return err
	}
	for _, u := range users {
		if u.active {
			return resource.Errorf(errdefs.ErrFailedPrecondition, "the volume is in use by %s, which runs", u.label())
		}
	}
	return nil
}
