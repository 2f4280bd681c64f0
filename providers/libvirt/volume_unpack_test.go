package libvirt

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

type archived struct {
	header  tar.Header
	content string
}

func pack(t testing.TB, entries ...archived) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		e.header.Size = int64(len(e.content))
		require.NoError(t, w.WriteHeader(&e.header))
		_, err := io.WriteString(w, e.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return out.Bytes()
}

func regular(name, content string) archived {
	return archived{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content}
}

func linked(kind byte, name, to string) archived {
	return archived{tar.Header{Name: name, Typeflag: kind, Linkname: to}, ""}
}

// unpacked unpacks into a folder beside which there is another file.
func unpacked(t *testing.T, archive []byte, size int64) (dir string, own *tar.Header, err error) {
	t.Helper()
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root of a Linux unpacks an archive with its owners")
	}
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "beside"), []byte("as it was"), 0o600))
	dir = filepath.Join(outside, "dir")
	require.NoError(t, os.Mkdir(dir, 0o700))
	own, err = unpackTree(bytes.NewReader(archive), dir, size)
	entries, readErr := os.ReadDir(outside)
	require.NoError(t, readErr)
	require.Len(t, entries, 2, "something was written outside")
	beside, readErr := os.ReadFile(filepath.Join(outside, "beside"))
	require.NoError(t, readErr)
	require.Equal(t, "as it was", string(beside))
	return dir, own, err
}

func TestUnpackedIsWhatTheArchiveSays(t *testing.T) {
	when := time.Unix(1234, 0)
	dir, own, err := unpacked(t, pack(t,
		archived{tar.Header{Name: "./", Typeflag: tar.TypeDir, Mode: 0o1770, Uid: 7, Gid: 8}, ""},
		regular("made/below/x", "first"),
		archived{tar.Header{Name: "folder/", Typeflag: tar.TypeDir, Mode: 0o500, Uid: 1000, Gid: 1001, ModTime: when}, ""},
		archived{tar.Header{Name: "folder/x", Typeflag: tar.TypeReg, Mode: 0o4711, Uid: 1000, Gid: 1001, ModTime: when}, "here"},
		linked(tar.TypeLink, "folder/y", "folder/x"),
		linked(tar.TypeSymlink, "s", "/etc/passwd"),
		linked(tar.TypeSymlink, "stays", "folder"),
		regular("stays/z", "through a link"),
		regular("made/below/x", "second"),
		archived{tar.Header{Name: "fifo", Typeflag: tar.TypeFifo, Mode: 0o600}, ""},
		regular("line\nbreak", strings.Repeat("\x00", 1<<20)+"x"),
	), 64<<20)
	require.NoError(t, err)
	require.Equal(t, int64(0o1770), own.Mode)
	require.Equal(t, []int{7, 8}, []int{own.Uid, own.Gid})
	for name, want := range map[string]string{"folder/x": "here", "folder/y": "here", "folder/z": "through a link", "made/below/x": "second"} {
		got, err := os.ReadFile(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, string(got), name)
	}
	for name, want := range map[string]fs.FileMode{
		"folder/x": 0o711 | fs.ModeSetuid, "folder": 0o500 | fs.ModeDir, "made": 0o755 | fs.ModeDir, "made/below": 0o755 | fs.ModeDir, "fifo": 0o600 | fs.ModeNamedPipe,
	} {
		info, err := os.Lstat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode(), name)
	}
	for _, name := range []string{"folder", "folder/x"} {
		info, err := os.Stat(filepath.Join(dir, name))
		require.NoError(t, err)
		assert.Equal(t, when, info.ModTime(), name)
	}
}

func TestHostileArchivesAreNotUnpacked(t *testing.T) {
	whole := pack(t, regular("x", strings.Repeat("x", 4096)))
	for name, c := range map[string]struct {
		archive []byte
		kind    error
	}{
		"a name that leads upwards":     {pack(t, regular("../beside", "x")), errdefs.ErrInvalidArgument},
		"one that does in its middle":   {pack(t, regular("a/../../beside", "x")), errdefs.ErrInvalidArgument},
		"an absolute name":              {pack(t, regular("/beside", "x")), errdefs.ErrInvalidArgument},
		"a link out":                    {pack(t, linked(tar.TypeSymlink, "out", ".."), regular("out/beside", "x")), errdefs.ErrInvalidArgument},
		"an absolute link":              {pack(t, linked(tar.TypeSymlink, "out", "/tmp"), regular("out/beside", "x")), errdefs.ErrInvalidArgument},
		"a link to itself":              {pack(t, linked(tar.TypeSymlink, "a", "a"), regular("a/x", "x")), errdefs.ErrInvalidArgument},
		"a folder that is a link":       {pack(t, linked(tar.TypeSymlink, "out", ".."), linked(tar.TypeDir, "out/new/", "")), errdefs.ErrInvalidArgument},
		"a hard link out":               {pack(t, linked(tar.TypeLink, "hard", "../beside")), errdefs.ErrInvalidArgument},
		"a hard link through a link":    {pack(t, linked(tar.TypeSymlink, "out", ".."), linked(tar.TypeLink, "hard", "out/beside")), errdefs.ErrInvalidArgument},
		"a hard link to a folder":       {pack(t, linked(tar.TypeDir, "d/", ""), linked(tar.TypeLink, "hard", "d")), errdefs.ErrInvalidArgument},
		"a hard link to nothing":        {pack(t, linked(tar.TypeLink, "hard", "nothing")), errdefs.ErrInvalidArgument},
		"a file in place of a folder":   {pack(t, linked(tar.TypeDir, "d/", ""), regular("d", "x")), errdefs.ErrInvalidArgument},
		"a file below a file":           {pack(t, regular("d", "x"), regular("d/x", "x")), errdefs.ErrInvalidArgument},
		"a file in place of the root":   {pack(t, regular(".", "x")), errdefs.ErrInvalidArgument},
		"a name that is too long":       {pack(t, regular(strings.Repeat("n", 256), "x")), errdefs.ErrInvalidArgument},
		"a strange type":                {pack(t, archived{tar.Header{Name: "x", Typeflag: 'V'}, ""}), errdefs.ErrInvalidArgument},
		"a strange attribute":           {pack(t, archived{tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{attributeKey + "system.x": "y"}}, ""}), errdefs.ErrInvalidArgument},
		"an archive that is cut off":    {whole[:1000], errdefs.ErrInvalidArgument},
		"one without an end":            {whole[:512+4096], errdefs.ErrInvalidArgument},
		"no archive":                    {bytes.Repeat([]byte("no archive "), 1000), errdefs.ErrInvalidArgument},
		"more than there is room for":   {pack(t, regular("x", strings.Repeat("x", 1<<20+1))), errdefs.ErrResourceExhausted},
		"holes longer than can be":      {pack(t, regular("x", "x"), regular("y", strings.Repeat("\x00", 64<<20))), errdefs.ErrResourceExhausted},
		"a header that promises a lot":  {endless(), errdefs.ErrResourceExhausted},
		"an owner that cannot be":       {pack(t, archived{tar.Header{Name: "x", Typeflag: tar.TypeReg, Uid: 1<<32 - 1}, ""}), errdefs.ErrInvalidArgument},
		"an attribute that is too long": {pack(t, archived{tar.Header{Name: "x", Typeflag: tar.TypeReg, PAXRecords: map[string]string{attributeKey + "user.x": strings.Repeat("y", 70000)}}, ""}), errdefs.ErrInvalidArgument},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := unpacked(t, c.archive, 1<<20)
			require.ErrorIs(t, err, c.kind)
			var own *resource.Error
			require.ErrorAs(t, err, &own)
			require.Equal(t, "stream", own.Field)
		})
	}
}

// endless is an archive of a file that never ends.
func endless() []byte {
	var out bytes.Buffer
	_ = tar.NewWriter(&out).WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Size: 1 << 50})
	return append(out.Bytes(), make([]byte, 1<<16)...)
}

func TestAnArchiveThatFailsIsNotCalledBroken(t *testing.T) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		t.Skip("only root of a Linux unpacks an archive with its owners")
	}
	lost := errors.New("lost")
	whole := pack(t, regular("x", strings.Repeat("x", 4096)))
	for n := range 10 {
		_, err := unpackTree(io.MultiReader(bytes.NewReader(whole[:n*512]), failingReader{lost}), t.TempDir(), 1<<20)
		require.ErrorIs(t, err, lost)
		require.NoError(t, resource.KindOf(err))
	}
}

type failingReader struct{ err error }

func (f failingReader) Read([]byte) (int, error) { return 0, f.err }

// FuzzUnpack unpacks anything. Nothing may be written outside of the folder.
func FuzzUnpack(f *testing.F) {
	if runtime.GOOS != "linux" || os.Getuid() != 0 {
		f.Skip("only root of a Linux unpacks an archive with its owners")
	}
	f.Add(pack(f, regular("x", "here"), linked(tar.TypeSymlink, "out", ".."), linked(tar.TypeLink, "y", "x"), regular("d/e", "")))
	f.Add(pack(f, regular("../x", "here")))
	f.Fuzz(func(t *testing.T, archive []byte) {
		_, _, err := unpacked(t, archive, 1<<20)
		if err != nil {
			require.True(t, resource.KindOf(err) != nil, "an error of no kind: %v", err)
		}
	})
}
