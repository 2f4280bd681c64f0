package fake

import (
	"archive/tar"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Export writes images as an archive that other tools read too.
func (s images) Export(ctx context.Context, w io.Writer, names []string, opts compute.ExportOptions) error {
	p := s.p
	fail := func(err error) error {
		name := ""
		if len(names) == 1 {
			name = names[0]
		}
		return s.fail(OpExport, name, err)
	}
	if err := p.offered(ctx, OpExport); err != nil {
		return fail(err)
	}
	if err := checkExport(names, opts); err != nil {
		return fail(err)
	}
	at := target{ref: s.ref(names[0])}
	c, err := p.reach(ctx, OpExport, at)
	if err != nil {
		return fail(err)
	}
	opts.Format = p.exportFormat(names, opts.Format)
	chosen, err := p.chooseExports(names, opts)
	if err != nil {
		return fail(err)
	}
	report := newReporter("export", at.ref, p.told(opts.Progress))
	for _, e := range chosen {
		report.last.Total += e.artifact.size
	}
	report.phase("copying")
	out := &exporter{callerStream: p.writeTo(ctx, w)}
	switch opts.Format {
	case compute.OCIArchive:
		err = out.oci(chosen)
	case compute.DockerArchive:
		err = out.docker(chosen)
	default:
		_, err = out.Write(chosen[0].artifact.disk)
	}
	if err := c.done(err); err != nil {
		return fail(err)
	}
	report.last.Done = report.last.Total
	report.phase("done")
	return nil
}

func checkExport(names []string, opts compute.ExportOptions) error {
	faults := opts.Validate()
	if len(names) == 0 {
		faults.Add("names", "must not be empty")
	}
	for n, name := range names {
		faults.AddReason(at("names", n), compute.CheckImageReference(name))
	}
	if disk := opts.Format == compute.RawDisk || opts.Format == compute.QCOW2; disk && len(names) > 1 {
		faults.Add("names", "must be one for %s", opts.Format)
	}
	return faults.Err()
}

// export is an image to write, with the name that it has in the archive; empty
// where it was asked for by its digest and has none.
type export struct {
	name     string
	artifact *artifact
}

// exportFormat is the format to write: a single disk image has one of its own.
func (p *Provider) exportFormat(names []string, format compute.ImageFormat) compute.ImageFormat {
	if format != "" {
		return format
	}
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	if img, err := p.space.images.find(names[0]); err == nil && len(names) == 1 && img.artifact.form == compute.Disk {
		return img.artifact.format
	}
	return compute.OCIArchive
}

func (p *Provider) chooseExports(names []string, opts compute.ExportOptions) ([]export, error) {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	var out []export
	for _, name := range names {
		img, err := p.space.images.find(name)
		if err != nil {
			return nil, err
		}
		a := img.artifact
		switch {
		case !fits(a.platform, opts.Platform):
			return nil, wrongPlatform(opts.Platform, []string{a.platform.String()})
		case a.form == compute.Disk && a.format != opts.Format,
			a.form != compute.Disk && (opts.Format == compute.RawDisk || opts.Format == compute.QCOW2):
			return nil, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "format",
				Err: fmt.Errorf("the image is not of the format %s", opts.Format)}
		}
		named := fullName(name)
		if isDigest(name) {
			named = ""
			if len(img.names) > 0 {
				named = img.names[0]
			}
		}
		out = append(out, export{named, a})
	}
	return out, nil
}

// exporter writes for as long as its context lasts.
type exporter struct {
	*callerStream
	// written are the names of the files so far: a blob may belong to several
	// images.
	written []string
}

func (e *exporter) file(w *tar.Writer, name string, data []byte) error {
	if slices.Contains(e.written, name) {
		return nil
	}
	e.written = append(e.written, name)
	h := &tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(data)), ModTime: epoch}
	if err := w.WriteHeader(h); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

func (e *exporter) json(w *tar.Writer, name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return e.file(w, name, text)
}

// oci writes an OCI image layout.
func (e *exporter) oci(images []export) error {
	w := tar.NewWriter(e)
	if err := e.json(w, "oci-layout", map[string]string{"imageLayoutVersion": "1.0.0"}); err != nil {
		return err
	}
	list := index{SchemaVersion: 2, MediaType: mediaIndex, Manifests: []descriptor{}}
	for _, image := range images {
		a := image.artifact
		blobs := []blob{a.manifest, a.settings}
		for _, l := range a.layers {
			blobs = append(blobs, l.blob)
		}
		for _, b := range blobs {
			if err := e.file(w, blobPath(b.digest), b.data); err != nil {
				return err
			}
		}
		d := a.manifest.descriptor()
		platform := a.platform
		d.Platform = &platform
		if image.name != "" {
			d.Annotations = map[string]string{annotationName: image.name}
			if ref, err := compute.ParseImageReference(image.name); err == nil && ref.Tag != "" {
				d.Annotations[annotationRef] = ref.Tag
			}
		}
		list.Manifests = append(list.Manifests, d)
	}
	if err := e.json(w, "index.json", list); err != nil {
		return err
	}
	return w.Close()
}

func blobPath(digest string) string { return "blobs/" + strings.Replace(digest, ":", "/", 1) }

// dockerEntry is one image in the manifest.json of a Docker archive.
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// docker writes what "docker save" does.
func (e *exporter) docker(images []export) error {
	w := tar.NewWriter(e)
	var entries []dockerEntry
	for _, image := range images {
		a := image.artifact
		hex := strings.TrimPrefix(a.settings.digest, "sha256:")
		entry := dockerEntry{Config: hex + ".json", Layers: []string{}}
		if err := e.file(w, entry.Config, a.settings.data); err != nil {
			return err
		}
		for _, l := range a.layers {
			plain, err := unpacked(l.data)
			if err != nil {
				return err
			}
			name := strings.TrimPrefix(l.diffID, "sha256:") + ".tar"
			if err := e.file(w, name, plain); err != nil {
				return err
			}
			entry.Layers = append(entry.Layers, name)
		}
		if ref, err := compute.ParseImageReference(image.name); err == nil && ref.Tag != "" {
			ref.Digest = ""
			entry.RepoTags = []string{ref.String()}
		}
		entries = append(entries, entry)
	}
	if err := e.json(w, "manifest.json", entries); err != nil {
		return err
	}
	return w.Close()
}
