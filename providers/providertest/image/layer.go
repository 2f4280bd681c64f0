package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the only time that occurs in an image.
var epoch = time.Unix(0, 0).UTC()

// entry is a file of a layer.
type entry struct {
	tar.Header
	content []byte
	// announced is a size that the header claims instead of the content's. The
	// archive breaks off after such a file.
	announced int64
}

func folder(name string, mode int64) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: mode}}
}

func file(name string, content []byte) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content: content}
}

func program(name string, content []byte) entry {
	f := file(name, content)
	f.Mode = 0o755
	return f
}

func link(name, target string) entry {
	return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
}

// system returns the folders and files that every runnable image has.
func system() []entry {
	home := folder("home/"+User+"/", 0o755)
	home.Uid, home.Gid = UserID, UserID
	return []entry{
		folder("bin/", 0o755), folder("dev/", 0o755), folder("etc/", 0o755),
		folder("home/", 0o755), home,
		folder("proc/", 0o555), folder("root/", 0o700), folder("run/", 0o755),
		folder("sys/", 0o555), folder("tmp/", 0o1777), folder("var/", 0o755),
		file("etc/passwd", fmt.Appendf(nil, "root:x:0:0:root:/root:/bin/sh\n"+
			"%s:x:%d:%[2]d::/home/%[1]s:/bin/sh\nnobody:x:65534:65534::/:/bin/false\n", User, UserID)),
		file("etc/group", fmt.Appendf(nil, "root:x:0:\n%s:x:%d:\nshared:x:2000:%[1]s\nnogroup:x:65534:\n", User, UserID)),
	}
}

// noise returns the file of a further layer.
func noise(n int, size int64, seed uint64) []entry {
	var key [32]byte
	copy(key[:], fmt.Sprintf("%016x%016x", seed, n))
	content := make([]byte, size)
	// A ChaCha8 never fails.
	_, _ = rand.NewChaCha8(key).Read(content)
	return []entry{folder("data/", 0o755), file(fmt.Sprintf("data/%d", n), content)}
}

// extra returns the given files with the folders that lead to them.
func extra(files map[string][]byte) []entry {
	var entries []entry
	made := map[string]bool{".": true}
	var lead func(dir string)
	lead = func(dir string) {
		if !made[dir] {
			made[dir] = true
			lead(path.Dir(dir))
			entries = append(entries, folder(dir+"/", 0o755))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		clean := strings.TrimPrefix(path.Join("/", name), "/")
		lead(path.Dir(clean))
		entries = append(entries, file(clean, files[name]))
	}
	return entries
}

// newLayer packs and compresses files.
func newLayer(files []entry, kind types.MediaType) (v1.Layer, error) {
	packed, err := pack(files)
	if err != nil {
		return nil, err
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(packed)), nil }
	return tarball.LayerFromOpener(open, tarball.WithMediaType(kind),
		tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
}

// pack makes a tar of files, in the given order.
func pack(files []entry) ([]byte, error) {
	var packed bytes.Buffer
	w := tar.NewWriter(&packed)
	for _, f := range files {
		h := f.Header
		h.ModTime, h.Format = epoch, tar.FormatUnknown
		if h.Typeflag == tar.TypeReg {
			h.Size = max(int64(len(f.content)), f.announced)
		}
		if err := w.WriteHeader(&h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
		if f.announced > 0 {
			return packed.Bytes(), nil
		}
	}
	err := w.Close()
	return packed.Bytes(), err
}
