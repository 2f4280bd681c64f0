package libvirt

import (
	"path/filepath"

	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/nocloud"
	"github.com/univirt/univirt/resource"
)

// diskRecord is what an instance's record says of the disks that are its own.
type diskRecord struct {
	// Pool holds them, in a folder as the hypervisor's host names it.
	Pool   string `json:"pool"`
	Folder string `json:"folder"`
	// Image is what the first disk is an overlay of; nil where there is none.
	Image *imageUse `json:"image,omitempty"`
}

// imageUse is an image as an instance uses it.
type imageUse struct {
	// Name is what it was asked for by, where that was a name.
	Name   string `json:"name,omitempty"`
	Digest string `json:"digest"`
	// Record is the ID of the image's record, by which its file is named.
	Record string `json:"record"`
}

// The files of an instance.
func rootFile(id string) string { return id + ".root.qcow2" }
func seedFile(id string) string { return id + ".seed.iso" }

// diskFiles are the files that an instance has by its record; all that it may have where
// that is not known any more.
func diskFiles(id string, r *record) (files []string) {
	if r == nil || r.Disks != nil && r.Disks.Image != nil {
		files = append(files, rootFile(id))
	}
	if r == nil || r.spec.CloudInit != nil {
		files = append(files, seedFile(id))
	}
	return files
}

// rootTarget is the name of the first disk.
const rootTarget = "vda"

// hasDisks reports whether an instance has disks of its own.
func hasDisks(spec compute.Spec) bool { return spec.Image != "" || spec.CloudInit != nil }

// checkDisks finds what is wrong with the disks that an instance is to have.
func checkDisks(spec compute.Spec) (faults resource.Faults) {
	if spec.RootDisk != 0 && spec.Image == "" {
		faults.Add("rootDisk", "needs an image")
	}
	return faults
}

// applyDisks gives the domain the instance's own disks.
func applyDisks(d *libvirtxml.Domain, id string, r record) {
	if r.Disks == nil {
		return
	}
	if r.Disks.Image != nil {
		d.OS.BootDevices = []libvirtxml.DomainBootDevice{{Dev: "hd"}}
		d.Devices.Disks = append(d.Devices.Disks, fileDisk(filepath.Join(r.Disks.Folder, rootFile(id)), "qcow2", rootTarget))
	}
	if r.spec.CloudInit != nil {
		// On virtio, as kernels for clouds have no drivers for others; at the end, where
		// it takes no name that another disk may have.
		seed := fileDisk(filepath.Join(r.Disks.Folder, seedFile(id)), "raw", "vdz")
		seed.ReadOnly = &libvirtxml.DomainDiskReadOnly{}
		d.Devices.Disks = append(d.Devices.Disks, seed)
	}
}

// fileDisk is a disk of a file, whose format is said: libvirt would guess it from
// what the guest has written.
func fileDisk(path, format, target string) libvirtxml.DomainDisk {
	return libvirtxml.DomainDisk{
		Device: "disk",
		Driver: &libvirtxml.DomainDiskDriver{Name: "qemu", Type: format, Discard: "unmap"},
		Source: &libvirtxml.DomainDiskSource{File: &libvirtxml.DomainDiskSourceFile{File: path}},
		Target: &libvirtxml.DomainDiskTarget{Dev: target, Bus: "virtio"},
	}
}

// seed is what cloud-init gets to read. What the spec leaves out says who the
// machine is, and nothing else.
func seed(id string, spec compute.Spec) []byte {
	s := nocloud.Seed{
		UserData:      []byte(spec.CloudInit.UserData.Reveal()),
		MetaData:      []byte(spec.CloudInit.MetaData),
		NetworkConfig: []byte(spec.CloudInit.NetworkConfig),
	}
	if len(s.MetaData) == 0 {
		// Neither an ID nor a DNS label has anything that YAML would read otherwise.
		s.MetaData = []byte("instance-id: " + id + "\nlocal-hostname: \"" + spec.Name + "\"\n")
	}
	return s.Image()
}
