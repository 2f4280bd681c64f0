package testimage_test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// filesystem is what an unpacker works on.
type filesystem interface {
	MkdirAll(name string, mode os.FileMode) error
	Chmod(name string, mode os.FileMode) error
	RemoveAll(name string) error
	Symlink(target, name string) error
	Link(old, name string) error
	WriteFile(name string, content []byte, mode os.FileMode) error
}

// naive is the unpacker that everybody writes first.
type naive string

func (n naive) path(name string) string                      { return filepath.Join(string(n), name) }
func (n naive) MkdirAll(name string, mode os.FileMode) error { return os.MkdirAll(n.path(name), mode) }
func (n naive) Chmod(name string, mode os.FileMode) error    { return os.Chmod(n.path(name), mode) }
func (n naive) RemoveAll(name string) error                  { return os.RemoveAll(n.path(name)) }
func (n naive) Symlink(target, name string) error            { return os.Symlink(target, n.path(name)) }
func (n naive) Link(old, name string) error                  { return os.Link(n.path(old), n.path(name)) }
func (n naive) WriteFile(name string, content []byte, mode os.FileMode) error {
	return os.WriteFile(n.path(name), content, mode)
}

// absolute is naive in another way: it takes absolute names at their word.
type absolute struct{ naive }

func (a absolute) WriteFile(name string, content []byte, mode os.FileMode) error {
	if filepath.IsAbs(name) {
		return os.WriteFile(name, content, mode)
	}
	return a.naive.WriteFile(name, content, mode)
}

// unpack applies the layers of an image.
func unpack(image v1.Image, fs filesystem) error {
	var faults []error
	layers, err := image.Layers()
	if err != nil {
		return err
	}
	for _, layer := range layers {
		r, err := layer.Uncompressed()
		if err != nil {
			return err
		}
		defer r.Close()
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if err != nil {
				break
			}
			content, _ := io.ReadAll(archive)
			dir, base := filepath.Split(h.Name)
			mode := os.FileMode(h.Mode).Perm()
			switch target, whiteout := strings.CutPrefix(base, ".wh."); {
			case target == ".wh..opq":
				err = fs.RemoveAll(strings.TrimSuffix(dir, "/"))
			case whiteout:
				err = fs.RemoveAll(dir + target)
			case h.Typeflag == tar.TypeDir:
				if err = fs.MkdirAll(strings.TrimSuffix(h.Name, "/"), 0o755); err == nil {
					err = fs.Chmod(strings.TrimSuffix(h.Name, "/"), mode)
				}
			case h.Typeflag == tar.TypeSymlink:
				err = fs.Symlink(h.Linkname, h.Name)
			case h.Typeflag == tar.TypeLink:
				err = fs.Link(h.Linkname, h.Name)
			default: // devices too, for want of privileges
				err = fs.WriteFile(h.Name, content, mode)
			}
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// Each image that reaches outside of its root does so with some unpacker that
// does not look where it writes, or it would prove nothing; none does with one
// that is confined by the kernel.
func TestHostileImagesEscape(t *testing.T) {
	dir := t.TempDir()
	cases := must(testimage.Hostile(dir))(t)
	restore := func() {
		_ = os.Chmod(dir, 0o700)
		require.NoError(t, os.RemoveAll(dir))
		require.NoError(t, os.Mkdir(dir, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "keep"), []byte("keep"), 0o600))
		require.NoError(t, testimage.Intact(dir))
	}
	for _, c := range cases {
		if c.Pull {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			escaped := false
			for _, careless := range []func(string) filesystem{
				func(root string) filesystem { return naive(root) },
				func(root string) filesystem { return absolute{naive(root)} },
			} {
				restore()
				root := t.TempDir()
				_ = unpack(c.Image.(v1.Image), careless(root))
				_, gone := os.Stat(root)
				escaped = escaped || testimage.Intact(dir) != nil || gone != nil
			}
			assert.True(t, escaped, "a careless unpacker is caught")

			restore()
			root := must(os.OpenRoot(t.TempDir()))(t)
			defer root.Close()
			_ = unpack(c.Image.(v1.Image), root)
			assert.NoError(t, testimage.Intact(dir), "a careful one is not")
		})
	}
}

func TestHostileImagesCanBeMovedAbout(t *testing.T) {
	cases := must(testimage.Hostile(t.TempDir()))(t)
	r := testregistry.Test(t)
	seen := map[string]bool{}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			assert.False(t, seen[c.Name], "names are unique")
			seen[c.Name] = true
			_, err := r.Push("hostile:v1", c.Image)
			require.NoError(t, err)
			dir := t.TempDir()
			require.NoError(t, testimage.WriteLayout(dir, ref, c.Image))
			assert.Equal(t, c.Pull, !sound(dir), "what must be refused is broken")
			assert.False(t, !c.Pull && c.OCI)
			require.NoError(t, testimage.WriteOCI(io.Discard, ref, c.Image))
			var packed bytes.Buffer
			require.NoError(t, testimage.WriteDocker(&packed, ref, c.Image))
			assert.Equal(t, c.Docker, !soundDocker(packed.Bytes()), "what must be refused is broken")
		})
	}
}

// sound reads a layout as an importer does, and reports whether everything in it
// fits together.
func sound(dir string) bool {
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return false
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		return false
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		return false
	}
	config, err := image.ConfigFile()
	if err != nil {
		return false
	}
	parsed, err := image.Manifest()
	if err != nil || len(parsed.Layers) == 0 {
		return false
	}
	for _, d := range parsed.Layers {
		raw, err := os.ReadFile(filepath.Join(dir, "blobs", d.Digest.Algorithm, d.Digest.Hex))
		if err != nil || int64(len(raw)) != d.Size {
			return false
		}
		if digest, _, _ := v1.SHA256(bytes.NewReader(raw)); digest != d.Digest {
			return false
		}
	}
	return unpacks(image, config)
}

func soundDocker(archive []byte) bool {
	image, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, nil)
	if err != nil {
		return false
	}
	config, err := image.ConfigFile()
	return err == nil && unpacks(image, config)
}

// unpacks reports whether all layers are archives and those that the
// configuration names.
func unpacks(image v1.Image, config *v1.ConfigFile) bool {
	layers, err := image.Layers()
	if err != nil || len(layers) != len(config.RootFS.DiffIDs) {
		return false
	}
	for i, layer := range layers {
		r, err := layer.Uncompressed()
		if err != nil {
			return false
		}
		plain, err := io.ReadAll(r)
		r.Close()
		if err != nil {
			return false
		}
		if digest, _, _ := v1.SHA256(bytes.NewReader(plain)); digest != config.RootFS.DiffIDs[i] {
			return false
		}
		for archive := tar.NewReader(bytes.NewReader(plain)); ; {
			if _, err := archive.Next(); err == io.EOF {
				break
			} else if err != nil {
				return false
			}
		}
	}
	return true
}

func TestHostileArchives(t *testing.T) {
	dir := t.TempDir()
	_ = must(testimage.Hostile(dir))(t)
	oci, docker, err := testimage.HostileArchives(dir, ref)
	require.NoError(t, err)
	for kind, archives := range map[string][]testimage.Archive{"oci": oci, "docker": docker} {
		seen := map[string]string{}
		for _, a := range archives {
			t.Run(kind+"/"+a.Name, func(t *testing.T) {
				assert.NotContains(t, seen, string(a.Data), "each differs from the others")
				seen[string(a.Data)] = a.Name
				assert.Less(t, len(a.Data), 1<<20)
			})
		}
		assert.Greater(t, len(archives), 10)
	}
	assert.NoError(t, testimage.Intact(dir))

	byName := map[string][]byte{}
	for _, a := range docker {
		byName[a.Name] = a.Data
	}
	var list []struct{ Config string }
	for archive := tar.NewReader(bytes.NewReader(byName["configuration above the root"])); ; {
		h, err := archive.Next()
		require.NoError(t, err, "the list is in it")
		if h.Name == "manifest.json" {
			require.NoError(t, json.NewDecoder(archive).Decode(&list))
			break
		}
	}
	assert.FileExists(t, filepath.Join("/any/where", list[0].Config), "the path leads to the file")
}

func TestIntactNotices(t *testing.T) {
	cases := map[string]func(dir string) error{
		"a new file":        func(dir string) error { return os.WriteFile(filepath.Join(dir, "made"), nil, 0o600) },
		"a removed file":    func(dir string) error { return os.Remove(filepath.Join(dir, "keep")) },
		"a changed file":    func(dir string) error { return os.WriteFile(filepath.Join(dir, "keep"), nil, 0o600) },
		"a changed mode":    func(dir string) error { return os.Chmod(filepath.Join(dir, "keep"), 0o644) },
		"a changed folder":  func(dir string) error { return os.Chmod(dir, 0o755) },
		"a removed folder":  os.RemoveAll,
		"a file for a link": func(dir string) error { return relink(dir) },
	}
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_ = must(testimage.Hostile(dir))(t)
			require.NoError(t, testimage.Intact(dir))
			require.NoError(t, change(dir))
			assert.Error(t, testimage.Intact(dir))
		})
	}
}

func relink(dir string) error {
	path := filepath.Join(dir, "keep")
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink("/etc/hostname", path)
}
