package ext4

// extent is a run of a file's blocks.
type extent struct {
	// logical is the first one's number in the file, and start that in the filesystem.
	logical, start, count uint64
	// unwritten are those that have room and read as zeros.
	unwritten bool
}

const (
	extentMagic = 0xF30A
	extentDepth = 5
	// wholeExtent is how long an extent is at most; a longer one is unwritten.
	wholeExtent = 32768
)

// extents calls a function with the runs of a file's blocks, in their order. What is
// between them is a hole.
func (f *Filesystem) extents(i *inode, do func(extent) error) error {
	if i.flags&flagExtents == 0 {
		if i.size == 0 {
			return nil
		}
		return unsupported("the inode %d has no extents", i.number)
	}
	w := extentWalk{f: f, i: i, do: do}
	depth := order.Uint16(i.data[6:])
	if depth > extentDepth {
		return w.corrupt()
	}
	return w.node(i.data[:], depth, true)
}

// extentWalk is a walk through the tree of a file's extents.
type extentWalk struct {
	f  *Filesystem
	i  *inode
	do func(extent) error
	// next is the least block that the next extent may have. As it grows with each, and
	// every node but the root has one, no walk goes on for ever.
	next uint64
}

func (w *extentWalk) corrupt() error {
	return corrupt("the extents of the inode %d make no sense", w.i.number)
}

func (w *extentWalk) node(b []byte, depth uint16, root bool) error {
	count := int(order.Uint16(b[2:]))
	if order.Uint16(b) != extentMagic || order.Uint16(b[6:]) != depth || count > (len(b)-12)/12 || count == 0 && !root {
		return w.corrupt()
	}
	for n := range count {
		entry := b[12+n*12:][:12]
		var err error
		if depth == 0 {
			err = w.leaf(entry)
		} else {
			err = w.below(entry, depth-1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *extentWalk) below(entry []byte, depth uint16) error {
	at := w.f.offset(uint64(order.Uint32(entry[4:])) | uint64(order.Uint16(entry[8:]))<<32)
	if at < 0 {
		return w.corrupt()
	}
	b := make([]byte, w.f.blockSize)
	if err := w.f.read(b, at); err != nil {
		return err
	}
	return w.node(b, depth, false)
}

func (w *extentWalk) leaf(entry []byte) error {
	e := extent{
		logical: uint64(order.Uint32(entry)), count: uint64(order.Uint16(entry[4:])),
		start: uint64(order.Uint32(entry[8:])) | uint64(order.Uint16(entry[6:]))<<32,
	}
	if e.count > wholeExtent {
		e.count, e.unwritten = e.count-wholeExtent, true
	}
	if e.count == 0 || e.logical < w.next || e.start == 0 || e.start >= w.f.blocks || e.count > w.f.blocks-e.start {
		return w.corrupt()
	}
	w.next = e.logical + e.count
	if w.f.mapped += e.count; w.f.mapped > w.f.blocks {
		return corrupt("its files have more blocks than it has")
	}
	return w.do(e)
}
