package containerd

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// manyFiles is an archive of files in one folder.
func manyFiles(t *testing.T, files, size int) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	content := bytes.Repeat([]byte("0123456789abcde\n"), size/16+1)[:size]
	require.NoError(t, w.WriteHeader(&tar.Header{Name: "copied/", Typeflag: tar.TypeDir, Mode: 0o755}))
	for n := range files {
		require.NoError(t, w.WriteHeader(&tar.Header{Name: fmt.Sprintf("copied/%d", n), Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(size)}))
		_, err := w.Write(content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return b.Bytes()
}

// BenchmarkCopyIn tells how many bytes a second go into an instance.
func BenchmarkCopyIn(b *testing.B) {
	p := openGuest(b, Options{})
	inst := start(b, p, guestSpec("web", "sleep", "1h"))
	const size = 256 * resource.MiB
	b.SetBytes(size)
	for b.Loop() {
		if err := compute.CopyIn(b.Context(), inst, "/etc", zeroArchive(b, size), compute.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

// zeroArchive streams an archive with one file.
func zeroArchive(b *testing.B, size int64) io.Reader {
	b.Helper()
	var head bytes.Buffer
	w := tar.NewWriter(&head)
	if err := w.WriteHeader(&tar.Header{Name: "copied", Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		b.Fatal(err)
	}
	return io.MultiReader(&head, io.LimitReader(zero{}, size+2*512))
}

type zero struct{}

func (zero) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
