package testimage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Case is an image that somebody made to do harm, or that was damaged.
type Case struct {
	// Name says what is wrong with it.
	Name string
	// Image can be written and pushed, as far as it exists.
	Image Artifact
	// Pull, OCI and Docker say in which forms it must be refused: when it comes
	// from a registry, as an OCI archive, as a Docker archive. In other forms it
	// may be accepted too: if its paths are confined to its own root they do no
	// harm, and not every form carries what is wrong with it.
	Pull, OCI, Docker bool
}

// kept is the file that hostile images try to get at.
const kept = "keep"

// Hostile returns images that must be refused, or unpacked without harm. Those
// that reach for files outside of their root reach for the given folder of this
// machine, which must be absolute, clean and empty: a file is put there that they
// try to remove, link and replace. [Intact] tells whether one of them got there.
func Hostile(dir string) ([]Case, error) {
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, kept), []byte(kept), 0o600); err != nil {
		return nil, err
	}
	escapes, err := escaping(dir)
	if err != nil {
		return nil, err
	}
	broken, err := broken()
	return append(escapes, broken...), err
}

// Intact returns an error if the folder is not as Hostile has left it.
func Intact(dir string) error {
	folder, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if folder.Mode().Perm() != 0o700 {
		return fmt.Errorf("%s has been changed", dir)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != kept {
			return fmt.Errorf("%s has been made", filepath.Join(dir, e.Name()))
		}
	}
	path := filepath.Join(dir, kept)
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if string(content) != kept || info.Mode() != 0o600 {
		return fmt.Errorf("%s has been changed", path)
	}
	return nil
}

// escaping returns images whose layers reach outside of their root.
func escaping(dir string) ([]Case, error) {
	up := strings.Repeat("../", 32)
	outside := up + strings.TrimPrefix(filepath.ToSlash(dir), "/")
	hard := func(name, target string) entry {
		return entry{Header: tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: target, Mode: 0o644}}
	}
	var cases []Case
	for _, c := range []struct {
		name  string
		files []entry
	}{
		{"file above the root", []entry{file(outside+"/made", nil)}},
		{"file by absolute path", []entry{file(dir+"/made", nil)}},
		{"file above the root in a folder", []entry{folder("a/", 0o755), file("a/b/../../"+outside+"/made", nil)}},
		{"replaced file above the root", []entry{file(outside+"/"+kept, []byte("replaced"))}},
		{"file through an absolute link", []entry{link("out", dir), file("out/made", nil)}},
		{"file through a relative link", []entry{link("out", outside), file("out/made", nil)}},
		{"file through two links", []entry{link("up", up), link("out", "up/"+strings.TrimPrefix(dir, "/")), file("out/made", nil)}},
		{"file over a link", []entry{link("out", dir+"/made"), file("out", nil)}},
		{"hard link to a file above the root", []entry{hard("stolen", outside+"/"+kept), file("stolen", []byte("replaced"))}},
		{"hard link through a link", []entry{link("out", dir), hard("stolen", "out/"+kept), file("stolen", []byte("replaced"))}},
		{"folder above the root", []entry{folder(outside+"/made/", 0o777)}},
		{"mode of a folder above the root", []entry{folder(outside+"/", 0o000)}},
		{"removal above the root", []entry{file(outside+"/.wh."+kept, nil)}},
		{"removal through a link", []entry{link("out", dir), file("out/.wh."+kept, nil)}},
		{"removal of all above the root", []entry{file(outside+"/.wh..wh..opq", nil)}},
		{"removal of the parent", []entry{file("a/.wh...", nil)}},
		{"device above the root", []entry{{Header: tar.Header{
			Name: outside + "/made", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666}}}},
	} {
		layer, err := newLayer(c.files, types.OCILayer)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		image, err := imageOf(layer)
		if err != nil {
			return nil, err
		}
		cases = append(cases, Case{Name: c.name, Image: image})
	}
	return cases, nil
}

// imageOf makes a plain image of one layer.
func imageOf(layer v1.Layer) (v1.Image, error) {
	return assembleLayers(Options{}, []v1.Layer{layer}, []string{"/none"})
}

// crafted is an image whose parts need not fit together.
type crafted struct{ parts }

var _ Artifact = (*crafted)(nil)

func (c *crafted) MediaType() (types.MediaType, error) { return c.manifest.MediaType, nil }
func (c *crafted) Digest() (v1.Hash, error)            { return c.manifest.Digest, nil }
func (c *crafted) Size() (int64, error)                { return c.manifest.Size, nil }
func (c *crafted) RawManifest() ([]byte, error)        { return c.manifest.Content() }

// visibility says who can see a damage.
type visibility int

const (
	inManifest visibility = iota // who reads the manifest, which a Docker archive lacks
	whenPulled                   // who needs the manifest to know what to fetch
	everywhere
)

// broken returns images that are damaged, or lie about themselves.
func broken() ([]Case, error) {
	petabyte := file("huge", make([]byte, 1024))
	petabyte.announced = 1 << 50
	huge, err := compressed([]entry{petabyte})
	if err != nil {
		return nil, err
	}
	digest := func(hex string) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: hex} }
	absent := digest(strings.Repeat("0", 64))

	var cases []Case
	for i, c := range []struct {
		name    string
		seen    visibility
		damage  func(p *parts, m *v1.Manifest)
		rewrite func(manifest []byte) []byte
	}{
		{name: "missing layer", seen: everywhere, damage: func(p *parts, _ *v1.Manifest) { p.layers = p.layers[1:] }},
		{name: "missing layer of unknown digest", damage: func(_ *parts, m *v1.Manifest) { m.Layers[0].Digest = absent }},
		{name: "missing configuration", seen: everywhere, damage: func(p *parts, m *v1.Manifest) {
			m.Config.Digest = absent
			p.config = p.layers[0]
		}},
		{name: "corrupt layer", seen: everywhere, damage: func(p *parts, _ *v1.Manifest) {
			p.layers[1].Open = opener(flipped(p.layers[1]))
		}},
		{name: "truncated layer", seen: everywhere, damage: func(p *parts, _ *v1.Manifest) {
			content, _ := p.layers[1].Content()
			p.layers[1].Open = opener(content[:len(content)/2])
		}},
		{name: "layers in the wrong order", damage: func(_ *parts, m *v1.Manifest) {
			m.Layers[0], m.Layers[1] = m.Layers[1], m.Layers[0]
		}},
		{name: "more layers than the configuration knows", damage: func(_ *parts, m *v1.Manifest) {
			m.Layers = append(m.Layers, m.Layers[0])
		}},
		{name: "layer that is no archive", seen: everywhere, damage: func(p *parts, m *v1.Manifest) {
			replaceLayer(p, m, 0, []byte("this is not a layer"))
		}},
		{name: "layer of a file of a petabyte", seen: everywhere, damage: func(p *parts, m *v1.Manifest) { replaceLayer(p, m, 0, huge) }},
		{name: "layer size of an exabyte", seen: whenPulled, damage: func(p *parts, m *v1.Manifest) { m.Layers[0].Size = 1 << 60 }},
		{name: "layer size below zero", seen: whenPulled, damage: func(p *parts, m *v1.Manifest) { m.Layers[0].Size = -1 }},
		{name: "layer digest that is a path", damage: func(_ *parts, m *v1.Manifest) {
			m.Layers[0].Digest = digest("../../../../../../../../../../etc/passwd")
		}},
		{name: "layer digest of unknown algorithm", damage: func(_ *parts, m *v1.Manifest) {
			m.Layers[0].Digest = v1.Hash{Algorithm: "crc32", Hex: "cafe"}
		}},
		{name: "configuration that is no JSON", seen: everywhere, damage: func(p *parts, m *v1.Manifest) {
			replaceConfig(p, m, []byte("{this is not JSON"))
		}},
		{name: "configuration of the wrong types", seen: everywhere, damage: func(p *parts, m *v1.Manifest) {
			replaceConfig(p, m, []byte(`{"architecture":7,"os":[],"rootfs":"none"}`))
		}},
		{name: "empty configuration", seen: everywhere, damage: func(p *parts, m *v1.Manifest) { replaceConfig(p, m, nil) }},
		{name: "manifest that is no JSON", rewrite: func([]byte) []byte { return []byte("{this is not JSON") }},
		{name: "empty manifest", rewrite: func([]byte) []byte { return []byte("{}") }},
		{name: "truncated manifest", rewrite: func(m []byte) []byte { return m[:len(m)/2] }},
	} {
		// No content is that of another image: a store that has it already would
		// not look at this one's.
		sound, err := Data(Options{Layers: 2, LayerSize: 4096, Seed: 1<<32 + uint64(i)})
		if err != nil {
			return nil, err
		}
		image, err := craft(sound, c.damage, c.rewrite)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		cases = append(cases, Case{Name: c.name, Image: image,
			Pull: true, OCI: c.seen != whenPulled, Docker: c.seen == everywhere})
	}
	return cases, nil
}

// craft damages the parts of a sound image and its manifest, and then the text of
// the manifest, whose own digest is right in the end.
func craft(sound v1.Image, damage func(*parts, *v1.Manifest), rewrite func([]byte) []byte) (*crafted, error) {
	p, err := imageParts(sound)
	if err != nil {
		return nil, err
	}
	manifest, err := sound.Manifest()
	if err != nil {
		return nil, err
	}
	manifest = manifest.DeepCopy()
	if damage != nil {
		damage(&p, manifest)
	}
	text, err := json.Marshal(manifest)
	if err != nil {
		return nil, err
	}
	if rewrite != nil {
		text = rewrite(text)
	}
	p.manifest = blobOf(manifest.MediaType, text)
	return &crafted{p}, nil
}

// blobOf describes content truthfully.
func blobOf(kind types.MediaType, content []byte) Blob {
	// Reading from memory does not fail.
	digest, size, _ := v1.SHA256(bytes.NewReader(content))
	return Blob{Descriptor: v1.Descriptor{MediaType: kind, Digest: digest, Size: size}, Open: opener(content)}
}

func replaceLayer(p *parts, m *v1.Manifest, n int, content []byte) {
	p.layers[n] = blobOf(m.Layers[n].MediaType, content)
	m.Layers[n] = p.layers[n].Descriptor
}

func replaceConfig(p *parts, m *v1.Manifest, content []byte) {
	p.config = blobOf(m.Config.MediaType, content)
	m.Config = p.config.Descriptor
}

// flipped returns the content with one byte changed. The content comes from
// memory, which does not fail.
func flipped(b Blob) []byte {
	content, _ := b.Content()
	content = bytes.Clone(content)
	content[len(content)/2] ^= 0xff
	return content
}

// compressed returns a tar of the files as a layer has it.
func compressed(files []entry) ([]byte, error) {
	packed, err := pack(files)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err = z.Write(packed)
	return b.Bytes(), errors.Join(err, z.Close())
}
