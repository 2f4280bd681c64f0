package ext4

import (
	"time"
)

// The types of files, as in the upper bits of their modes.
const (
	typeMask    = 0xF000
	typeFIFO    = 0x1000
	typeChar    = 0x2000
	typeFolder  = 0x4000
	typeBlock   = 0x6000
	typeRegular = 0x8000
	typeLink    = 0xA000
	typeSocket  = 0xC000
)

// The flags of inodes.
const (
	flagEncrypted = 0x800
	flagExtents   = 0x80000
)

// inode is what is known of a file but for its names and content.
type inode struct {
	number   uint32
	mode     uint16
	uid, gid uint32
	size     int64
	links    uint16
	flags    uint32
	modified time.Time
	// data has the extents, the target of a short link or the number of a device.
	data [60]byte
	// attributes is the block of more attributes, and inner those beside the inode.
	attributes uint64
	inner      []byte
}

func (i *inode) kind() uint16 { return i.mode & typeMask }

// inode reads an inode.
func (f *Filesystem) inode(number uint32) (*inode, error) {
	if number == 0 || number > f.inodes {
		return nil, corrupt("there is no inode %d", number)
	}
	group := uint64((number - 1) / f.inodesPerGroup)
	var d [64]byte
	descriptor := d[:min(f.descriptorSize, 64)]
	if err := f.read(descriptor, f.descriptor(group)); err != nil {
		return nil, err
	}
	table := uint64(order.Uint32(d[0x8:]))
	if f.incompat&wide != 0 {
		table |= uint64(order.Uint32(d[0x28:])) << 32
	}
	at := f.offset(table)
	if at < 0 {
		return nil, corrupt("the inodes of group %d are nowhere", group)
	}
	b := make([]byte, f.inodeSize)
	if err := f.read(b, at+int64((number-1)%f.inodesPerGroup)*f.inodeSize); err != nil {
		return nil, err
	}
	return parseInode(number, b)
}

// parseInode reads what an inode's bytes say, which are 128 at least.
func parseInode(number uint32, b []byte) (*inode, error) {
	i := &inode{
		number: number, mode: order.Uint16(b), links: order.Uint16(b[0x1A:]), flags: order.Uint32(b[0x20:]),
		uid:        uint32(order.Uint16(b[0x2:])) | uint32(order.Uint16(b[0x78:]))<<16,
		gid:        uint32(order.Uint16(b[0x18:])) | uint32(order.Uint16(b[0x7A:]))<<16,
		size:       int64(uint64(order.Uint32(b[0x4:])) | uint64(order.Uint32(b[0x6C:]))<<32),
		attributes: uint64(order.Uint32(b[0x68:])) | uint64(order.Uint16(b[0x76:]))<<32,
	}
	copy(i.data[:], b[0x28:])
	seconds, nanoseconds := int64(int32(order.Uint32(b[0x10:]))), int64(0)
	if len(b) >= 130 {
		extra := int(order.Uint16(b[0x80:]))
		if extra > len(b)-128 {
			return nil, corrupt("the inode %d is larger than there is room for", number)
		}
		if extra >= 12 {
			more := order.Uint32(b[0x88:])
			seconds += int64(more&3) << 32
			nanoseconds = int64(more >> 2)
		}
		i.inner = b[128+extra:]
	}
	i.modified = time.Unix(seconds, nanoseconds%int64(time.Second))
	switch {
	case i.size < 0:
		return nil, corrupt("the inode %d has a negative size", number)
	case i.flags&flagEncrypted != 0:
		return nil, unsupported("the inode %d is encrypted", number)
	}
	return i, nil
}

// permissions are the mode's bits without the type.
func (i *inode) permissions() int64 { return int64(i.mode &^ typeMask) }

// folder reports whether it is one.
func (i *inode) folder() bool { return i.kind() == typeFolder }

// device is the number of a device, as the kernel has it in either of two forms.
func (i *inode) device() (major, minor int64) {
	if old := order.Uint32(i.data[:]); old != 0 {
		return int64(old >> 8 & 0xFF), int64(old & 0xFF)
	}
	d := order.Uint32(i.data[4:])
	return int64(d >> 8 & 0xFFF), int64(d&0xFF | d>>12&0xFFF00)
}

// mostTarget is how long a link's target may be.
const mostTarget = 4095

// target reads where a symbolic link leads.
func (f *Filesystem) target(i *inode) (string, error) {
	if i.size == 0 || i.size > mostTarget || i.size > f.blockSize {
		return "", corrupt("the link %d leads nowhere", i.number)
	}
	if i.flags&flagExtents == 0 {
		if i.size >= int64(len(i.data)) {
			return "", corrupt("the link %d is too long", i.number)
		}
		return string(i.data[:i.size]), nil
	}
	b := make([]byte, i.size)
	found := false
	err := f.extents(i, func(e extent) error {
		if e.logical == 0 && !e.unwritten {
			found = true
			return f.read(b, f.offset(e.start))
		}
		return nil
	})
	if err == nil && !found {
		err = corrupt("the link %d leads nowhere", i.number)
	}
	return string(b), err
}
