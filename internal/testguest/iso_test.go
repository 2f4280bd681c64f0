//go:build linux

package testguest

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"
)

// seedDisk returns an ISO 9660 image with the label cidata and files in its root.
// Their names are not as the standard wants them, which Linux does not mind.
func seedDisk(files map[string]string) []byte {
	const block, rootAt = 2048, 20
	names := slices.Sorted(maps.Keys(files))
	both32 := func(n int) []byte {
		return binary.BigEndian.AppendUint32(binary.LittleEndian.AppendUint32(nil, uint32(n)), uint32(n))
	}
	both16 := func(n int) []byte {
		return binary.BigEndian.AppendUint16(binary.LittleEndian.AppendUint16(nil, uint16(n)), uint16(n))
	}
	record := func(name string, at, size int, flags byte) []byte {
		length := 33 + len(name)
		length += length & 1
		r := make([]byte, length)
		r[0] = byte(length)
		copy(r[2:], both32(at))
		copy(r[10:], both32(size))
		r[25] = flags
		copy(r[28:], both16(1))
		r[32] = byte(len(name))
		copy(r[33:], name)
		return r
	}
	const folder = 2
	root := slices.Concat(record("\x00", rootAt, block, folder), record("\x01", rootAt, block, folder))
	var content []byte
	for _, name := range names {
		text := []byte(files[name])
		root = append(root, record(name, rootAt+1+len(content)/block, len(text), 0)...)
		content = append(content, text...)
		content = append(content, make([]byte, -len(content)&(block-1))...)
	}
	image := make([]byte, (rootAt+1)*block)
	primary := image[16*block:]
	copy(primary, "\x01CD001\x01")
	copy(primary[8:], bytes.Repeat([]byte{' '}, 64))
	copy(primary[40:], "cidata")
	copy(primary[80:], both32(rootAt+1+len(content)/block))
	copy(primary[120:], both16(1))
	copy(primary[124:], both16(1))
	copy(primary[128:], both16(block))
	copy(primary[156:], record("\x00", rootAt, block, folder))
	primary[881] = 1
	copy(image[17*block:], "\xffCD001\x01")
	copy(image[rootAt*block:], root)
	return append(image, content...)
}
