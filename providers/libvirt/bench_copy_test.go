//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/speedtest"
	"github.com/univirt/univirt/resource"
)

// The bounds for snapshots and clones: medians of times relative to those of the binding
// alone. A snapshot takes libvirt so short that a question more shows.
const (
	worstSnapshot = 1.35
	worstClone    = 1.2
)

// withDisk makes an instance that has a disk of an image.
func withDisk(t *testing.T, p *Provider) compute.Instance {
	t.Helper()
	importDisk(t, p)
	spec := machine("web")
	spec.Image = diskName
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, inst.Delete(context.Background(), compute.DeleteOptions{Force: true}))
		require.NoError(t, p.Images().Delete(context.Background(), diskName, compute.DeleteImageOptions{}))
	})
	return inst
}

func TestSpeedSnapshot(t *testing.T) {
	speedtest.Measured(t)
	p := open(t, "speed")
	inst := withDisk(t, p)
	snapshots, err := compute.Snapshots(inst)
	require.NoError(t, err)
	domain, err := newReference(t, p).conns[0].LookupDomainByUUIDString(inst.ID())
	require.NoError(t, err)
	t.Cleanup(func() { _ = domain.Free() })
	t.Logf("take and delete a snapshot; %d rounds; libvirt %s", speedtest.Pairs, p.version)
	speedtest.Within(t,
		speedtest.Way{Name: "univirt", Worst: worstSnapshot, Do: func(ctx context.Context) error {
			_, err := snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one"})
			return errors.Join(err, snapshots.DeleteSnapshot(ctx, "one"))
		}},
		speedtest.Way{Name: "binding", Do: func(context.Context) error {
			s, err := domain.CreateSnapshotXML("<domainsnapshot><name>raw</name></domainsnapshot>", 0)
			if err != nil {
				return err
			}
			defer s.Free()
			return s.Delete(0)
		}},
	)
}

func TestSpeedClone(t *testing.T) {
	speedtest.Measured(t)
	p := open(t, "speed")
	inst := withDisk(t, p).(*instance)
	r := newReference(t, p)
	d, err := inst.load(t.Context())
	require.NoError(t, err)
	t.Logf("clone and delete an instance; %d rounds; libvirt %s", speedtest.Pairs, p.version)
	speedtest.Within(t,
		speedtest.Way{Name: "univirt", Worst: worstClone, Do: func(ctx context.Context) error {
			clone, err := inst.Clone(ctx, compute.CloneOptions{Name: "copy"})
			if err != nil {
				return err
			}
			return clone.Delete(ctx, compute.DeleteOptions{})
		}},
		speedtest.Way{Name: "binding", Do: func(context.Context) error { return r.clone(p, inst.id, *d.facts.record) }},
	)
}

// clone copies a domain and its first disk, and removes both again.
func (r *reference) clone(p *Provider, of string, like record) error {
	c := r.conns[0]
	pool, err := c.LookupStoragePoolByName(p.opts.Pool)
	if err != nil {
		return err
	}
	defer pool.Free()
	source, err := pool.LookupStorageVolByName(rootFile(of))
	if err != nil {
		return err
	}
	defer source.Free()
	text, err := source.GetXMLDesc(0)
	if err != nil {
		return err
	}
	var own libvirtxml.StorageVolume
	if err := own.Unmarshal(text); err != nil {
		return err
	}
	id := resource.NewID()
	made, err := makeFile(pool, overlay(rootFile(id), int64(own.Capacity.Value), own.BackingStore.Path, own.BackingStore.Format.Type), source)
	if err != nil {
		return err
	}
	defer made.Free()
	like.Name, like.Created = "raw", time.Now()
	if text, err = p.hyper.describe(id, like); err != nil {
		return err
	}
	d, err := c.DomainDefineXMLFlags(text, lv.DOMAIN_DEFINE_VALIDATE)
	if err != nil {
		return err
	}
	defer d.Free()
	return errors.Join(d.Undefine(), made.Delete(lv.STORAGE_VOL_DELETE_NORMAL))
}
