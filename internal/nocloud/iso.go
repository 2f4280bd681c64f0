package nocloud

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"unicode/utf16"
)

// sector is the unit of everything on the disk.
const sector = 2048

// Where things are, in sectors. The content of the files comes behind.
const (
	primaryAt = 16 + iota
	jolietAt
	terminatorAt
	littleAt
	bigAt
	jolietLittleAt
	jolietBigAt
	rootAt
	jolietRootAt
	contentAt
)

// file is a file of the image: its name by the standard, its real one, and where its
// content lies.
type file struct {
	short, name string
	content     []byte
	at          int
}

// image returns an image of files, which fit into one sector of records.
func image(files []file) []byte {
	size := contentAt
	for i := range files {
		files[i].at = size
		size += (len(files[i].content) + sector - 1) / sector
	}
	out := make([]byte, size*sector)
	put := func(at int, b []byte) { copy(out[at*sector:], b) }
	put(primaryAt, descriptor(1, size, nil, Label, littleAt, bigAt, rootAt))
	// The escape sequence says UCS-2 of level 3.
	put(jolietAt, descriptor(2, size, []byte("%/E"), string(wide(Label)), jolietLittleAt, jolietBigAt, jolietRootAt))
	put(terminatorAt, []byte("\xffCD001\x01"))
	put(littleAt, pathTable(binary.LittleEndian, rootAt))
	put(bigAt, pathTable(binary.BigEndian, rootAt))
	put(jolietLittleAt, pathTable(binary.LittleEndian, jolietRootAt))
	put(jolietBigAt, pathTable(binary.BigEndian, jolietRootAt))

	root := slices.Concat(
		record("\x00", rootAt, sector, true, slices.Concat(suspIndicator, posix(true), rockRidge)),
		record("\x01", rootAt, sector, true, posix(true)))
	joliet := slices.Concat(
		record("\x00", jolietRootAt, sector, true, nil),
		record("\x01", jolietRootAt, sector, true, nil))
	for _, f := range files {
		root = append(root, record(f.short, f.at, len(f.content), false, slices.Concat(posix(false), alternateName(f.name)))...)
		joliet = append(joliet, record(string(wide(f.name)), f.at, len(f.content), false, nil)...)
		put(f.at, f.content)
	}
	put(rootAt, root)
	put(jolietRootAt, joliet)
	return out
}

// parse returns the files of an image by their short names.
func parse(disk []byte) (map[string][]byte, error) {
	extent := func(record []byte) ([]byte, bool) {
		at, size := int64(binary.LittleEndian.Uint32(record[2:]))*sector, int64(binary.LittleEndian.Uint32(record[10:]))
		if at+size > int64(len(disk)) {
			return nil, false
		}
		return disk[at : at+size], true
	}
	const rootRecord = primaryAt*sector + 156
	if len(disk) < contentAt*sector || string(disk[primaryAt*sector+1:][:5]) != "CD001" {
		return nil, errors.New("not an ISO 9660 image")
	}
	root, ok := extent(disk[rootRecord:])
	if !ok {
		return nil, errCutOff
	}
	files := map[string][]byte{}
	for len(root) > 0 && root[0] > 0 {
		length := int(root[0])
		if length < 34 || length > len(root) || 33+int(root[32]) > length {
			return nil, errors.New("an ISO 9660 image with a record that is none")
		}
		if root[25]&2 == 0 {
			content, ok := extent(root)
			if !ok {
				return nil, errCutOff
			}
			files[string(root[33:][:root[32]])] = content
		}
		root = root[length:]
	}
	return files, nil
}

var errCutOff = errors.New("an ISO 9660 image that is cut off")

// pathTableSize is that of a table of the root alone.
const pathTableSize = 10

// pathTable returns a table of the root.
func pathTable(order binary.AppendByteOrder, root int) []byte {
	b := order.AppendUint32([]byte{1, 0}, uint32(root))
	return append(order.AppendUint16(b, 1), 0, 0)
}

// descriptor returns a volume descriptor (ECMA-119, 8.4 and 8.5).
func descriptor(kind byte, size int, escape []byte, label string, little, big, root int) []byte {
	b := make([]byte, sector)
	copy(b, "\x00CD001\x01")
	b[0] = kind
	blank := []byte{' '}
	if kind == 2 {
		blank = wide(" ")
	}
	for _, field := range []struct {
		at, length int
		text       string
	}{
		{8, 32, ""}, {40, 32, label}, {190, 128, ""}, {318, 128, ""}, {446, 128, ""}, {574, 128, ""}, {702, 37, ""}, {739, 37, ""}, {776, 37, ""},
	} {
		copy(b[field.at:field.at+field.length], bytes.Repeat(blank, field.length/len(blank)))
		copy(b[field.at:], field.text)
	}
	copy(b[80:], both32(size))
	copy(b[88:], escape)
	copy(b[120:], both16(1))
	copy(b[124:], both16(1))
	copy(b[128:], both16(sector))
	copy(b[132:], both32(pathTableSize))
	binary.LittleEndian.PutUint32(b[140:], uint32(little))
	binary.BigEndian.PutUint32(b[148:], uint32(big))
	copy(b[156:], record("\x00", root, sector, true, nil))
	for _, at := range []int{813, 830, 847, 864} {
		copy(b[at:], "0000000000000000\x00") // no time
	}
	b[881] = 1
	return b
}

// record returns a directory record (ECMA-119, 9.1).
func record(name string, at, size int, folder bool, extension []byte) []byte {
	length := 33 + len(name)
	length += length & 1
	b := make([]byte, length, length+len(extension))
	copy(b[2:], both32(at))
	copy(b[10:], both32(size))
	// The first of January 1980: long ago everywhere, and the same for every seed.
	copy(b[18:], []byte{80, 1, 1, 0, 0, 0, 0})
	if folder {
		b[25] = 2
	}
	copy(b[28:], both16(1))
	b[32] = byte(len(name))
	copy(b[33:], name)
	b = append(b, extension...)
	if len(b)%2 == 1 {
		b = append(b, 0)
	}
	b[0] = byte(len(b))
	return b
}

// Entries of the System Use Sharing Protocol and of Rock Ridge (IEEE P1281 and
// P1282).
var (
	suspIndicator = []byte("SP\x07\x01\xbe\xef\x00")
	rockRidge     = entry("ER", slices.Concat([]byte{10, 0, 0, 1}, []byte("RRIP_1991A")))
)

func entry(name string, body []byte) []byte {
	return append([]byte{name[0], name[1], byte(4 + len(body)), 1}, body...)
}

// posix returns the mode and the owner: root's alone, as user data has passwords.
func posix(folder bool) []byte {
	mode, links := 0o100400, 1
	if folder {
		mode, links = 0o040500, 2
	}
	return entry("PX", slices.Concat(both32(mode), both32(links), both32(0), both32(0)))
}

// alternateName returns the real name of a file.
func alternateName(name string) []byte { return entry("NM", append([]byte{0}, name...)) }

// wide returns a text as Joliet has it.
func wide(text string) []byte {
	var b []byte
	for _, unit := range utf16.Encode([]rune(text)) {
		b = binary.BigEndian.AppendUint16(b, unit)
	}
	return b
}

// both32 and both16 are numbers in both orders of bytes.
func both32(n int) []byte {
	return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(n)), uint32(n))
}

func both16(n int) []byte {
	return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, uint16(n)), uint16(n))
}
