package diskimage

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
)

var magic = []byte("QFI\xfb")

// Incompatible features, by their bits.
const (
	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureSubclusters = 1 << 4
	featuresKnown      = featureDirty | featureCorrupt | featureDataFile | featureCompression | featureSubclusters
)

// Types of header extensions.
const (
	extensionEnd      = 0
	extensionDataFile = 0x44415441
)

// The bounds that QEMU has as well.
const (
	minClusterBits = 9
	maxClusterBits = 21
	maxL1Bytes     = 32 << 20
	maxRefcounts   = 8 << 20
	maxSnapshots   = 65536
	maxNameBytes   = 1023
	// maxSize is that of a disk: QEMU can address no more.
	maxSize = math.MaxInt64 - 2<<20
)

// QCOW2 is what the header of a qcow2 image says.
type QCOW2 struct {
	// Version is 2 or 3.
	Version uint32
	// VirtualSize is the size in bytes of the disk that the image is of.
	VirtualSize int64
	// BackingFile is what the image is an overlay of; empty for a whole one.
	BackingFile string
	// DataFile says that the content is in another file, whose name, if there is
	// one, is DataFileName.
	DataFile     bool
	DataFileName string
	// Encrypted says that it takes a key to read the image.
	Encrypted bool
	// Corrupt says that QEMU has marked the image as broken.
	Corrupt bool

	clusterBits uint
	subclusters bool
	l1, refs    table
	snapshots   table
}

// table is a part of an image: where it begins, and how many bytes it has at least.
type table struct{ offset, bytes uint64 }

// ReadQCOW2 reads a header from the beginning of an image, of which Begin bytes
// are enough.
func ReadQCOW2(begin []byte) (QCOW2, error) {
	var q QCOW2
	if !bytes.HasPrefix(begin, magic) {
		return q, fault(ErrMalformed, "it does not begin as a qcow2 image")
	}
	const length2, length3 = 72, 104
	if len(begin) < length2 {
		return q, fault(ErrTruncated, "its header has %d bytes", len(begin))
	}
	be := binary.BigEndian
	q.Version = be.Uint32(begin[4:])
	length, features, countBits := uint64(length2), uint64(0), uint32(4)
	switch {
	case q.Version < 2 || q.Version > 3:
		return q, fault(ErrUnknown, "version %d of the format", q.Version)
	case q.Version == 3 && len(begin) < length3:
		return q, fault(ErrTruncated, "its header has %d bytes", len(begin))
	case q.Version == 3:
		features, countBits, length = be.Uint64(begin[72:]), be.Uint32(begin[96:]), uint64(be.Uint32(begin[100:]))
	}
	q.clusterBits = uint(be.Uint32(begin[20:]))
	if q.clusterBits < minClusterBits || q.clusterBits > maxClusterBits {
		return q, fault(ErrMalformed, "its clusters have 2^%d bytes", q.clusterBits)
	}
	if length < length2 || q.Version == 3 && length < length3 || length%8 != 0 || length > q.cluster() || length > Begin {
		return q, fault(ErrMalformed, "its header says that it has %d bytes", length)
	}
	if length > uint64(len(begin)) {
		return q, fault(ErrTruncated, "its header has %d bytes of %d", len(begin), length)
	}
	if unknown := features &^ featuresKnown; unknown != 0 {
		return q, fault(ErrUnknown, "its incompatible features %#x", unknown)
	}
	if features&featureCompression != 0 && (length <= length3 || begin[length3] > 1) {
		return q, fault(ErrUnknown, "its method of compression")
	}
	if countBits > 6 {
		return q, fault(ErrMalformed, "its reference counts have 2^%d bits", countBits)
	}
	q.Encrypted, q.Corrupt = be.Uint32(begin[32:]) != 0, features&featureCorrupt != 0
	q.DataFile, q.subclusters = features&featureDataFile != 0, features&featureSubclusters != 0
	if q.subclusters && q.clusterBits < 14 {
		return q, fault(ErrMalformed, "clusters of 2^%d bytes are too small to be divided", q.clusterBits)
	}
	size := be.Uint64(begin[24:])
	if size == 0 || size > maxSize {
		return q, fault(ErrMalformed, "its disk has %d bytes", size)
	}
	q.VirtualSize = int64(size)
	if err := q.readTables(begin); err != nil {
		return q, err
	}
	return q, q.readNames(begin, length)
}

// readTables reads where the tables are.
func (q *QCOW2) readTables(begin []byte) error {
	be := binary.BigEndian
	q.l1 = table{be.Uint64(begin[40:]), uint64(be.Uint32(begin[36:])) * 8}
	q.refs = table{be.Uint64(begin[48:]), uint64(be.Uint32(begin[56:])) << q.clusterBits}
	count := be.Uint32(begin[60:])
	// A snapshot takes 40 bytes at least.
	q.snapshots = table{be.Uint64(begin[64:]), uint64(count) * 40}
	switch {
	case q.l1.bytes > maxL1Bytes:
		return fault(ErrMalformed, "its first table has %d bytes", q.l1.bytes)
	case q.l1.bytes < q.l1Needed():
		return fault(ErrMalformed, "its first table has %d bytes, its disk needs %d", q.l1.bytes, q.l1Needed())
	case q.refs.bytes == 0 || q.refs.bytes > max(maxRefcounts, q.cluster()):
		return fault(ErrMalformed, "its table of references has %d bytes", q.refs.bytes)
	case count > maxSnapshots:
		return fault(ErrMalformed, "it has %d snapshots", count)
	}
	for _, t := range []table{q.l1, q.refs} {
		if t.offset == 0 || t.offset%q.cluster() != 0 {
			return fault(ErrMalformed, "a table lies at %#x", t.offset)
		}
	}
	if count > 0 && q.snapshots.offset%q.cluster() != 0 {
		return fault(ErrMalformed, "a table lies at %#x", q.snapshots.offset)
	}
	return nil
}

// readNames reads the names of other files.
func (q *QCOW2) readNames(begin []byte, at uint64) error {
	be := binary.BigEndian
	offset, length := be.Uint64(begin[8:]), uint64(be.Uint32(begin[16:]))
	limit := min(uint64(len(begin)), q.cluster())
	if offset != 0 {
		if length > maxNameBytes || offset > limit || offset+length > limit {
			return fault(ErrMalformed, "the name of its backing file has %d bytes at %#x", length, offset)
		}
		q.BackingFile = string(begin[offset : offset+length])
		if q.BackingFile == "" {
			// QEMU does not open what has no name.
			q.BackingFile = "(without a name)"
		}
		limit = max(at, min(limit, offset))
	}
	for limit-at >= 8 {
		kind, size := be.Uint32(begin[at:]), uint64(be.Uint32(begin[at+4:]))
		at += 8
		if kind == extensionEnd {
			return nil
		}
		if size > limit-at {
			return fault(ErrMalformed, "an extension of its header has %d bytes", size)
		}
		if kind == extensionDataFile {
			q.DataFile, q.DataFileName = true, strings.TrimRight(string(begin[at:at+size]), "\x00")
		}
		at = min(limit, at+(size+7)&^7)
	}
	return nil
}

func (q *QCOW2) cluster() uint64 { return 1 << q.clusterBits }

// entry is the size of an entry of a second table.
func (q *QCOW2) entry() uint64 {
	if q.subclusters {
		return 16
	}
	return 8
}

// l1Needed is how many bytes the first table must have for the whole disk.
func (q *QCOW2) l1Needed() uint64 {
	reach := q.cluster() / q.entry() << q.clusterBits
	return ((uint64(q.VirtualSize)-1)/reach + 1) * 8
}

// Whole finds what hinders the image from being used on its own, by anybody.
func (q *QCOW2) Whole() error {
	switch {
	case q.BackingFile != "":
		return fault(ErrOutside, "its backing file %q", q.BackingFile)
	case q.DataFile:
		return fault(ErrOutside, "its data file %q", q.DataFileName)
	case q.Encrypted:
		return fault(ErrUnknown, "encryption")
	case q.Corrupt:
		return fault(ErrMalformed, "it is marked as corrupt")
	}
	return nil
}
