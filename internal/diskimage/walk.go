package diskimage

import (
	"encoding/binary"
	"errors"
	"io"
)

// Where an entry of a table points to, and what else it says.
const (
	offsetMask     = 0x00ff_ffff_ffff_fe00
	flagZero       = 1 << 0
	flagCompressed = 1 << 62
)

// Check reads the tables by which content is found, in an image of a size, and
// finds out whether all that they point to is there. It reads about a byte for
// eight KiB of content.
func (q *QCOW2) Check(r io.ReaderAt, size int64) error {
	for _, t := range []table{q.l1, q.refs, q.snapshots} {
		if !t.within(uint64(size)) {
			return fault(ErrTruncated, "a table at %#x goes beyond its %d bytes", t.offset, size)
		}
	}
	l1 := make([]byte, q.l1Needed())
	if err := readFull(r, l1, q.l1.offset); err != nil {
		return err
	}
	seen := make(map[uint64]bool)
	l2 := make([]byte, q.cluster())
	reach := q.cluster() / q.entry() << q.clusterBits
	for n := 0; n < len(l1); n += 8 {
		offset := binary.BigEndian.Uint64(l1[n:]) & offsetMask
		if offset == 0 {
			continue
		}
		if offset%q.cluster() != 0 || seen[offset] {
			return fault(ErrMalformed, "a second table lies at %#x", offset)
		}
		// A table that were read for each entry would cost much for little.
		seen[offset] = true
		if !(table{offset, q.cluster()}).within(uint64(size)) {
			return fault(ErrTruncated, "a second table at %#x goes beyond its %d bytes", offset, size)
		}
		if err := readFull(r, l2, offset); err != nil {
			return err
		}
		if err := q.checkClusters(l2, uint64(size), uint64(q.VirtualSize)-uint64(n/8)*reach); err != nil {
			return err
		}
	}
	return nil
}

// checkClusters checks what a second table points to; left is how much of the disk
// begins with it.
func (q *QCOW2) checkClusters(l2 []byte, size, left uint64) error {
	for n := 0; n < len(l2) && left > 0; n += int(q.entry()) {
		entry := binary.BigEndian.Uint64(l2[n:])
		used := min(left, q.cluster())
		left -= used
		var part table
		switch {
		case entry&flagCompressed != 0:
			// The last sector need not be whole.
			shift := 62 - (q.clusterBits - 8)
			begin, more := entry&(1<<shift-1), entry&^flagCompressed&^(1<<63)>>shift
			part = table{begin, begin&^(Sector-1) + more*Sector - begin + 1}
			if more == 0 {
				part.bytes = 1
			}
		case entry&offsetMask == 0, entry&flagZero != 0 && !q.subclusters:
			// What reads as zeros need not be there.
			continue
		case q.subclusters:
			part = table{entry & offsetMask, 1}
		default:
			part = table{entry & offsetMask, used}
		}
		if entry&flagCompressed == 0 && part.offset%q.cluster() != 0 {
			return fault(ErrMalformed, "a cluster lies at %#x", part.offset)
		}
		if !part.within(size) {
			return fault(ErrTruncated, "a cluster at %#x goes beyond its %d bytes", part.offset, size)
		}
	}
	return nil
}

func (t table) within(size uint64) bool { return t.offset <= size && t.bytes <= size-t.offset }

func readFull(r io.ReaderAt, b []byte, at uint64) error {
	n, err := r.ReadAt(b, int64(at))
	if n == len(b) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		return fault(ErrTruncated, "a table at %#x has %d bytes of %d", at, n, len(b))
	}
	return err
}
