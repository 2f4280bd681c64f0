package fake_test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// filled makes a stopped instance with some files.
func filled(t *testing.T, p *fake.Provider) compute.Instance {
	t.Helper()
	inst, err := p.Instances().Create(t.Context(), compute.Spec{
		Name: "box", Image: "alpine",
		Files: []compute.File{
			{Path: "/srv/a/file", Data: []byte("text"), UID: 1000},
			{Path: "/srv/secret", Secret: resource.NewSecret("hush")},
		},
	})
	require.NoError(t, err)
	return inst
}

func TestFilesAreAFileSystem(t *testing.T) {
	inst := filled(t, fake.Test(t, fake.Options{}))
	links := archiveOf(t,
		tar.Header{Typeflag: tar.TypeSymlink, Name: "abs", Linkname: "/srv/a/file"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "up", Linkname: "../../../../srv/a"},
	)
	require.NoError(t, compute.CopyIn(t.Context(), inst, "/srv", bytes.NewReader(links), compute.CopyOptions{}))
	fsys, err := compute.Files(t.Context(), inst)
	require.NoError(t, err)
	require.NoError(t, fstest.TestFS(fsys, "srv/a/file", "srv/secret", "etc/passwd", "etc/hostname"))
	for _, name := range []string{"srv/abs", "srv/up/file"} {
		text, err := fs.ReadFile(fsys, name)
		require.NoError(t, err, "links are followed within the root")
		assert.Equal(t, "text", string(text))
	}
	info, err := fs.Stat(fsys, "srv/secret")
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o400), info.Mode())
	require.NoError(t, inst.Delete(t.Context(), compute.DeleteOptions{}))
	_, err = fs.ReadFile(fsys, "srv/secret")
	assert.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestFilesEndWithTheirContext(t *testing.T) {
	inst := filled(t, fake.Test(t, fake.Options{}))
	ctx, cancel := context.WithCancel(t.Context())
	fsys, err := compute.Files(ctx, inst)
	require.NoError(t, err)
	f, err := fsys.Open("srv/a/file")
	require.NoError(t, err)
	stream, err := compute.CopyOut(ctx, inst, "/", compute.CopyOptions{})
	require.NoError(t, err)
	cancel()
	_, err = f.Read(make([]byte, 1))
	assert.ErrorIs(t, err, context.Canceled)
	_, err = fs.ReadDir(fsys, ".")
	assert.ErrorIs(t, err, context.Canceled)
	_, err = io.ReadAll(stream)
	assert.ErrorIs(t, err, context.Canceled)
	require.NoError(t, stream.Close())
}

func TestCopyInRefusesWhatLeadsOut(t *testing.T) {
	p := fake.Test(t, fake.Options{})
	inst := filled(t, p)
	ctx := t.Context()
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	require.NoError(t, compute.CopyIn(ctx, inst, "/srv", bytes.NewReader(archiveOf(t,
		tar.Header{Typeflag: tar.TypeSymlink, Name: "there", Linkname: "/etc"})), compute.CopyOptions{}))
	for name, headers := range map[string][]tar.Header{
		"upwards":                {file("../evil")},
		"absolute":               {file("/evil")},
		"hidden upwards":         {file("a/../../evil")},
		"a link that was there":  {file("there/evil")},
		"an absolute link":       {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}, file("l/evil")},
		"a relative link":        {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../etc"}, file("l/evil")},
		"links through links":    {{Typeflag: tar.TypeSymlink, Name: "m", Linkname: ".."}, {Typeflag: tar.TypeSymlink, Name: "l", Linkname: "m/etc"}, file("l/evil")},
		"a folder through links": {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}, {Typeflag: tar.TypeDir, Name: "l/evil"}},
		"a hard link":            {{Typeflag: tar.TypeLink, Name: "evil", Linkname: "../etc/passwd"}},
		"a hard link by a link":  {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "/etc"}, {Typeflag: tar.TypeLink, Name: "evil", Linkname: "l/passwd"}},
		"a device":               {{Typeflag: tar.TypeChar, Name: "evil"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := compute.CopyIn(ctx, inst, "/srv", bytes.NewReader(archiveOf(t, headers...)), compute.CopyOptions{})
			require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
			fsys, err := compute.Files(ctx, inst)
			require.NoError(t, err)
			require.NoError(t, fs.WalkDir(fsys, ".", func(path string, _ fs.DirEntry, err error) error {
				assert.NotContains(t, path, "evil")
				return err
			}))
		})
	}
	// A file that has a link's name replaces the link, and is not written through it.
	require.NoError(t, compute.CopyIn(ctx, inst, "/srv", bytes.NewReader(archiveOf(t,
		tar.Header{Typeflag: tar.TypeSymlink, Name: "p", Linkname: "/etc/passwd"}, file("p"))), compute.CopyOptions{}))
	fsys, err := compute.Files(ctx, inst)
	require.NoError(t, err)
	passwd, err := fs.ReadFile(fsys, "etc/passwd")
	require.NoError(t, err)
	assert.Contains(t, string(passwd), "root")
	require.ErrorIs(t, compute.CopyIn(ctx, inst, "/none", bytes.NewReader(archiveOf(t)), compute.CopyOptions{}), errdefs.ErrNotFound)
}

func TestCopyOut(t *testing.T) {
	inst := filled(t, fake.Test(t, fake.Options{}))
	for path, want := range map[string][]string{
		"/srv":        {"5 srv/", "5 srv/a/", "0 srv/a/file", "0 srv/secret"},
		"/srv/a/file": {"0 file"},
	} {
		stream, err := compute.CopyOut(t.Context(), inst, path, compute.CopyOptions{})
		require.NoError(t, err)
		all, err := io.ReadAll(stream)
		require.NoError(t, err)
		require.NoError(t, stream.Close())
		assert.Equal(t, want, names(t, all))
	}
	_, err := compute.CopyOut(t.Context(), inst, "/none", compute.CopyOptions{})
	failsAs(t, err, errdefs.ErrNotFound, "path")
}

func TestTreeOfAProgram(t *testing.T) {
	check := func(err, want error) error {
		if errors.Is(err, want) && (want != nil || err == nil) {
			return nil
		}
		return fmt.Errorf("got %v, want %v", err, want)
	}
	p := fake.Test(t, fake.Options{Programs: map[string]fake.Program{
		"main": func(_ context.Context, p *fake.Process) int {
			f := p.Files()
			for _, err := range []error{
				check(f.Mkdir("/tmp/d", 0o755), nil),
				check(f.WriteFile("/tmp/d/a", []byte("12345"), 0o600), nil),
				check(f.Rename("/tmp/d", "/tmp/d/inside"), syscall.EINVAL),
				check(f.Remove("/tmp/d"), syscall.ENOTEMPTY),
				check(f.Symlink("d/a", "/tmp/l"), nil),
				check(f.Link("/tmp/d/a", "/tmp/b"), nil),
				check(f.Truncate("/tmp/l", 2), nil),
				check(f.Symlink("loop", "/tmp/loop"), nil),
				check(f.WriteFile("/tmp/loop", nil, 0), syscall.ELOOP),
				check(f.WriteFile("/tmp/b/c", nil, 0), syscall.ENOTDIR),
				check(f.WriteFile("/etc/passwd", nil, 0), fs.ErrPermission),
				check(f.Remove("/etc/passwd"), fs.ErrPermission),
				check(f.WriteFile("/ro/x", nil, 0o644), syscall.EROFS),
				check(f.Rename("/tmp/b", "/scratch/b"), syscall.EXDEV),
				check(f.Remove("/scratch"), fs.ErrPermission),
				check(f.WriteFile("/scratch/x", make([]byte, 2048), 0o644), syscall.ENOSPC),
				check(f.RemoveAll("/tmp/d"), nil),
			} {
				if err != nil {
					fmt.Fprintln(p.Stdout, err)
					return 1
				}
			}
			if text, err := f.ReadFile("/tmp/b"); err != nil || string(text) != "12" {
				return 2
			}
			return 0
		},
	}})
	createVolume(t, p, storage.Spec{Name: "ro", Access: storage.ReadOnlyMany})
	var out strings.Builder
	exit, err := compute.Run(t.Context(), p.Instances(), compute.Spec{
		Name: "a", Image: "main", Process: compute.Process{User: "user"},
		Mounts: []compute.Mount{
			{Type: compute.MountVolume, Source: "ro", Path: "/ro", ReadOnly: true},
			{Type: compute.MountTmpfs, Path: "/scratch", Size: 1024},
		},
	}, compute.RunOptions{Stdout: &out})
	require.NoError(t, err)
	assert.Zero(t, exit.Code, out.String())
}

// holed is an archive of 2 KiB whose one file says that it has so many bytes, all of
// them a hole.
func holed(t testing.TB, size int64) []byte {
	t.Helper()
	// The body of the sparse format 1.0 begins with its map: one empty piece.
	body := fmt.Sprintf("1\n%d\n0\n", size)
	body += strings.Repeat("\x00", 512-len(body))
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	records := map[string]string{"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "big", "GNU.sparse.realsize": fmt.Sprint(size)}
	var pax strings.Builder
	for key, value := range records {
		line := len(key) + len(value) + 3
		line += len(fmt.Sprint(line + 2))
		fmt.Fprintf(&pax, "%d %s=%s\n", line, key, value)
	}
	// The writer refuses such records, and an extended header of the caller's.
	header := func(kind byte, name string, content string) {
		start := b.Len()
		require.NoError(t, w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(content)), Mode: 0o644, Format: tar.FormatUSTAR}))
		raw := b.Bytes()[start:]
		raw[156] = kind
		copy(raw[148:156], "        ")
		sum := 0
		for _, c := range raw[:512] {
			sum += int(c)
		}
		copy(raw[148:156], fmt.Sprintf("%06o\x00 ", sum))
		_, err := io.WriteString(w, content)
		require.NoError(t, err)
		require.NoError(t, w.Flush())
	}
	header(tar.TypeXHeader, "PaxHeaders/big", pax.String())
	header(tar.TypeReg, "big", body)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func TestHolesOfAnArchiveTakeNoMemory(t *testing.T) {
	inst := filled(t, fake.Test(t, fake.Options{}))
	copyIn := func(size int64) error {
		return compute.CopyIn(t.Context(), inst, "/srv", bytes.NewReader(holed(t, size)), compute.CopyOptions{})
	}
	require.ErrorIs(t, copyIn(1<<60), errdefs.ErrResourceExhausted)
	require.NoError(t, copyIn(1<<28))
	fsys, err := compute.Files(t.Context(), inst)
	require.NoError(t, err)
	info, err := fs.Stat(fsys, "srv/big")
	require.NoError(t, err)
	assert.EqualValues(t, 1<<28, info.Size())
}

func FuzzCopyIn(f *testing.F) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: "../etc"})
	_ = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "l/evil", Mode: 0o644})
	_ = w.Close()
	f.Add(b.Bytes())
	f.Add([]byte("no archive"))
	f.Add(holed(f, 1<<60))
	p := fake.Test(f, fake.Options{})
	f.Fuzz(func(t *testing.T, archive []byte) {
		inst, err := p.Instances().Create(t.Context(), compute.Spec{Name: "box", Image: "alpine", Files: []compute.File{{Path: "/srv/in/keep"}}})
		require.NoError(t, err)
		defer func() { require.NoError(t, inst.Delete(context.Background(), compute.DeleteOptions{})) }()
		before := outside(t, inst)
		_ = compute.CopyIn(t.Context(), inst, "/srv/in", bytes.NewReader(archive), compute.CopyOptions{})
		require.Equal(t, before, outside(t, inst), "nothing is written outside of the folder")
	})
}

// outside lists everything that lies outside of /srv/in.
func outside(t *testing.T, inst compute.Instance) []string {
	t.Helper()
	fsys, err := compute.Files(t.Context(), inst)
	require.NoError(t, err)
	var out []string
	require.NoError(t, fs.WalkDir(fsys, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == "srv/in" {
			return fs.SkipDir
		}
		info, err := d.Info()
		out = append(out, fs.FormatFileInfo(info))
		return err
	}))
	return out
}

func ExampleProcess_Files() {
	ctx := context.Background()
	p := fake.New(fake.Options{Programs: map[string]fake.Program{
		"counter": func(_ context.Context, p *fake.Process) int {
			text, _ := p.Files().ReadFile("/data/count")
			text = append(text, 'x')
			if err := p.Files().WriteFile("/data/count", text, 0o644); err != nil {
				fmt.Fprintln(p.Stderr, err)
				return 1
			}
			fmt.Fprintln(p.Stdout, "run", len(text))
			return 0
		},
	}})
	defer p.Close()
	if _, err := p.Volumes().Create(ctx, storage.Spec{Name: "data"}); err != nil {
		fmt.Println(err)
		return
	}
	for _, name := range []string{"first", "second"} {
		var out strings.Builder
		_, err := compute.Run(ctx, p.Instances(), compute.Spec{
			Name: name, Image: "counter",
			Mounts: []compute.Mount{{Type: compute.MountVolume, Source: "data", Path: "/data"}},
		}, compute.RunOptions{Stdout: &out})
		fmt.Print(out.String(), err, "\n")
	}
	// Output:
	// run 1
	// <nil>
	// run 2
	// <nil>
}
