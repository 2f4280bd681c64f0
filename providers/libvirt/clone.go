//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/internal/nocloud"
	"github.com/univirt/univirt/resource"
)

var _ compute.Cloner = (*instance)(nil)

// Clone implements compute.Cloner. The copy is described by the record of its
// original, and has another overlay of the same image, into which only what the guest
// has written is copied. What the original asked for by address or MAC the copy is
// given by choice. Of a machine that runs the disk is copied as after a power failure.
func (i *instance) Clone(ctx context.Context, opts compute.CloneOptions) (compute.Instance, error) {
	id := resource.NewID()
	err := i.changeWithin(ctx, compute.CleanupTimeout, "clone", func(ctx context.Context) error {
		return i.p.locked(ctx, i.id, func() error { return i.clone(ctx, id, opts) })
	}, func(context.Context) error { return opts.Validate().Err() })
	if err != nil {
		return nil, err
	}
	return i.p.handle(id, opts.Name), nil
}

// resting reads a domain that may be changed if it is in a state in which its disk can
// be copied. That a memory image is kept makes no difference.
func (i *instance) resting(l *lane) (*domain, error) {
	_, f, err := i.owned(l, 0)
	if err != nil {
		return nil, err
	}
	now := &domain{id: f.uuid, facts: f, state: compute.Stopped}
	if !f.active {
		return now, nil
	}
	var d *lv.Domain
	if d, now.facts, err = i.owned(l, lv.DOMAIN_XML_INACTIVE); err != nil {
		return nil, err
	}
	number, detail, err := d.GetState()
	if err != nil {
		return nil, err
	}
	switch now.state, _ = stateOf(number, detail); now.state {
	case compute.Stopped, compute.Running, compute.Paused:
		return now, nil
	}
	return nil, resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", now.state)
}

func (i *instance) clone(ctx context.Context, id string, opts compute.CloneOptions) error {
	d, err := inOneGo(ctx, i, func(l *lane) (*domain, error) { return i.resting(l) })
	if err != nil {
		return err
	}
	before := d.facts.record
	if before.spec.Native.For(Scheme) != nil {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the domain was edited by the program that made it, and a copy would be without that")
	}
	if opts.Snapshot != "" {
		if _, err := i.findSnapshot(ctx, opts.Snapshot); err != nil {
			return err
		}
	}
	spec := clonedSpec(before.spec, opts)
	if spec.CloudInit != nil {
		if spec.CloudInit.UserData, err = i.userData(ctx, before.Disks.Pool); err != nil {
			return err
		}
	}
	s := instances{i.p}
	r, err := s.record(spec, time.Now().UTC())
	if err != nil {
		return err
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	return s.place(ctx, id, r, func(ctx context.Context, r *record) error {
		if before.Disks == nil {
			return nil
		}
		disks := *before.Disks
		r.Disks = &disks
		if disks.Image != nil {
			if err := i.copyRoot(ctx, d, id, opts.Snapshot); err != nil {
				return err
			}
		}
		if err := givenUp(ctx); err != nil || spec.CloudInit == nil {
			return err
		}
		return i.p.makeSeed(ctx, id, disks.Pool, spec)
	})
}

// clonedSpec is the spec of a copy.
func clonedSpec(spec compute.Spec, opts compute.CloneOptions) compute.Spec {
	spec = spec.Clone()
	spec.Name = opts.Name
	if opts.Labels != nil {
		spec.Labels = maps.Clone(opts.Labels)
	}
	var networks []compute.NetworkAttachment
	for _, n := range spec.Networks {
		if n.Endpoint == "" {
			networks = append(networks, compute.NetworkAttachment{Network: n.Network, Aliases: n.Aliases})
		}
	}
	spec.Networks = networks
	for n := range spec.Ports {
		spec.Ports[n].Host = 0
	}
	return spec
}

// mostSeed bounds what is read of a seed.
const mostSeed = 64 << 20

// userData reads what the record does not keep of cloud-init's data.
func (i *instance) userData(ctx context.Context, pool string) (resource.Secret, error) {
	image, err := transfer(ctx, i.p, func(_ context.Context, c *lv.Connect) ([]byte, error) {
		v, err := lookupFile(c, pool, seedFile(i.id))
		if err != nil {
			return nil, err
		}
		defer v.Free()
		return get(c, v, mostSeed)
	})
	if isNotFound(err) {
		err = errLostDisk(seedFile(i.id))
	}
	if err != nil {
		return resource.Secret{}, err
	}
	seed, err := nocloud.Parse(image)
	if err != nil {
		return resource.Secret{}, resource.Errorf(errdefs.ErrDataLoss, "the instance's seed cannot be read: %w", err)
	}
	return resource.NewSecret(string(seed.UserData)), nil
}

func errLostDisk(file string) error {
	return resource.Errorf(errdefs.ErrDataLoss, "the instance's disk %s is gone", file)
}

// copyRoot makes the first disk of a copy.
func (i *instance) copyRoot(ctx context.Context, d *domain, id, snapshot string) error {
	disks := d.facts.record.Disks
	if snapshot == "" && !d.state.Active() {
		return i.copyStopped(ctx, disks.Pool, id)
	}
	to, err := onVolume(ctx, i.p, disks.Pool, rootFile(i.id), func(_ *lv.Connect, v *lv.StorageVol) (libvirtxml.StorageVolume, error) {
		return likeRoot(v, id)
	})
	if isNotFound(err) {
		err = errLostDisk(rootFile(i.id))
	}
	if err != nil {
		return err
	}
	if snapshot != "" {
		return i.copyKept(ctx, disks, to, snapshot)
	}
	live := user{ref: i.p.ref(resource.KindInstance, d.facts.record.Name, i.id), disk: rootTarget}
	return i.p.copyLive(ctx, disks.Pool, to, content{source: disks.Pool, from: rootFile(i.id), live: live})
}

// copyStopped makes the first disk of a copy while nobody writes to the original's, in
// one go.
func (i *instance) copyStopped(ctx context.Context, pool, id string) error {
	_, err := transfer(ctx, i.p, func(_ context.Context, c *lv.Connect) (struct{}, error) {
		found, err := c.LookupStoragePoolByName(pool)
		if err != nil {
			return struct{}{}, err
		}
		defer found.Free()
		source, err := lookupIn(found, pool == i.p.opts.Pool, rootFile(i.id))
		if err != nil {
			return struct{}{}, err
		}
		defer source.Free()
		to, err := likeRoot(source, id)
		if err != nil {
			return struct{}{}, err
		}
		if err := changes(ctx); err != nil {
			return struct{}{}, err
		}
		made, err := makeFile(found, to, source)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, made.Free()
	})
	if isNotFound(err) {
		err = errLostDisk(rootFile(i.id))
	}
	return err
}

// likeRoot describes the first disk of a copy, by that of its original.
func likeRoot(v *lv.StorageVol, id string) (own libvirtxml.StorageVolume, err error) {
	text, err := v.GetXMLDesc(0)
	if err == nil {
		err = own.Unmarshal(text)
	}
	if err == nil && (own.BackingStore == nil || own.BackingStore.Format == nil || own.Capacity == nil) {
		err = resource.Errorf(errdefs.ErrFailedPrecondition, "the instance's first disk is no overlay of its image")
	}
	if err != nil {
		return own, err
	}
	return overlay(rootFile(id), int64(own.Capacity.Value), own.BackingStore.Path, own.BackingStore.Format.Type), nil
}

// copyKept makes the first disk of a copy as a snapshot has it. Libvirt has no way to
// read one, so the disk is read where it lies, also while the machine writes to it:
// what a snapshot has does not change.
func (i *instance) copyKept(ctx context.Context, disks *diskRecord, to libvirtxml.StorageVolume, snapshot string) error {
	if !i.p.opts.local() {
		return resource.Unsupported("clone of a snapshot", "libvirt reads none, and the disks of another host are out of reach")
	}
	program, err := daemon.Look("qemu-img", daemon.SearchPath(os.Getenv("PATH")), "install qemu-utils")
	if err != nil {
		return resource.Unsupported("clone of a snapshot", "there is no qemu-img on this host, which package qemu-utils has")
	}
	if err := i.p.makeRoom(ctx, disks.Pool, to); err != nil {
		return err
	}
	base := i.p.here(to.BackingStore.Path)
	name := func(file string) string {
		type node map[string]any
		at := func(path string) node { return node{"driver": "file", "filename": path} }
		// The files name their base as the hypervisor's processes find it.
		text, _ := json.Marshal(node{
			"driver": "qcow2", "file": at(i.p.here(filepath.Join(disks.Folder, file))),
			"backing": node{"driver": to.BackingStore.Format.Type, "file": at(base)},
		})
		return "json:" + string(text)
	}
	cmd := exec.CommandContext(ctx, program, "convert", "-U", "-O", "qcow2", "-n", "-l", "snapshot.name="+snapshot,
		"-B", base, "-F", to.BackingStore.Format.Type, name(rootFile(i.id)), name(to.Name))
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ended(ctx)
	case err != nil:
		return resource.Errorf(errdefs.ErrFailedPrecondition, "copy the snapshot: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}
