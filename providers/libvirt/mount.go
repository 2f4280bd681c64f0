package libvirt

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// volumeDisk is a volume as a machine has it.
type volumeDisk struct {
	// id is the volume's, and path the mount's.
	id, path string
	// file is the disk's, as the hypervisor's host names it, and format what it holds.
	file, format     string
	readOnly, shared bool
	// thin says that what the guest gives up goes back to the pool.
	thin bool
}

// ofMount begins the fields of the only mount of a spec.
const ofMount = "mounts[0]."

// checkMount finds what is wrong with a mount that is to be attached.
func checkMount(m compute.Mount) error {
	var faults resource.Faults
	for _, f := range (compute.Spec{Name: "x", Mounts: []compute.Mount{m}}).Validate() {
		if rest, ok := strings.CutPrefix(f.Field, ofMount); ok {
			faults = append(faults, resource.Fault{Field: rest, Reason: f.Reason})
		}
	}
	return faults.Err()
}

// refuseMount refuses what of a mount is not known.
func (h hypervisor) refuseMount(m compute.Mount) error {
	err := h.fields().Refuse(compute.Spec{Mounts: []compute.Mount{m}})
	var own *resource.Error
	if errors.As(err, &own) {
		out := *own
		out.Field = strings.TrimPrefix(out.Field, ofMount)
		return &out
	}
	return err
}

// mounting returns the record with volumes.
func (r record) mounting(disks []volumeDisk) record {
	r.volumes, r.Volumes = disks, volumesOf(disks)
	return r
}

// volumesOf maps the paths of mounts to the volumes there.
func volumesOf(disks []volumeDisk) map[string]string {
	if len(disks) == 0 {
		return nil
	}
	ids := map[string]string{}
	for _, d := range disks {
		ids[d.path] = d.id
	}
	return ids
}

// maxSerial is what the serial number of a virtio disk has room for.
const maxSerial = 20

// serialOf is the serial number of the disk of a mount, by which its guest finds it
// as /dev/disk/by-id/virtio-SERIAL: the path with '-' between its parts, as far as
// that fits and is not the serial number of another path, else a digest of it.
func serialOf(path string) string {
	serial := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
	plain := serial != "" && len(serial) <= maxSerial && !strings.Contains(path, "-") && !strings.ContainsFunc(serial, func(c rune) bool {
		return c != '-' && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	})
	if plain {
		return serial
	}
	sum := sha256.Sum256([]byte(path))
	return hex.EncodeToString(sum[:])[:maxSerial]
}

// aliasOf is the name of the device of a mount for libvirt, which wants such names to
// begin so.
func aliasOf(path string) string {
	sum := sha256.Sum256([]byte(path))
	return "ua-volume-" + hex.EncodeToString(sum[:])[:maxSerial]
}

// device is the volume as a disk of a domain.
func (v volumeDisk) device(target string) libvirtxml.DomainDisk {
	disk := libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: v.format},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: v.file}},
		Target: &libvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
		Serial: serialOf(v.path),
		Alias:  &libvirtxml.DomainAlias{Name: aliasOf(v.path)},
	}
	if v.thin {
		disk.Driver.Discard = "unmap"
	}
	if v.readOnly {
		disk.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
	}
	if v.shared {
		disk.Shareable = &libvirtxml.DomainDiskShareable{}
	}
	return disk
}

// addVolumes adds volumes to the disks of a domain.
func addVolumes(d *libvirtxml.Domain, volumes []volumeDisk) {
	for _, v := range volumes {
		d.Devices.Disks = append(d.Devices.Disks, v.device(freeTarget(d)))
	}
}

// freeTarget is the name of a virtio disk that none of the domains has. The guest is
// free to give others.
func freeTarget(domains ...*libvirtxml.Domain) string {
	for n := 0; ; n++ {
		name := targetName(n)
		if !slices.ContainsFunc(domains, func(d *libvirtxml.Domain) bool { return hasTarget(d, name) }) {
			return name
		}
	}
}

func hasTarget(d *libvirtxml.Domain, name string) bool {
	return d.Devices != nil && slices.ContainsFunc(d.Devices.Disks, func(disk libvirtxml.DomainDisk) bool {
		return disk.Target != nil && disk.Target.Dev == name
	})
}

// targetName is the name of the n-th disk: vda, ..., vdz, vdaa.
func targetName(n int) string {
	name := ""
	for n++; n > 0; n = (n - 1) / 26 {
		name = fmt.Sprintf("%c", 'a'+(n-1)%26) + name
	}
	return "vd" + name
}

// volumeAt finds the disk of a mount.
func volumeAt(d *libvirtxml.Domain, path string) (libvirtxml.DomainDisk, bool) {
	if d.Devices == nil {
		return libvirtxml.DomainDisk{}, false
	}
	for _, disk := range d.Devices.Disks {
		if disk.Alias != nil && disk.Alias.Name == aliasOf(path) {
			return disk, true
		}
	}
	return libvirtxml.DomainDisk{}, false
}
