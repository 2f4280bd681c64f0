//go:build linux

package testguest

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
)

const (
	sector = 512
	// partitionAt is where the only partition begins. GRUB lies before it.
	partitionAt = 1 << 20
	// diskSize is the size of the whole disk. A good part of it is free.
	diskSize = 256 << 20
)

// grubConfig is built into GRUB, so that it neither searches nor asks. The kernel
// is entered in 16-bit mode: where the processor is emulated that was measured to
// take two seconds less than the 32-bit entry, which GRUB's command linux uses.
const grubConfig = `linux16 (hd0,msdos1)/boot/vmlinuz ` + Parameters + ` univirt.root=/dev/vda1
initrd16 (hd0,msdos1)/boot/initrd
boot
`

// makeDisk makes a disk with files on ext4 that a BIOS boots.
func makeDisk(ctx context.Context, to, unpacked string, files []file) error {
	work, err := os.MkdirTemp(filepath.Dir(to), "disk")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	tree, raw := filepath.Join(work, "tree"), filepath.Join(work, "raw")
	if err := os.Mkdir(tree, 0o755); err != nil {
		return err
	}
	if err := write(tree, files); err != nil {
		return err
	}
	begin, err := bootArea(ctx, work, unpacked)
	if err != nil {
		return err
	}
	if err := os.WriteFile(raw, begin, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(raw, diskSize); err != nil {
		return err
	}
	// The features are those that GRUB of any age reads.
	if _, err := output(ctx, "", "mke2fs", "-q", "-t", "ext4", "-b", "4096", "-L", "root", "-d", tree, "-F",
		"-O", "none,has_journal,ext_attr,dir_index,filetype,extent,sparse_super,large_file",
		"-E", fmt.Sprintf("offset=%d,root_owner=0:0,no_copy_xattrs", partitionAt), raw,
		fmt.Sprintf("%dk", (diskSize-partitionAt)>>10)); err != nil {
		return err
	}
	_, err = output(ctx, "", "qemu-img", "convert", "-q", "-f", "raw", "-O", "qcow2", raw, to)
	return err
}

// bootArea returns what lies before the partition: the master boot record with
// GRUB's first part and the table of partitions, then the rest of GRUB.
func bootArea(ctx context.Context, work, unpacked string) ([]byte, error) {
	config, core := filepath.Join(work, "grub.cfg"), filepath.Join(work, "core.img")
	if err := os.WriteFile(config, []byte(grubConfig), 0o644); err != nil {
		return nil, err
	}
	modules := filepath.Join(unpacked, "usr", "lib", "grub", "i386-pc")
	make, err := find(unpacked, "usr/bin/grub-mkimage")
	if err != nil {
		return nil, err
	}
	// Its libraries are those of the packages as well, with their loader.
	loader, err := find(unpacked, "lib64/ld-linux-x86-64.so.2")
	if err != nil {
		return nil, err
	}
	const libraries = "lib/x86_64-linux-gnu"
	if _, err := output(ctx, "", loader, "--library-path",
		filepath.Join(unpacked, libraries)+":"+filepath.Join(unpacked, "usr", libraries),
		make, "-O", "i386-pc", "-d", modules, "-p", "/boot", "-c", config, "-o", core,
		"biosdisk", "part_msdos", "ext2", "linux16"); err != nil {
		return nil, err
	}
	// GRUB's first part loads the second from the sector behind it, and that one
	// knows its own length: no block list has to be written.
	area, err := os.ReadFile(filepath.Join(modules, "boot.img"))
	if err != nil {
		return nil, err
	}
	rest, err := os.ReadFile(core)
	if err != nil {
		return nil, err
	}
	if len(area) != sector || len(area)+len(rest) > partitionAt {
		return nil, fmt.Errorf("GRUB is %d and %d bytes long", len(area), len(rest))
	}
	const tableAt, active, linux = 446, 0x80, 0x83
	// What GRUB keeps there is code for floppies.
	clear(area[tableAt:510])
	entry := area[tableAt : tableAt+16]
	// The ends in cylinders, heads and sectors are those that mean "see the rest".
	copy(entry, []byte{active, 0xfe, 0xff, 0xff, linux, 0xfe, 0xff, 0xff})
	binary.LittleEndian.PutUint32(entry[8:], partitionAt/sector)
	binary.LittleEndian.PutUint32(entry[12:], (diskSize-partitionAt)/sector)
	copy(area[510:], []byte{0x55, 0xaa})
	return append(area, rest...), nil
}
