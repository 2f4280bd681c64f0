// Package ext4 reads ext4 filesystems that somebody else has written, and writes what
// is in them as an archive.
//
// The programs of e2fsprogs are not used for that: what debugfs lists cannot be told
// apart where a name has a line break, and it writes to wherever a name leads. Nothing
// that a filesystem says is believed: work and memory are bounded by its size, and what
// cannot be is ErrCorrupt.
package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

var (
	// ErrCorrupt is the kind of what cannot be in an ext4 filesystem.
	ErrCorrupt = errors.New("the filesystem is damaged")
	// ErrUnsupported is the kind of what this package does not read.
	ErrUnsupported = errors.New("the filesystem cannot be read")
)

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

func unsupported(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrUnsupported, fmt.Sprintf(format, args...))
}

// The features of a filesystem that matter to whoever reads it.
const (
	needsRecovery = 0x4
	metaGroups    = 0x10
	wide          = 0x80
	// readable are those that are understood: file types in folders, the journal, groups
	// of descriptors, extents, 64 bits, multiple mounts, flexible groups, seeds of
	// checksums, large folders and names without case.
	readable = 0x2 | needsRecovery | metaGroups | 0x40 | wide | 0x100 | 0x200 | 0x2000 | 0x4000 | 0x20000
	// sparseSupers is of those that a reader need not know.
	sparseSupers = 0x1
	// sparseSupers2 is of those that nobody need know.
	sparseSupers2 = 0x200
)

const (
	superblockAt = 1024
	magic        = 0xEF53
	rootInode    = 2
	// mostBlock is the largest block that Linux has on any machine of today, halved: the
	// length of an entry of a folder is written as it is.
	mostBlock = 32 << 10
)

var order = binary.LittleEndian

// Filesystem is an ext4 filesystem. It is for one goroutine.
type Filesystem struct {
	r    io.ReaderAt
	size int64

	blockSize                             int64
	blocks                                uint64
	inodes, inodesPerGroup, blockPerGroup uint32
	firstBlock, firstMeta                 uint32
	inodeSize, descriptorSize             int64
	compat, incompat, readOnly            uint32

	// mapped counts the blocks of files that were read: none is of two.
	mapped uint64
}

// Open reads what a filesystem of so many bytes says of itself.
func Open(r io.ReaderAt, size int64) (*Filesystem, error) {
	var s [1024]byte
	if _, err := r.ReadAt(s[:], superblockAt); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, unsupported("it is too small for ext4")
		}
		return nil, err
	}
	if order.Uint16(s[0x38:]) != magic {
		return nil, unsupported("it is no ext4")
	}
	f := &Filesystem{
		r: r, size: size,
		blocks: uint64(order.Uint32(s[0x4:])), inodes: order.Uint32(s[0:]),
		inodesPerGroup: order.Uint32(s[0x28:]), blockPerGroup: order.Uint32(s[0x20:]),
		firstBlock: order.Uint32(s[0x14:]), firstMeta: order.Uint32(s[0x104:]),
		inodeSize: 128, descriptorSize: 32,
		compat: order.Uint32(s[0x5C:]), incompat: order.Uint32(s[0x60:]), readOnly: order.Uint32(s[0x64:]),
	}
	if unknown := f.incompat &^ readable; unknown != 0 {
		return nil, unsupported("it has the features %#x", unknown)
	}
	if order.Uint32(s[0x4C:]) > 0 {
		f.inodeSize = int64(order.Uint16(s[0x58:]))
	}
	if f.incompat&wide != 0 {
		f.blocks |= uint64(order.Uint32(s[0x150:])) << 32
		f.descriptorSize = int64(order.Uint16(s[0xFE:]))
	}
	shift := order.Uint32(s[0x18:])
	if shift > 5 {
		return nil, unsupported("its blocks are larger than %d bytes", mostBlock)
	}
	f.blockSize = 1024 << shift
	return f, f.check()
}

// check finds what would lead a reader astray.
func (f *Filesystem) check() error {
	switch {
	case f.blocks == 0 || f.blocks > uint64(f.size/f.blockSize):
		return corrupt("it says that it has %d blocks", f.blocks)
	case f.inodes == 0 || f.inodesPerGroup == 0 || f.blockPerGroup == 0:
		return corrupt("it has nothing in a group")
	case f.inodeSize < 128 || f.inodeSize > f.blockSize:
		return corrupt("its inodes have %d bytes", f.inodeSize)
	case f.descriptorSize < 32 || f.descriptorSize > f.blockSize || f.incompat&wide != 0 && f.descriptorSize < 64:
		return corrupt("its descriptors have %d bytes", f.descriptorSize)
	case f.incompat&metaGroups != 0 && f.compat&sparseSupers2 != 0:
		return unsupported("its descriptors are spread, and its superblocks are few")
	}
	return nil
}

// NeedsRecovery reports whether there is something in the journal that has to be
// written first, by e2fsck. Whoever had the filesystem did not unmount it.
func (f *Filesystem) NeedsRecovery() bool { return f.incompat&needsRecovery != 0 }

// read reads bytes that are inside of the filesystem.
func (f *Filesystem) read(b []byte, at int64) error {
	if at < 0 || at > f.size-int64(len(b)) {
		return corrupt("it leads to what is outside of it")
	}
	if _, err := f.r.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// offset is where a block is, negative where it cannot be.
func (f *Filesystem) offset(block uint64) int64 {
	if block == 0 || block >= f.blocks {
		return -1
	}
	return int64(block) * f.blockSize
}

// descriptor returns where the descriptor of a group is.
func (f *Filesystem) descriptor(group uint64) int64 {
	perBlock := uint64(f.blockSize / f.descriptorSize)
	at := group / perBlock
	block := uint64(f.firstBlock) + 1 + at
	if f.incompat&metaGroups != 0 && at >= uint64(f.firstMeta) {
		first := at * perBlock
		block = uint64(f.firstBlock) + first*uint64(f.blockPerGroup)
		if f.hasSuper(first) {
			block++
		}
	}
	offset := f.offset(block)
	if offset < 0 {
		return offset
	}
	return offset + int64(group%perBlock)*f.descriptorSize
}

// hasSuper reports whether a group begins with a copy of the superblock.
func (f *Filesystem) hasSuper(group uint64) bool {
	if group <= 1 || f.readOnly&sparseSupers == 0 {
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}
