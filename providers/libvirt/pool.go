//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/resource"
)

// filePools are the types of pool whose volumes are files of any name.
var filePools = []string{"dir", "fs", "netfs"}

// onPool makes a call on a pool of libvirt's. It is looked up each time; the
// provider's own is made where it is not there, and started where it stands still.
func onPool[T any](ctx context.Context, p *Provider, name string, do func(*lv.Connect, *lv.StoragePool) (T, error)) (T, error) {
	return foundPool(ctx, p, name, func(c *lv.Connect, pool *lv.StoragePool) (T, error) {
		return inPool(pool, name == p.opts.Pool, func(pool *lv.StoragePool) (T, error) { return do(c, pool) })
	})
}

// foundPool is onPool for what starts the pool by itself.
func foundPool[T any](ctx context.Context, p *Provider, name string, do func(*lv.Connect, *lv.StoragePool) (T, error)) (T, error) {
	return call(ctx, p, func(c *lv.Connect) (T, error) {
		var none T
		pool, err := c.LookupStoragePoolByName(name)
		if errors.Is(err, lv.ERR_NO_STORAGE_POOL) && name == p.opts.Pool {
			pool, err = p.makePool(c)
		}
		if err != nil {
			return none, err
		}
		defer pool.Free()
		return do(c, pool)
	})
}

// inPool makes a call on a pool, which is started where it stands still.
func inPool[T any](pool *lv.StoragePool, own bool, do func(*lv.StoragePool) (T, error)) (T, error) {
	if err := activate(pool, own); err != nil {
		var none T
		return none, err
	}
	return do(pool)
}

// reading is inPool for what changes nothing, and may be done twice: that the pool stands
// still shows by itself.
func reading[T any](pool *lv.StoragePool, own bool, do func(*lv.StoragePool) (T, error)) (T, error) {
	out, err := do(pool)
	if errors.Is(err, lv.ERR_OPERATION_INVALID) {
		return inPool(pool, own, do)
	}
	return out, err
}

// lookupIn finds a file of a pool, which is started where it stands still.
func lookupIn(pool *lv.StoragePool, own bool, file string) (*lv.StorageVol, error) {
	return reading(pool, own, func(pool *lv.StoragePool) (*lv.StorageVol, error) { return pool.LookupStorageVolByName(file) })
}

// startPatience is how long somebody else has to start a pool, which takes some
// milliseconds.
const startPatience = 5 * time.Second

// activate starts a pool where it stands still; the provider's own may have been
// defined by another process a moment ago, which is about to start it.
func activate(pool *lv.StoragePool, own bool) error {
	flags := lv.STORAGE_POOL_CREATE_NORMAL
	if own {
		flags = lv.STORAGE_POOL_CREATE_WITH_BUILD
	}
	for deadline := time.Now().Add(startPatience); ; {
		active, err := pool.IsActive()
		if err != nil || active {
			return err
		}
		err = pool.Create(flags)
		// While somebody else starts it, libvirt neither starts it nor calls it active.
		if err != nil && !errors.Is(err, lv.ERR_OPERATION_INVALID) || time.Now().After(deadline) {
			if active, asked := pool.IsActive(); asked == nil && active {
				return nil
			}
			return err
		}
		if err != nil {
			<-time.After(startPause)
		}
	}
}

const startPause = 5 * time.Millisecond

// onVolume makes a call on a file of a pool.
func onVolume[T any](ctx context.Context, p *Provider, pool, file string, do func(*lv.Connect, *lv.StorageVol) (T, error)) (T, error) {
	own := pool == p.opts.Pool
	return foundPool(ctx, p, pool, func(c *lv.Connect, pool *lv.StoragePool) (T, error) {
		var none T
		v, err := lookupIn(pool, own, file)
		if err != nil {
			return none, err
		}
		defer v.Free()
		return do(c, v)
	})
}

// removeFile removes a file of a pool. That there is none is nil.
func (p *Provider) removeFile(ctx context.Context, pool, file string) error {
	_, err := onVolume(ctx, p, pool, file, func(_ *lv.Connect, v *lv.StorageVol) (struct{}, error) {
		return struct{}{}, v.Delete(lv.STORAGE_VOL_DELETE_NORMAL)
	})
	if isNotFound(err) {
		return nil
	}
	return err
}

// makePool makes the provider's own pool.
func (p *Provider) makePool(c *lv.Connect) (*lv.StoragePool, error) {
	description, err := describePool(p.opts)
	if err != nil {
		return nil, err
	}
	pool, err := c.StoragePoolDefineXML(description, 0)
	if err != nil {
		// Somebody else may have been faster.
		if there, lookErr := c.LookupStoragePoolByName(p.opts.Pool); lookErr == nil {
			return there, nil
		}
		return nil, err
	}
	if err := startPool(pool); err != nil {
		_ = pool.Free()
		return nil, err
	}
	return pool, nil
}

func startPool(pool *lv.StoragePool) error {
	if err := pool.SetAutostart(true); err != nil && !errors.Is(err, lv.ERR_NO_SUPPORT) {
		return err
	}
	return activate(pool, true)
}

// describePool is the provider's own pool as libvirt reads it. All that make it
// describe it alike.
func describePool(o Options) (string, error) {
	folder, ok := poolFolder(o)
	if !ok {
		return "", &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "pool", Err: errors.New(
			"there is no pool " + o.Pool + ", and where a user's own would lie on another host is not known: define one there")}
	}
	sum := sha256.Sum256([]byte("univirt pool " + o.Pool + " " + folder))
	id, err := resource.NewIDFrom(bytes.NewReader(sum[:]))
	if err != nil {
		return "", err
	}
	return (&libvirtxml.StoragePool{
		Type: "dir", Name: o.Pool, UUID: id,
		Target: &libvirtxml.StoragePoolTarget{
			Path: folder,
			// Machines go through it to the files that are theirs.
			Permissions: &libvirtxml.StoragePoolTargetPermissions{Mode: "0711"},
		},
	}).Marshal()
}

// poolFolder is the folder of the provider's own pool, as the hypervisor's host
// names it, in the one where libvirt has the disks of its own default pool.
func poolFolder(o Options) (string, bool) {
	u, err := url.Parse(o.URI)
	if err != nil || u.Path != "/session" {
		return filepath.Join("/var/lib/libvirt/images", o.Pool), true
	}
	root := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(root) {
		root = filepath.Join(os.Getenv("HOME"), ".local", "share")
	}
	return filepath.Join(root, "libvirt", "images", o.Pool), u.Host == "" && filepath.IsAbs(root)
}

// poolFacts are what a pool is.
type poolFacts struct {
	name, kind string
	// folder is where its files are, as the hypervisor's host names it.
	folder                         string
	capacity, allocated, available int64
}

// pool reads a pool. One that cannot hold files is FailedPrecondition.
func (p *Provider) pool(ctx context.Context, name string) (poolFacts, error) {
	facts, err := onPool(ctx, p, name, func(_ *lv.Connect, pool *lv.StoragePool) (poolFacts, error) { return readPool(pool) })
	if isNotFound(err) {
		return facts, &resource.Error{Kind: errdefs.ErrNotFound, Field: "pool", Err: errors.New("there is no pool " + resource.Quote(name))}
	}
	if err == nil && !slices.Contains(filePools, facts.kind) {
		err = &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "pool", Err: errors.New(
			"the pool " + resource.Quote(name) + " is of the type " + resource.Quote(facts.kind) + ", which does not hold files")}
	}
	return facts, err
}

func readPool(pool *lv.StoragePool) (poolFacts, error) {
	text, err := pool.GetXMLDesc(0)
	if err != nil {
		return poolFacts{}, err
	}
	var description libvirtxml.StoragePool
	if err := description.Unmarshal(text); err != nil {
		return poolFacts{}, resource.Errorf(errdefs.ErrDataLoss, "the pool's description cannot be read: %w", err)
	}
	facts := poolFacts{name: description.Name, kind: description.Type}
	if description.Target != nil {
		facts.folder = description.Target.Path
	}
	info, err := pool.GetInfo()
	if err != nil {
		return poolFacts{}, err
	}
	facts.capacity, facts.allocated, facts.available = int64(info.Capacity), int64(info.Allocation), int64(info.Available)
	return facts, nil
}

// filesIn lists the names of a pool's files. A pool that is not there has none, and
// is not made.
func (p *Provider) filesIn(ctx context.Context, pool string) ([]string, error) {
	return call(ctx, p, func(c *lv.Connect) ([]string, error) {
		found, err := c.LookupStoragePoolByName(pool)
		if errors.Is(err, lv.ERR_NO_STORAGE_POOL) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		defer found.Free()
		return reading(found, pool == p.opts.Pool, listFiles)
	})
}

func listFiles(pool *lv.StoragePool) ([]string, error) {
	all, err := pool.ListAllStorageVolumes(0)
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(all))
	for i := range all {
		if name, err := all[i].GetName(); err == nil {
			names = append(names, name)
		}
		_ = all[i].Free()
	}
	return names, nil
}
