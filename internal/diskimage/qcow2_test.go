package diskimage

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const cluster = 1 << 16

// sample returns a whole image of a disk of 1 GiB, two clusters of which are there.
func sample() []byte {
	b := make([]byte, 7*cluster)
	be := binary.BigEndian
	copy(b, magic)
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16)
	be.PutUint64(b[24:], 1<<30)
	be.PutUint32(b[36:], 2)
	be.PutUint64(b[40:], 3*cluster)
	be.PutUint64(b[48:], 1*cluster)
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	be.PutUint64(b[1*cluster:], 2*cluster)
	be.PutUint64(b[3*cluster:], 1<<63|4*cluster)
	be.PutUint64(b[4*cluster:], 1<<63|5*cluster)
	be.PutUint64(b[4*cluster+64:], 1<<63|6*cluster)
	return b
}

// check does all that is done with an image.
func check(b []byte) error {
	q, err := ReadQCOW2(b[:min(len(b), Begin)])
	if err == nil {
		err = q.Whole()
	}
	if err == nil {
		err = q.Check(bytes.NewReader(b), int64(len(b)))
	}
	return err
}

func put32(at int, v uint32) func([]byte) []byte {
	return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return b }
}

func put64(at int, v uint64) func([]byte) []byte {
	return func(b []byte) []byte { binary.BigEndian.PutUint64(b[at:], v); return b }
}

func cut(to int) func([]byte) []byte { return func(b []byte) []byte { return b[:to] } }

// broken are images in which something is wrong.
var broken = map[string]struct {
	change func([]byte) []byte
	kind   error
}{
	"nothing":                     {cut(0), ErrMalformed},
	"another format":              {func([]byte) []byte { return make([]byte, 1<<20) }, ErrMalformed},
	"half a header":               {cut(100), ErrTruncated},
	"half a header of version 2":  {cut(70), ErrTruncated},
	"version 1":                   {put32(4, 1), ErrUnknown},
	"version 4":                   {put32(4, 4), ErrUnknown},
	"tiny clusters":               {put32(20, 8), ErrMalformed},
	"huge clusters":               {put32(20, 1<<31), ErrMalformed},
	"a disk of nothing":           {put64(24, 0), ErrMalformed},
	"a disk without end":          {put64(24, 1<<63), ErrMalformed},
	"a disk beyond its table":     {put64(24, 2<<30), ErrMalformed},
	"encryption":                  {put32(32, 1), ErrUnknown},
	"a huge first table":          {put32(36, 1<<31), ErrMalformed},
	"a first table in the header": {put64(40, 0), ErrMalformed},
	"a crooked first table":       {put64(40, 3*cluster+8), ErrMalformed},
	"a first table beyond":        {put64(40, 7*cluster), ErrTruncated},
	"a first table far beyond":    {put64(40, 1<<63), ErrTruncated},
	"references beyond":           {put64(48, 1<<40), ErrTruncated},
	"a huge table of references":  {put32(56, 1<<31), ErrMalformed},
	"no table of references":      {put32(56, 0), ErrMalformed},
	"many snapshots":              {put32(60, 1<<20), ErrMalformed},
	"snapshots beyond":            {func(b []byte) []byte { return put64(64, 1<<40)(put32(60, 1)(b)) }, ErrTruncated},
	"an unknown feature":          {put64(72, 1<<5), ErrUnknown},
	"a mark of corruption":        {put64(72, featureCorrupt), ErrMalformed},
	"a data file":                 {put64(72, featureDataFile), ErrOutside},
	"an unknown compression":      {put64(72, featureCompression), ErrUnknown},
	"huge counts":                 {put32(96, 7), ErrMalformed},
	"an endless header":           {put32(100, 1<<31), ErrMalformed},
	"a short header":              {put32(100, 96), ErrMalformed},
	"a backing file":              {backed("/etc/shadow"), ErrOutside},
	"a backing file by protocol":  {backed(`json:{"driver":"nbd"}`), ErrOutside},
	"a backing file of no name":   {backed(""), ErrOutside},
	"a backing name beyond":       {put64(8, 1<<40), ErrMalformed},
	"a long backing name":         {func(b []byte) []byte { return put32(16, 5000)(put64(8, 200)(b)) }, ErrMalformed},
	"a data file by extension": {func(b []byte) []byte {
		copy(b[112:], "/etc/shadow")
		return put32(108, 11)(put32(104, extensionDataFile)(b))
	}, ErrOutside},
	"a data file behind another extension": {func(b []byte) []byte {
		b = put32(108, 3)(put32(104, 0x6803f857)(b))
		return put32(124, 1)(put32(120, extensionDataFile)(b))
	}, ErrOutside},
	"an endless extension":    {func(b []byte) []byte { return put32(108, 1<<31)(put32(104, 1)(b)) }, ErrMalformed},
	"a second table beyond":   {put64(3*cluster+8, 1<<40), ErrTruncated},
	"a crooked second table":  {put64(3*cluster+8, 5*cluster+512), ErrMalformed},
	"the same table twice":    {put64(3*cluster+8, 4*cluster), ErrMalformed},
	"a cluster beyond":        {put64(4*cluster+128, 7*cluster), ErrTruncated},
	"a crooked cluster":       {put64(4*cluster+128, 5*cluster+512), ErrMalformed},
	"a compressed one beyond": {put64(4*cluster+128, flagCompressed|7*cluster), ErrTruncated},
	"a compressed end beyond": {put64(4*cluster+128, flagCompressed|1<<54|(7*cluster-100)), ErrTruncated},
	"half of it":              {cut(3*cluster + 100), ErrTruncated},
	"all but the last byte":   {cut(7*cluster - 1), ErrTruncated},
}

// backed makes an image the overlay of another.
func backed(name string) func([]byte) []byte {
	return func(b []byte) []byte {
		copy(b[200:], name)
		return put64(8, 200)(put32(16, uint32(len(name)))(b))
	}
}

func TestBrokenImages(t *testing.T) {
	require.NoError(t, check(sample()))
	for name, c := range broken {
		assert.ErrorIs(t, check(c.change(sample())), c.kind, name)
	}
}

func TestWhatMayBeMissing(t *testing.T) {
	for name, change := range map[string]func([]byte) []byte{
		"a cluster of zeros":         put64(4*cluster+128, 100*cluster|flagZero),
		"the end of a compressed":    put64(4*cluster+128, flagCompressed|1<<54|(7*cluster-600)),
		"an extension of no meaning": func(b []byte) []byte { return put32(108, 5)(put32(104, 0x6803f857)(b)) },
	} {
		assert.NoError(t, check(change(sample())), name)
	}
}

func TestWhatAHeaderSays(t *testing.T) {
	q, err := ReadQCOW2(backed("/base")(sample()))
	require.NoError(t, err)
	assert.EqualValues(t, 3, q.Version)
	assert.EqualValues(t, 1<<30, q.VirtualSize)
	assert.Equal(t, "/base", q.BackingFile)
	assert.ErrorContains(t, q.Whole(), `refers to another file: its backing file "/base"`)
}

// TestImagesOfQEMU holds that what QEMU makes is whole, and that it is not when its
// end is missing.
func TestImagesOfQEMU(t *testing.T) {
	if _, err := exec.LookPath("qemu-img"); err != nil {
		t.Skip("needs qemu-img: scripts/setup libvirt installs it")
	}
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, out)
	}
	content := bytes.Repeat([]byte("what does not repeat within a block, but does beyond it. "), 60_000)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "raw"), content[:len(content)&^(Sector-1)], 0o600))
	for name, options := range map[string]string{
		"plain": "", "v2": "compat=v2", "small": "cluster_size=512", "large": "cluster_size=2M", "divided": "extended_l2=on",
		"metadata": "preallocation=metadata", "full": "preallocation=full", "counts": "refcount_bits=1", "lazy": "lazy_refcounts=on",
	} {
		t.Run(name, func(t *testing.T) {
			args := []string{"qemu-img", "convert", "-f", "raw", "-O", "qcow2"}
			if options != "" {
				args = append(args, "-o", options)
			}
			run(append(args, "raw", name)...)
			cutShort(t, filepath.Join(dir, name))
		})
	}
	t.Run("compressed", func(t *testing.T) {
		run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "raw", "compressed")
		cutShort(t, filepath.Join(dir, "compressed"))
	})
	t.Run("snapshot", func(t *testing.T) {
		run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "raw", "snapshot")
		run("qemu-img", "snapshot", "-c", "one", "snapshot")
		cutShort(t, filepath.Join(dir, "snapshot"))
	})
	t.Run("written", func(t *testing.T) {
		run("qemu-img", "create", "-f", "qcow2", "written", "1G")
		run("qemu-io", "-f", "qcow2", "-c", "write 0 512", "-c", "write 1000M 4k", "-c", "write -z 64k 64k", "-c", "discard 1000M 64k", "-c", "write 1073741312 512", "written")
		b, err := os.ReadFile(filepath.Join(dir, "written"))
		require.NoError(t, err)
		require.NoError(t, check(b))
	})
	t.Run("overlay", func(t *testing.T) {
		run("qemu-img", "create", "-f", "qcow2", "-b", "raw", "-F", "raw", "overlay")
		b, err := os.ReadFile(filepath.Join(dir, "overlay"))
		require.NoError(t, err)
		require.ErrorIs(t, check(b), ErrOutside)
	})
	t.Run("data file", func(t *testing.T) {
		run("qemu-img", "create", "-f", "qcow2", "-o", "data_file=elsewhere", "outside", "1G")
		b, err := os.ReadFile(filepath.Join(dir, "outside"))
		require.NoError(t, err)
		require.ErrorIs(t, check(b), ErrOutside)
		require.ErrorContains(t, check(b), "elsewhere")
	})
}

// cutShort holds that an image is whole, and that a half of it is not.
func cutShort(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, check(b))
	require.ErrorIs(t, check(b[:len(b)/2]), ErrTruncated)
}

func TestRawImages(t *testing.T) {
	assert.NoError(t, CheckRaw([]byte("anything"), 1<<20))
	for _, c := range []struct {
		begin string
		size  int64
		kind  error
	}{
		{"", 0, ErrTruncated}, {"x", 1000, ErrTruncated}, {"QFI\xfb", 1 << 20, ErrMalformed},
	} {
		assert.ErrorIs(t, CheckRaw([]byte(c.begin), c.size), c.kind, "%q", c.begin)
	}
}

// FuzzQCOW2 holds that no image is more than an error of a kind, whatever it says.
func FuzzQCOW2(f *testing.F) {
	f.Add(sample()[:4*cluster+200])
	for _, c := range broken {
		if b := c.change(sample()); len(b) > 300 {
			f.Add(b[:300])
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := check(b)
		if err == nil {
			return
		}
		kinds := 0
		for _, kind := range []error{ErrMalformed, ErrTruncated, ErrOutside, ErrUnknown} {
			if strings.HasPrefix(err.Error(), kind.Error()) {
				kinds++
			}
		}
		if kinds != 1 {
			t.Fatalf("%v", err)
		}
	})
}
