package testimage

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Archive is an archive that must not be imported.
type Archive struct {
	// Name says what is wrong with it.
	Name string
	// Data is the archive.
	Data []byte
}

// HostileArchives returns archives that are damaged as such, whatever image they
// hold, under the name ref. The OCI ones and the Docker ones go to importers of
// their own kind. What they reach for lies in the folder that was given to
// [Hostile].
func HostileArchives(dir, ref string) (oci, docker []Archive, err error) {
	oci, err = damaged(ociDamages(dir), 2<<32, func(w io.Writer, image v1.Image) error {
		return WriteOCI(w, ref, image)
	})
	if err != nil {
		return nil, nil, err
	}
	docker, err = damaged(dockerDamages(dir), 3<<32, func(w io.Writer, image v1.Image) error {
		return WriteDocker(w, ref, image)
	})
	return oci, docker, err
}

// damage is a way to change the files of an archive.
type damage struct {
	name   string
	change func([]entry) ([]entry, error)
}

func ociDamages(dir string) []damage {
	return []damage{
		{"no index", remove("index.json")},
		{"index that is no JSON", replace("index.json", "{this is not JSON")},
		{"index without images", replace("index.json", `{"schemaVersion":2,"manifests":[]}`)},
		{"index that is a link", symlink("index.json", filepath.Join(dir, kept))},
		{"index of a terabyte", announce("index.json", 1<<40)},
		{"layout of an unknown version", replace("oci-layout", `{"imageLayoutVersion":"99.0.0"}`)},
		{"manifest that is missing", rewrite("index.json", func(index *v1.IndexManifest) {
			index.Manifests[0].Digest.Hex = strings.Repeat("0", 64)
		})},
		{"blobs that are links", symlink("blobs/", filepath.Join(dir, kept))},
	}
}

func dockerDamages(dir string) []damage {
	outside := strings.Repeat("../", 32) + strings.TrimPrefix(filepath.ToSlash(dir), "/") + "/" + kept
	relist := func(change func(*dockerEntry)) func([]entry) ([]entry, error) {
		return rewrite("manifest.json", func(list *[]dockerEntry) { change(&(*list)[0]) })
	}
	return []damage{
		{"no list of images", remove("manifest.json")},
		{"list that is no JSON", replace("manifest.json", "[this is not JSON")},
		{"list without images", replace("manifest.json", "[]")},
		{"list that is a link", symlink("manifest.json", filepath.Join(dir, kept))},
		{"list of a terabyte", announce("manifest.json", 1<<40)},
		{"configuration above the root", relist(func(e *dockerEntry) { e.Config = outside })},
		{"layer above the root", relist(func(e *dockerEntry) { e.Layers[0] = outside })},
		{"layer that is missing", relist(func(e *dockerEntry) { e.Layers[0] = "none.tar" })},
		{"more layers than the configuration knows", relist(func(e *dockerEntry) {
			e.Layers = append(e.Layers, e.Layers[0])
		})},
		{"name that is none", relist(func(e *dockerEntry) { e.RepoTags = []string{"../UPPER case\n:::"} })},
	}
}

// damaged returns archives with each of the damages, and with some that need no
// knowledge of what is in them. As in [Hostile], each has content of its own.
func damaged(damages []damage, seed uint64, write func(io.Writer, v1.Image) error) ([]Archive, error) {
	sound := func() ([]byte, error) {
		image, err := Data(Options{Layers: 1, LayerSize: 4096, Seed: seed})
		if err != nil {
			return nil, err
		}
		seed++
		var b bytes.Buffer
		err = write(&b, image)
		return b.Bytes(), err
	}
	whole, err := sound()
	if err != nil {
		return nil, err
	}
	nested, err := pack([]entry{file("image.tar", whole)})
	if err != nil {
		return nil, err
	}
	archives := []Archive{
		{"empty file", nil},
		{"no archive", bytes.Repeat([]byte("this is not an archive. "), 100)},
		{"half of an archive", whole[:len(whole)/2]},
		{"archive without files", make([]byte, 1024)},
		{"archive in an archive", nested},
	}
	for _, d := range damages {
		whole, err := sound()
		if err != nil {
			return nil, err
		}
		data, err := d.apply(whole)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", d.name, err)
		}
		archives = append(archives, Archive{d.name, data})
	}
	return archives, nil
}

func (d damage) apply(archive []byte) ([]byte, error) {
	files, err := unpack(archive)
	if err != nil {
		return nil, err
	}
	if files, err = d.change(files); err != nil {
		return nil, err
	}
	return pack(files)
}

func remove(name string) func([]entry) ([]entry, error) {
	return func(files []entry) ([]entry, error) {
		return slices.DeleteFunc(files, func(f entry) bool { return f.Name == name }), nil
	}
}

func replace(name, content string) func([]entry) ([]entry, error) {
	return func(files []entry) ([]entry, error) {
		for i := range files {
			if files[i].Name == name {
				files[i].content = []byte(content)
			}
		}
		return files, nil
	}
}

// symlink makes links of all files whose names begin like that.
func symlink(prefix, target string) func([]entry) ([]entry, error) {
	return func(files []entry) ([]entry, error) {
		for i, f := range files {
			if strings.HasPrefix(f.Name, prefix) {
				files[i] = entry{Header: tar.Header{
					Name: f.Name, Typeflag: tar.TypeSymlink, Linkname: target, Mode: 0o777}}
			}
		}
		return files, nil
	}
}

// announce moves a file to the end and lets it claim that size.
func announce(name string, size int64) func([]entry) ([]entry, error) {
	return func(files []entry) ([]entry, error) {
		i := slices.IndexFunc(files, func(f entry) bool { return f.Name == name })
		f := files[i]
		f.announced = size
		return append(slices.Delete(files, i, i+1), f), nil
	}
}

// rewrite changes what a JSON file says.
func rewrite[T any](name string, change func(*T)) func([]entry) ([]entry, error) {
	return func(files []entry) ([]entry, error) {
		for i := range files {
			if files[i].Name != name {
				continue
			}
			var value T
			if err := json.Unmarshal(files[i].content, &value); err != nil {
				return nil, err
			}
			change(&value)
			text, err := json.Marshal(value)
			if err != nil {
				return nil, err
			}
			files[i].content = text
		}
		return files, nil
	}
}

// unpack reads all files of a tar.
func unpack(data []byte) ([]entry, error) {
	var files []entry
	for t := tar.NewReader(bytes.NewReader(data)); ; {
		header, err := t.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		content, err := io.ReadAll(t)
		if err != nil {
			return nil, err
		}
		files = append(files, entry{Header: *header, content: content})
	}
}
