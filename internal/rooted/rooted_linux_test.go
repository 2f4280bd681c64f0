package rooted

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// tree is a root with a file outside of it that nothing may reach.
func tree(t *testing.T) (root *Root, inside, outside string) {
	t.Helper()
	dir := t.TempDir()
	inside, outside = filepath.Join(dir, "root"), filepath.Join(dir, "secret")
	require.NoError(t, os.Mkdir(inside, 0o755))
	require.NoError(t, os.WriteFile(outside, []byte("secret"), 0o644))
	f, err := os.Open(inside)
	require.NoError(t, err)
	root = New(f)
	t.Cleanup(func() { require.NoError(t, root.Close()) })
	return root, inside, outside
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// rootFS are the files of a root, by which they are tested.
type rootFS struct{ *Root }

func (f rootFS) Open(name string) (fs.File, error) { return f.Root.Open(context.Background(), name) }

func TestFilesAsAnFS(t *testing.T) {
	root, inside, _ := tree(t)
	write(t, filepath.Join(inside, "a"), "content of a")
	write(t, filepath.Join(inside, "dir/b"), strings.Repeat("b", 100_000))
	write(t, filepath.Join(inside, "dir/deep/c"), "")
	require.NoError(t, fstest.TestFS(rootFS{root}, "a", "dir/b", "dir/deep/c"))
}

func TestLinksStayWithinTheRoot(t *testing.T) {
	root, inside, _ := tree(t)
	write(t, filepath.Join(inside, "secret"), "ours")
	write(t, filepath.Join(inside, "etc/passwd"), "its own")
	for link, to := range map[string]string{
		"absolute": "/etc/passwd", "up": "../../../../secret", "out": "/", "loop": "loop", "proc": "/proc/self/root",
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(inside, link)))
	}
	for name, want := range map[string]string{"absolute": "its own", "up": "ours", "out/etc/passwd": "its own", "out/secret": "ours"} {
		content, err := fs.ReadFile(rootFS{root}, name)
		require.NoError(t, err, name)
		assert.Equal(t, want, string(content), name)
	}
	for _, name := range []string{"loop", "proc", "none"} {
		_, err := fs.Stat(rootFS{root}, name)
		require.Error(t, err, name)
	}
	for _, name := range []string{"", "/", "../secret", "a/../../secret", "./a"} {
		_, err := rootFS{root}.Open(name)
		require.ErrorIs(t, err, fs.ErrInvalid, name)
	}
}

func TestWhatIsNoFileIsNotOpened(t *testing.T) {
	root, inside, _ := tree(t)
	require.NoError(t, unix.Mkfifo(filepath.Join(inside, "fifo"), 0o600))
	f, err := rootFS{root}.Open("fifo")
	require.NoError(t, err)
	i, err := f.Stat()
	require.NoError(t, err)
	assert.Equal(t, fs.ModeNamedPipe, i.Mode().Type())
	_, err = io.ReadAll(f)
	require.ErrorIs(t, err, errNoContent)
	require.NoError(t, f.Close())
}

func TestTheContextBoundsAFile(t *testing.T) {
	root, inside, _ := tree(t)
	write(t, filepath.Join(inside, "a"), "content")
	ctx, cancel := context.WithCancel(t.Context())
	f, err := root.Open(ctx, "a")
	require.NoError(t, err)
	dir, err := root.Open(ctx, ".")
	require.NoError(t, err)
	cancel()
	_, err = io.ReadAll(f)
	require.ErrorIs(t, err, context.Canceled)
	_, err = dir.(fs.ReadDirFile).ReadDir(-1)
	require.ErrorIs(t, err, context.Canceled)
	_, err = root.Open(ctx, "a")
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, f.Close())
	require.NoError(t, dir.Close())
}

// entries makes an archive.
func entries(t *testing.T, all ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range all {
		content := h.PAXRecords["test.content"]
		h.PAXRecords = nil
		h.Size = int64(len(content))
		require.NoError(t, w.WriteHeader(&h))
		_, err := w.Write([]byte(content))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func reg(name, content string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Uid: os.Getuid(), Gid: os.Getgid(), PAXRecords: map[string]string{"test.content": content}}
}

func entry(kind byte, name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: kind, Linkname: to, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid()}
}

func unpack(t *testing.T, root *Root, dir string, archive []byte) error {
	t.Helper()
	var spool bytes.Buffer
	if err := Spool(t.Context(), bytes.NewReader(archive), &spool); err != nil {
		return err
	}
	require.Equal(t, archive, spool.Bytes()[:len(archive)])
	return root.Unpack(t.Context(), dir, &spool, false)
}

func TestUnpack(t *testing.T) {
	root, inside, _ := tree(t)
	for path, content := range map[string]string{"d/old": "before", "d/was a file": "x", "d/full/x": "x", "d/below/y": "y"} {
		write(t, filepath.Join(inside, path), content)
	}
	require.NoError(t, os.Symlink("below", filepath.Join(inside, "d/stays")))
	require.NoError(t, os.Symlink("/d/old", filepath.Join(inside, "d/link")))
	modified := time.Unix(1_000_000, 0)
	owned := reg("owned", "x")
	owned.Mode, owned.ModTime = 0o4750, modified
	folder := entry(tar.TypeDir, "folder/", "")
	folder.Mode, folder.ModTime = 0o700, modified
	require.NoError(t, unpack(t, root, "/d", entries(t,
		reg("new", "content"), folder, reg("folder/inside", "deep"), reg("made/on/the/way", "deep"), reg("old", "after"), owned,
		entry(tar.TypeSymlink, "sym", "/anywhere"), entry(tar.TypeLink, "hard", "folder/inside"), entry(tar.TypeLink, "hard", "hard"),
		entry(tar.TypeDir, "was a file", ""), entry(tar.TypeDir, "stays", ""), reg("stays/in", "in"), reg("link", "no link any more"),
	)))
	for path, want := range map[string]string{
		"new": "content", "folder/inside": "deep", "made/on/the/way": "deep", "old": "after", "hard": "deep", "below/in": "in", "link": "no link any more",
	} {
		content, err := os.ReadFile(filepath.Join(inside, "d", path))
		require.NoError(t, err, path)
		assert.Equal(t, want, string(content), path)
	}
	i, err := os.Stat(filepath.Join(inside, "d/owned"))
	require.NoError(t, err)
	assert.Equal(t, 0o750|fs.ModeSetuid, i.Mode())
	assert.True(t, modified.Equal(i.ModTime()))
	i, err = os.Stat(filepath.Join(inside, "d/folder"))
	require.NoError(t, err)
	assert.Equal(t, 0o700|fs.ModeDir, i.Mode())
	assert.True(t, modified.Equal(i.ModTime()), "what is written into a folder comes before its time")
	i, err = os.Stat(filepath.Join(inside, "d/was a file"))
	require.NoError(t, err)
	assert.True(t, i.IsDir())
	to, err := os.Readlink(filepath.Join(inside, "d/sym"))
	require.NoError(t, err)
	assert.Equal(t, "/anywhere", to)
}

func TestHostileArchives(t *testing.T) {
	for name, c := range map[string]struct {
		archive []tar.Header
		says    string
	}{
		"upwards":                   {[]tar.Header{reg("../../secret", "x")}, "leads upwards"},
		"upwards within":            {[]tar.Header{reg("a/../../secret", "x")}, "leads upwards"},
		"absolute":                  {[]tar.Header{reg("/secret", "x")}, "is absolute"},
		"through a link of its own": {[]tar.Header{entry(tar.TypeSymlink, "l", "/"), reg("l/secret", "x")}, "leads out of the folder"},
		"through a link upwards":    {[]tar.Header{entry(tar.TypeSymlink, "l", "../.."), reg("l/secret", "x")}, "leads out of the folder"},
		"through links":             {[]tar.Header{entry(tar.TypeSymlink, "l", "m"), entry(tar.TypeSymlink, "m", ".."), reg("l/secret", "x")}, "leads out of the folder"},
		"a folder that is a link":   {[]tar.Header{entry(tar.TypeSymlink, "l", ".."), entry(tar.TypeDir, "l", "")}, "leads out of the folder"},
		"a hard link upwards":       {[]tar.Header{entry(tar.TypeLink, "h", "../secret")}, "leads upwards"},
		"a hard link to a path":     {[]tar.Header{entry(tar.TypeLink, "h", "/secret")}, "is absolute"},
		"a hard link through one":   {[]tar.Header{entry(tar.TypeSymlink, "l", ".."), entry(tar.TypeLink, "h", "l/secret")}, "leads out of the folder"},
		"a hard link to nothing":    {[]tar.Header{entry(tar.TypeLink, "h", "none")}, "no such file"},
		"a link to nothing":         {[]tar.Header{entry(tar.TypeSymlink, "l", "")}, "is a link to nothing"},
		"a device":                  {[]tar.Header{entry(tar.TypeBlock, "sda", "")}, "is a device"},
		"a terminal":                {[]tar.Header{entry(tar.TypeChar, "tty", "")}, "is a device"},
		"a pipe":                    {[]tar.Header{entry(tar.TypeFifo, "pipe", "")}, "is a device"},
		"the folder itself":         {[]tar.Header{entry(tar.TypeSymlink, ".", "/")}, "is to replace the folder itself"},
		"a folder made a file":      {[]tar.Header{entry(tar.TypeDir, "f", ""), reg("f", "x")}, "is a directory"},
		"a file made a folder":      {[]tar.Header{reg("f", "x"), reg("f/x", "x")}, "not a directory"},
		"a long name":               {[]tar.Header{reg(strings.Repeat("n", 256), "x")}, "is too long"},
	} {
		t.Run(name, func(t *testing.T) {
			root, inside, outside := tree(t)
			write(t, filepath.Join(inside, "secret"), "secret")
			require.NoError(t, os.Mkdir(filepath.Join(inside, "d"), 0o755))
			err := unpack(t, root, "/d", entries(t, c.archive...))
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			assert.ErrorContains(t, err, c.says)
			for _, path := range []string{outside, filepath.Join(inside, "secret")} {
				content, err := os.ReadFile(path)
				require.NoError(t, err)
				assert.Equal(t, "secret", string(content))
			}
			names, err := os.ReadDir(inside)
			require.NoError(t, err)
			assert.Len(t, names, 2)
		})
	}
}

func TestBrokenArchives(t *testing.T) {
	whole := entries(t, reg("a", strings.Repeat("x", 5000)))
	failed := errors.New("the caller's")
	for name, c := range map[string]struct {
		archive io.Reader
		want    error
	}{
		"nothing":               {bytes.NewReader(nil), nil},
		"none":                  {strings.NewReader(strings.Repeat("no archive ", 100)), errdefs.ErrInvalidArgument},
		"cut in a header":       {bytes.NewReader(whole[:100]), errdefs.ErrInvalidArgument},
		"cut in a file":         {bytes.NewReader(whole[:1000]), errdefs.ErrInvalidArgument},
		"cut in front of zeros": {bytes.NewReader(whole[:512+5120]), errdefs.ErrInvalidArgument},
		"a reader that fails":   {io.MultiReader(bytes.NewReader(whole[:1000]), failing{failed}), failed},
	} {
		require.ErrorIs(t, Spool(t.Context(), c.archive, io.Discard), c.want, name)
	}
	require.ErrorIs(t, Spool(t.Context(), bytes.NewReader(whole), full{}), unix.ENOSPC)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, Spool(ctx, bytes.NewReader(whole), io.Discard), context.Canceled)
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

type full struct{}

func (full) Write([]byte) (int, error) { return 0, unix.ENOSPC }

// TestPackAndUnpack holds that what is packed is what was there, and can be unpacked.
func TestPackAndUnpack(t *testing.T) {
	root, inside, _ := tree(t)
	write(t, filepath.Join(inside, "d/a"), "content of a")
	write(t, filepath.Join(inside, "d/deep/b"), strings.Repeat("b", 3*copyBuffer+1))
	require.NoError(t, os.Link(filepath.Join(inside, "d/a"), filepath.Join(inside, "d/same")))
	require.NoError(t, os.Symlink("/secret", filepath.Join(inside, "d/link")))
	require.NoError(t, os.Chmod(filepath.Join(inside, "d/a"), 0o4755))
	pack := func(path, name string) []byte {
		found, err := root.Find(path)
		require.NoError(t, err)
		defer func() { require.NoError(t, found.Close()) }()
		var b bytes.Buffer
		require.NoError(t, Pack(t.Context(), &b, found, name, false))
		return b.Bytes()
	}
	archive := pack("/d", "copy")
	require.NoError(t, os.Mkdir(filepath.Join(inside, "to"), 0o755))
	require.NoError(t, unpack(t, root, "/to", archive))
	require.Equal(t, archive, pack("/to/copy", "copy"))
	to, err := os.Readlink(filepath.Join(inside, "to/copy/link"))
	require.NoError(t, err)
	require.Equal(t, "/secret", to)
	h, err := tar.NewReader(bytes.NewReader(pack("/d/link", "link"))).Next()
	require.NoError(t, err)
	require.Equal(t, byte(tar.TypeSymlink), h.Typeflag, "a link is not followed")
	_, err = root.Find("/none")
	require.ErrorIs(t, At("path", err), errdefs.ErrNotFound)
	err = root.Unpack(t.Context(), "/none", bytes.NewReader(archive), false)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

// FuzzUnpack holds that no archive writes outside of the directory.
func FuzzUnpack(f *testing.F) {
	f.Add("a", "b", byte(tar.TypeReg), byte(tar.TypeSymlink), "/")
	f.Add("l", "l/x", byte(tar.TypeSymlink), byte(tar.TypeReg), "..")
	f.Add("l", "l", byte(tar.TypeSymlink), byte(tar.TypeDir), "../..")
	f.Add("h", "h", byte(tar.TypeLink), byte(tar.TypeReg), "../secret")
	f.Add("d/e", "d", byte(tar.TypeReg), byte(tar.TypeSymlink), "../secret")
	f.Fuzz(func(t *testing.T, one, two string, first, second byte, to string) {
		dir := t.TempDir()
		inside := filepath.Join(dir, "d", "base")
		if err := os.MkdirAll(inside, 0o755); err != nil {
			t.Fatal(err)
		}
		secret := filepath.Join(dir, "secret")
		if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range []tar.Header{
			{Name: one, Typeflag: first, Linkname: to, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid()},
			{Name: two, Typeflag: second, Linkname: to, Mode: 0o755, Uid: os.Getuid(), Gid: os.Getgid()},
		} {
			if w.WriteHeader(&h) != nil {
				return
			}
		}
		if w.Close() != nil {
			return
		}
		top, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		root := New(top)
		defer root.Close()
		var spool bytes.Buffer
		if Spool(t.Context(), &b, &spool) == nil {
			_ = root.Unpack(t.Context(), "/d/base", &spool, false)
		}
		for path, want := range map[string]int{dir: 2, filepath.Join(dir, "d"): 1} {
			if names, err := os.ReadDir(path); err != nil || len(names) != want {
				t.Fatalf("%s: %v, %v", path, names, err)
			}
		}
		if content, err := os.ReadFile(secret); err != nil || string(content) != "secret" {
			t.Fatalf("%q, %v", content, err)
		}
	})
}
