//go:build linux

package testguest

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// lz4 frames blocks as the kernel's build does.
func lz4(blocks ...[]byte) []byte {
	frame := binary.LittleEndian.AppendUint32(nil, 0x184c2102)
	for _, b := range blocks {
		frame = binary.LittleEndian.AppendUint32(frame, uint32(len(b)))
		frame = append(frame, b...)
	}
	return frame
}

func TestUnpackLZ4(t *testing.T) {
	long := bytes.Repeat([]byte{'x'}, 300)
	for _, c := range []struct {
		name string
		data []byte
		want string
	}{
		{"nothing", lz4(), ""},
		{"literals", lz4([]byte("\x50hello")), "hello"},
		{"a copy, and a second block", lz4([]byte("\x40abcd\x04\x00\x10!"), []byte("\x10?")), "abcdabcd!?"},
		{"a copy that overlaps itself", lz4([]byte("\x22ab\x02\x00\x10!")), "abababab!"},
		{"long literals", lz4(append([]byte("\xf0\xff\x1e"), long...)), string(long)},
		{"a long copy", lz4([]byte("\x1fx\x01\x00\xff\x18\x10!")), string(long[:1+15+255+24+4]) + "!"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := unpackLZ4(c.data, 0)
			require.NoError(t, err)
			assert.Equal(t, c.want, string(got))
		})
	}
	for name, data := range map[string][]byte{
		"empty":                       nil,
		"another format":              []byte("\x28\xb5\x2f\xfd"),
		"block that ends too early":   lz4([]byte("hello"))[:10],
		"literals that end too early": lz4([]byte("\x50he")),
		"copy from before the block":  lz4([]byte("\x20ab\x03\x00\x10!")),
		"copy from the block before":  lz4([]byte("\x20ab"), []byte("\x10c\x02\x00\x10!")),
		"copy from no distance":       lz4([]byte("\x20ab\x00\x00\x10!")),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := unpackLZ4(data, 0)
			assert.Error(t, err)
		})
	}
}

func FuzzUncompressed(f *testing.F) {
	image := make([]byte, 2048)
	copy(image[0x202:], "HdrS")
	frame := lz4([]byte("\x22ab\x02\x00\x10!"))
	binary.LittleEndian.PutUint32(image[0x24c:], uint32(len(frame)+4))
	copy(image[512:], frame)
	f.Add(image)
	f.Add(image[:600])
	f.Fuzz(func(t *testing.T, image []byte) {
		if len(image) > 1<<16 {
			return
		}
		_, _ = uncompressed(image)
	})
}

func TestArchive(t *testing.T) {
	got := archive([]file{program("a/b/c", []byte("hello")), link("a/l", "b/c"), {path: "dev/console", console: true}})
	assert.Zero(t, len(got)%4)
	// What stands where is the format's; its reader is the kernel, which the other
	// tests boot.
	for _, want := range []string{"a/b/c\x00", "hello\x00\x00\x00", "a/l\x00", "dev/console\x00", "TRAILER!!!\x00"} {
		assert.Equal(t, 1, bytes.Count(got, []byte(want)), "%q", want)
	}
	assert.Equal(t, []string{"a", "a/b", "dev"}, folders([]file{program("a/b/c", nil), link("a/l", ""), {path: "dev/console"}}))
}
