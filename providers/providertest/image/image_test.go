package testimage_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"debug/elf"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	testimage "github.com/univirt/univirt/providers/providertest/image"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func must[T any](value T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		require.NoError(t, err)
		return value
	}
}

// file is what a layer says of a path, the last one counting.
type file struct {
	tar.Header
	content []byte
}

// tree reads all layers of an image.
func tree(t *testing.T, image v1.Image) map[string]file {
	t.Helper()
	files := map[string]file{}
	for _, layer := range must(image.Layers())(t) {
		r := must(layer.Uncompressed())(t)
		for archive := tar.NewReader(r); ; {
			header, err := archive.Next()
			if err == io.EOF {
				break
			}
			require.NoError(t, err)
			files[header.Name] = file{*header, must(io.ReadAll(archive))(t)}
		}
		require.NoError(t, r.Close())
	}
	return files
}

func TestGuestRuns(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the guest program runs on Linux only")
	}
	image := must(testimage.Guest(t.Context(), testimage.Options{}))(t)
	files := tree(t, image)
	program := files["bin/guest"]
	assert.EqualValues(t, 0o755, program.Mode)
	assert.Less(t, len(program.content), 4<<20, "the program is small")
	binary := must(elf.NewFile(bytes.NewReader(program.content)))(t)
	libraries, err := binary.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries, "the program is static")
	path := filepath.Join(t.TempDir(), "guest")
	require.NoError(t, os.WriteFile(path, program.content, 0o755))
	out, err := exec.CommandContext(t.Context(), path, "echo", "hello").Output()
	require.NoError(t, err)
	assert.Equal(t, "hello\n", string(out))

	assert.EqualValues(t, 0o1777, files["tmp/"].Mode)
	assert.Equal(t, testimage.UserID, files["home/user/"].Uid)
	assert.Contains(t, string(files["etc/passwd"].content), "\nuser:x:1000:1000:")
	config := must(image.ConfigFile())(t)
	assert.Equal(t, v1.Config{
		Cmd: []string{"/bin/guest", "sleep", "1h"}, Env: []string{"PATH=/bin"}, WorkingDir: "/"}, config.Config)
	assert.Equal(t, "linux", config.OS)
	assert.Equal(t, runtime.GOARCH, config.Architecture)
}

func TestBinaryOfAnUnknownArchitecture(t *testing.T) {
	_, err := testimage.Binary(t.Context(), "vax")
	assert.ErrorContains(t, err, "vax")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = testimage.Binary(ctx, "mips")
	assert.Error(t, err, "a context that is done builds nothing")
}

func TestBusybox(t *testing.T) {
	binary, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skipf("busybox-static is not installed: %v", err)
	}
	files := tree(t, must(testimage.Busybox(testimage.Options{}))(t))
	assert.Equal(t, binary, files["bin/busybox"].content)
	assert.Equal(t, "busybox", files["bin/sh"].Linkname)
}

func TestVariants(t *testing.T) {
	cases := map[string]struct {
		opts  testimage.Options
		check func(t *testing.T, image v1.Image, config *v1.ConfigFile)
	}{
		"nothing": {testimage.Options{}, func(t *testing.T, image v1.Image, _ *v1.ConfigFile) {
			assert.Empty(t, must(image.Layers())(t))
		}},
		"layers": {testimage.Options{Layers: 3, LayerSize: 10_000}, func(t *testing.T, image v1.Image, _ *v1.ConfigFile) {
			layers := must(image.Layers())(t)
			require.Len(t, layers, 3)
			for _, l := range layers {
				assert.Greater(t, must(l.Size())(t), int64(10_000), "the content does not compress")
			}
			assert.Len(t, tree(t, image)["data/2"].content, 10_000)
		}},
		"another architecture": {
			testimage.Options{Platform: v1.Platform{Architecture: "s390x"}},
			func(t *testing.T, _ v1.Image, config *v1.ConfigFile) {
				assert.Equal(t, "s390x", config.Architecture)
				assert.Equal(t, "linux", config.OS)
			}},
		"another system": {
			testimage.Options{Platform: v1.Platform{OS: "windows", OSVersion: "10.0", Architecture: "arm", Variant: "v7"}},
			func(t *testing.T, _ v1.Image, config *v1.ConfigFile) {
				assert.Equal(t, &v1.Platform{OS: "windows", OSVersion: "10.0", Architecture: "arm", Variant: "v7"}, config.Platform())
			}},
		"configuration": {testimage.Options{Config: v1.Config{
			Entrypoint: []string{"/bin/guest"}, Cmd: []string{"echo"}, Env: []string{"A=b"}, User: "1000:1000",
			WorkingDir: "/tmp", StopSignal: "SIGUSR1", Labels: map[string]string{"a": "b"},
			Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
		}}, func(t *testing.T, _ v1.Image, config *v1.ConfigFile) {
			assert.Equal(t, v1.Config{
				Entrypoint: []string{"/bin/guest"}, Cmd: []string{"echo"}, Env: []string{"A=b"}, User: "1000:1000",
				WorkingDir: "/tmp", StopSignal: "SIGUSR1", Labels: map[string]string{"a": "b"},
				Volumes: map[string]struct{}{"/data": {}}, ExposedPorts: map[string]struct{}{"80/tcp": {}},
			}, config.Config)
		}},
		"entrypoint alone": {
			testimage.Options{Config: v1.Config{Entrypoint: []string{"/bin/guest"}}},
			func(t *testing.T, _ v1.Image, config *v1.ConfigFile) { assert.Empty(t, config.Config.Cmd) }},
		"files": {testimage.Options{Files: map[string][]byte{"/srv/www/index.html": []byte("hi"), "/srv/a": nil}},
			func(t *testing.T, image v1.Image, _ *v1.ConfigFile) {
				files := tree(t, image)
				assert.Equal(t, "hi", string(files["srv/www/index.html"].content))
				assert.Contains(t, files, "srv/")
				assert.Contains(t, files, "srv/www/")
				assert.Len(t, files, 4)
			}},
		"Docker": {testimage.Options{Docker: true, Layers: 1}, func(t *testing.T, image v1.Image, _ *v1.ConfigFile) {
			manifest := must(image.Manifest())(t)
			assert.Equal(t, types.DockerManifestSchema2, manifest.MediaType)
			assert.Equal(t, types.DockerConfigJSON, manifest.Config.MediaType)
			assert.Equal(t, types.DockerLayer, manifest.Layers[0].MediaType)
		}},
	}
	seen := map[v1.Hash]string{}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			image := must(testimage.Data(c.opts))(t)
			c.check(t, image, must(image.ConfigFile())(t))
			digest := must(image.Digest())(t)
			assert.NotContains(t, seen, digest, "each differs from the others")
			seen[digest] = name
			again := must(testimage.Data(c.opts))(t)
			assert.Equal(t, digest, must(again.Digest())(t), "the same options give the same image")
		})
	}
}

func TestSeed(t *testing.T) {
	one := must(testimage.Data(testimage.Options{Layers: 2, LayerSize: 10, Seed: 1}))(t)
	two := must(testimage.Data(testimage.Options{Layers: 2, LayerSize: 10, Seed: 2}))(t)
	layers := map[v1.Hash]bool{}
	for _, image := range []v1.Image{one, two} {
		for _, l := range must(image.Layers())(t) {
			layers[must(l.Digest())(t)] = true
		}
	}
	assert.Len(t, layers, 4)
}

const ref = "example.test/team/app:v1"

func TestWriteOCI(t *testing.T) {
	one := must(testimage.Data(testimage.Options{Layers: 2, LayerSize: 100}))(t)
	two := must(testimage.Data(testimage.Options{Layers: 1, LayerSize: 100, Platform: v1.Platform{OS: "linux", Architecture: "s390x"}}))(t)
	index := must(testimage.Index(one, two))(t)
	cases := map[string]struct {
		artifact testimage.Artifact
		images   []v1.Image
		files    int
	}{
		"image": {one, []v1.Image{one}, 2 + 4},
		"index": {index, []v1.Image{one, two}, 2 + 4 + 2 + 1},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "made")
			require.NoError(t, testimage.WriteLayout(dir, ref, c.artifact))
			opened := must(layout.ImageIndexFromPath(dir))(t)
			entries := must(opened.IndexManifest())(t).Manifests
			require.Len(t, entries, 1)
			assert.Equal(t, map[string]string{
				"io.containerd.image.name":          ref,
				"org.opencontainers.image.ref.name": "v1",
			}, entries[0].Annotations)
			assert.Equal(t, must(c.artifact.Digest())(t), entries[0].Digest)
			for _, image := range c.images {
				from := opened
				if entries[0].MediaType.IsIndex() {
					from = must(opened.ImageIndex(entries[0].Digest))(t)
				}
				got := must(from.Image(must(image.Digest())(t)))(t)
				assert.Equal(t, tree(t, image), tree(t, got))
			}

			var packed, again bytes.Buffer
			require.NoError(t, testimage.WriteOCI(&packed, ref, c.artifact))
			require.NoError(t, testimage.WriteOCI(&again, ref, c.artifact))
			assert.Equal(t, packed.Bytes(), again.Bytes(), "the same bytes each time")
			n := 0
			for archive := tar.NewReader(&packed); ; n++ {
				header, err := archive.Next()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				content := must(io.ReadAll(archive))(t)
				assert.Equal(t, must(os.ReadFile(filepath.Join(dir, header.Name)))(t), content)
			}
			assert.Equal(t, c.files, n, "the archive holds what the layout holds")
		})
	}
}

func TestWriteDocker(t *testing.T) {
	image := must(testimage.Data(testimage.Options{Layers: 2, LayerSize: 100}))(t)
	path := filepath.Join(t.TempDir(), "image.tar")
	var packed bytes.Buffer
	require.NoError(t, testimage.WriteDocker(&packed, ref, image))
	require.NoError(t, os.WriteFile(path, packed.Bytes(), 0o600))
	got := must(tarball.ImageFromPath(path, nil))(t)
	assert.Equal(t, must(image.ConfigName())(t), must(got.ConfigName())(t))
	assert.Equal(t, tree(t, image), tree(t, got))
	list := must(tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(path) }))(t)
	assert.Equal(t, []string{ref}, list[0].RepoTags)

	var again bytes.Buffer
	require.NoError(t, testimage.WriteDocker(&again, ref, image))
	assert.Equal(t, packed.Bytes(), again.Bytes(), "the same bytes each time")
	index := must(testimage.Index(image))(t)
	assert.Error(t, testimage.WriteDocker(io.Discard, ref, index), "an index has no place in it")
}

func TestBadName(t *testing.T) {
	image := must(testimage.Data(testimage.Options{}))(t)
	assert.Error(t, testimage.WriteOCI(io.Discard, "UPPER CASE", image))
	assert.Error(t, testimage.WriteDocker(io.Discard, "UPPER CASE", image))
	assert.Error(t, testimage.WriteLayout(t.TempDir(), "UPPER CASE", image))
}

func TestGuestIsReproducible(t *testing.T) {
	binary := must(testimage.Binary(t.Context(), runtime.GOARCH))(t)
	image := must(testimage.Guest(t.Context(), testimage.Options{}))(t)
	assert.Equal(t, binary, tree(t, image)["bin/guest"].content)
	assert.NotContains(t, string(binary), must(os.Getwd())(t), "no path of this machine is in it")
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, err := z.Write(binary)
	require.NoError(t, err)
	t.Logf("the program has %d bytes, compressed %d", len(binary), packed.Len())
}
