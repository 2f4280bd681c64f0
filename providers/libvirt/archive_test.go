package libvirt

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// packed makes an archive; of files it says what they are called in them.
func packed(t testing.TB, headers ...tar.Header) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range headers {
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			h.Typeflag, h.Size = tar.TypeReg, int64(len(h.Name))
		}
		require.NoError(t, w.WriteHeader(&h))
		if h.Size > 0 {
			_, err := io.WriteString(w, h.Name)
			require.NoError(t, err)
		}
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

func dir(name string) tar.Header { return tar.Header{Typeflag: tar.TypeDir, Name: name, Mode: 0o755} }
func symlink(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: "/"}
}
func hardlink(name, to string) tar.Header {
	return tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: to}
}

func TestInboundRefusesWhatLeadsOut(t *testing.T) {
	for reason, headers := range map[string][]tar.Header{
		"leads upwards": {{Name: "a/../../b"}}, "is absolute": {{Name: "/a"}},
		"goes through a link of the archive":                   {dir("a"), symlink("a/s"), {Name: "a/s/b"}},
		"is a link to what is absolute":                        {hardlink("h", "/etc/passwd")},
		"is a link to what goes through a link of the archive": {symlink("s"), hardlink("h", "s/etc/passwd")},
		"is a device": {{Typeflag: tar.TypeChar, Name: "null"}}, "is to replace the folder itself": {symlink("./")},
		"is a link to nothing": {{Typeflag: tar.TypeSymlink, Name: "s"}},
	} {
		err := repack(io.Discard, bytes.NewReader(packed(t, headers...)), newInbound(compute.CopyOptions{}).admit)
		require.ErrorIs(t, err, errdefs.ErrInvalidArgument)
		require.ErrorContains(t, err, reason)
	}
	// What is below a hard link is below what the link may be one of.
	err := repack(io.Discard, bytes.NewReader(packed(t, hardlink("h", "there"), tar.Header{Name: "h/b"})), newInbound(compute.CopyOptions{}).admit)
	require.ErrorContains(t, err, "goes through a link")
	// A directory in the place of a link is a way again only where tar makes one.
	err = repack(io.Discard, bytes.NewReader(packed(t, symlink("s"), dir("s"))), newInbound(compute.CopyOptions{}).admit)
	require.ErrorContains(t, err, "goes through a link")
	require.NoError(t, repack(io.Discard, bytes.NewReader(packed(t, symlink("s"), tar.Header{Name: "s"})), newInbound(compute.CopyOptions{}).admit))
}

func TestInboundWays(t *testing.T) {
	in := newInbound(compute.CopyOptions{NoOwner: true})
	var out bytes.Buffer
	long := strings.Repeat("long/", 60) + "name"
	require.NoError(t, repack(&out, bytes.NewReader(packed(t, dir("./"), tar.Header{Name: "a/b/c", Uid: 7, Gid: 7, Uname: "web"}, dir("a/b"), dir("d\\\n"),
		hardlink("h", "e/f"), tar.Header{Name: long})), in.admit))
	lines := strings.Split(in.lines(), "\n")
	require.Equal(t, []string{"a", "a/b", `d\0134\0012`, "e", "long"}, lines[:5])
	require.Equal(t, []string{"", ""}, lines[len(lines)-2:])
	r := tar.NewReader(&out)
	for _, name := range []string{"./", "a/b/c", "a/b/", "d\\\n/", "h", long} {
		h, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, name, h.Name)
		require.Zero(t, h.Uid)
		require.Empty(t, h.Uname)
	}
}

func TestRepackKeepsTheErrorsOfItsEnds(t *testing.T) {
	whole := packed(t, tar.Header{Name: "a"})
	failed := errors.New("failed")
	admit := func(*tar.Header) string { return "" }
	require.ErrorIs(t, repack(io.Discard, io.MultiReader(bytes.NewReader(whole[:600]), errReader{failed}), admit), failed)
	require.ErrorIs(t, repack(errWriter{failed}, bytes.NewReader(whole), admit), failed)
	for _, cut := range []int{100, 513, 1024, len(whole) - 1024} {
		require.ErrorIs(t, repack(io.Discard, bytes.NewReader(whole[:cut]), admit), errdefs.ErrInvalidArgument, "%d of %d", cut, len(whole))
	}
	require.NoError(t, repack(io.Discard, bytes.NewReader(nil), admit))
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

type errWriter struct{ err error }

func (w errWriter) Write([]byte) (int, error) { return 0, w.err }

func TestOutboundHasWhatWasAskedFor(t *testing.T) {
	admit := outbound{base: "etc"}.admit
	for _, name := range []string{"./etc", "./etc/passwd", "etc/a"} {
		require.Empty(t, admit(&tar.Header{Typeflag: tar.TypeReg, Name: name}), name)
	}
	for _, name := range []string{"./etcetera", "passwd", "etc/../passwd", "/etc", "."} {
		require.NotEmpty(t, admit(&tar.Header{Typeflag: tar.TypeReg, Name: name}), name)
	}
	require.NotEmpty(t, admit(&tar.Header{Typeflag: tar.TypeLink, Name: "etc/a", Linkname: "../shadow"}))
	require.Empty(t, outbound{base: "."}.admit(&tar.Header{Typeflag: tar.TypeReg, Name: "./etc/passwd"}))
}

func FuzzInbound(f *testing.F) {
	f.Add(packed(f, dir("a"), symlink("a/s"), tar.Header{Name: "a/b"}, hardlink("h", "a/b")))
	f.Add(packed(f, symlink("s"), tar.Header{Name: "s/../../x"}))
	f.Fuzz(func(t *testing.T, archive []byte) {
		in := newInbound(compute.CopyOptions{})
		var out bytes.Buffer
		if repack(&out, bytes.NewReader(archive), in.admit) != nil {
			return
		}
		links := map[string]bool{}
		for r := tar.NewReader(&out); ; {
			h, err := r.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			name := path.Clean(h.Name)
			require.True(t, fs.ValidPath(name) || !strings.HasPrefix(name, "/") && name != ".." && !strings.HasPrefix(name, "../"), "%q", h.Name)
			for p := path.Dir(name); p != "."; p = path.Dir(p) {
				require.False(t, links[p], "%q goes through a link", h.Name)
				require.True(t, in.seen[p])
			}
			links[name] = h.Typeflag == tar.TypeSymlink || h.Typeflag == tar.TypeLink
		}
		require.True(t, strings.HasSuffix("\n"+in.lines(), "\n\n"))
		require.Equal(t, len(in.ways)+1, strings.Count(in.lines(), "\n"))
	})
}

func TestParseListing(t *testing.T) {
	entries, err := parseListing([]byte("2\n./b\x00./a\nx\x0081a4 5 100\n41ed 4096 -1\n1\n./c\x00a1ff 1 0\n"))
	require.NoError(t, err)
	var told []string
	for _, e := range entries {
		told = append(told, e.Type().String()+" "+e.Name())
	}
	require.Equal(t, []string{"d--------- a\nx", "---------- b", "L--------- c"}, told)
	for _, text := range []string{
		"x", "1\n", "0\n", "-1\n", "1\n./a\x00", "1\n./a\x0081a4 5 100", "2\n./a\x00./b\x0081a4 5 100\n", "1\n../a\x0081a4 5 100\n", "1\n.\x0081a4 5 100\n",
		"1\n./a\x0081a4 -5 100\n", "1\n./a\x00zz 5 100\n", "99999999999999999999\n", "1\n./a/b\x0081a4 5 100\n",
	} {
		_, err := parseListing([]byte(text))
		require.ErrorIs(t, err, errdefs.ErrDataLoss, "%q", text)
	}
}

func FuzzParseListing(f *testing.F) {
	f.Add([]byte("2\n./b\x00./a\x0081a4 5 100\n41ed 4096 100\n"))
	f.Fuzz(func(t *testing.T, out []byte) {
		entries, err := parseListing(out)
		if err != nil {
			require.Error(t, resource.KindOf(err))
			return
		}
		for _, e := range entries {
			require.NotContains(t, e.Name(), "/")
			require.NotContains(t, []string{"", ".", ".."}, e.Name())
		}
	})
}
