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
// doing the same. What the binding alone asks less is measured beside it.
const (
	worstSnapshot = 1.25
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
			_, err := takeSnapshot(domain, "raw")
			return errors.Join(err, deleteSnapshot(domain, "raw"))
		}},
		speedtest.Way{Name: "least", Do: func(context.Context) error {
			s, err := domain.CreateSnapshotXML("<domainsnapshot><name>raw</name></domainsnapshot>", 0)
			if err != nil {
				return err
			}
			defer s.Free()
			return s.Delete(0)
		}},
	)
}

// takeSnapshot takes a snapshot of a domain of the program's own that is at rest, and
// returns the name of the one before.
func takeSnapshot(d *lv.Domain, name string) (parent string, err error) {
	if err := checkOwn(d); err != nil {
		return "", err
	}
	before, err := d.SnapshotCurrent(0)
	if err == nil {
		defer before.Free()
		parent, err = before.GetName()
	}
	if err != nil && !errors.Is(err, lv.ERR_NO_DOMAIN_SNAPSHOT) {
		return "", err
	}
	s, err := d.CreateSnapshotXML("<domainsnapshot><name>"+name+"</name><description>ours</description></domainsnapshot>", 0)
	if err != nil {
		return "", err
	}
	return parent, s.Free()
}

// deleteSnapshot deletes a snapshot that takeSnapshot took.
func deleteSnapshot(d *lv.Domain, name string) error {
	if err := checkOwn(d); err != nil {
		return err
	}
	s, err := d.SnapshotLookupByName(name, 0)
	if err != nil {
		return err
	}
	defer s.Free()
	text, err := s.GetXMLDesc(0)
	if err != nil {
		return err
	}
	var snapshot libvirtxml.DomainSnapshot
	if err := snapshot.Unmarshal(text); err != nil || snapshot.Description != "ours" {
		return errors.Join(err, errors.New("the snapshot is somebody else's"))
	}
	return s.Delete(0)
}

// checkOwn returns an error for a domain that is not the program's own.
func checkOwn(d *lv.Domain) error {
	text, err := d.GetXMLDesc(lv.DOMAIN_XML_INACTIVE)
	if err != nil {
		return err
	}
	if f, err := readFacts(text); err != nil || f.record == nil {
		return errors.Join(err, errors.New("the domain is somebody else's"))
	}
	return nil
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

// clone copies a domain and its first disk, and removes both again. Both times it looks
// first at what it is about to copy or to remove.
func (r *reference) clone(p *Provider, of string, like record) error {
	c := r.conns[0]
	original, err := c.LookupDomainByUUIDString(of)
	if err != nil {
		return err
	}
	defer original.Free()
	if err := checkOwn(original); err != nil {
		return err
	}
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
	if err := checkOwn(d); err != nil {
		return err
	}
	disk, err := pool.LookupStorageVolByName(rootFile(id))
	if err != nil {
		return err
	}
	defer disk.Free()
	return errors.Join(d.Undefine(), disk.Delete(lv.STORAGE_VOL_DELETE_NORMAL))
}
