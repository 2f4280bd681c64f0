package fake

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Import reads images from an archive or a disk image.
func (s images) Import(ctx context.Context, source compute.ImageSource, opts compute.ImportOptions) ([]compute.Image, error) {
	p := s.p
	fail := func(err error) ([]compute.Image, error) { return nil, s.fail(OpImport, opts.Name, err) }
	if err := p.offered(ctx, OpImport); err != nil {
		return fail(err)
	}
	if err := p.checkImport(source, opts); err != nil {
		return fail(err)
	}
	at := target{ref: s.ref(opts.Name)}
	c, err := p.reach(ctx, OpImport, at)
	if err != nil {
		return fail(err)
	}
	report := newReporter("import", at.ref, p.told(opts.Progress))
	report.last.Total = source.Size
	report.phase("copying")
	in := &importer{ctx: ctx, r: p.readFrom(ctx, source.Reader), opts: opts}
	found, err := in.read(source.Format)
	if err != nil {
		return fail(err)
	}
	for _, f := range found {
		if opts.Verify != nil {
			if err := refusal(errdefs.ErrPermissionDenied, opts.Verify(ctx, f.name, f.artifact.digest)); err != nil {
				return fail(err)
			}
		}
	}
	report.last.Done = in.n
	report.last.Total = max(report.last.Total, in.n)
	report.phase("unpacking")
	if err := p.open(ctx); err != nil {
		return fail(err)
	}
	kept, err := p.keepAll(found)
	if err := c.done(err); err != nil {
		return fail(err)
	}
	report.phase("done")
	return kept, nil
}

func (p *Provider) checkImport(source compute.ImageSource, opts compute.ImportOptions) error {
	faults := append(source.Validate(), opts.Validate()...)
	disk := source.Format == compute.RawDisk || source.Format == compute.QCOW2
	if disk && opts.Name == "" {
		faults.Add("name", "is required for a disk image")
	}
	has := p.backend.offers.Images
	return firstOf(faults.Err(),
		without(has, compute.FeatureDisk, "format", disk), without(has, compute.FeatureRootFS, "format", !disk))
}

// keepAll stores images, or none of them.
func (p *Provider) keepAll(found []export) ([]compute.Image, error) {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	var fresh int64
	seen := make(map[string]bool)
	for _, f := range found {
		if !seen[f.artifact.digest] && p.space.images.byID[f.artifact.digest] == nil {
			seen[f.artifact.digest] = true
			fresh += f.artifact.size
		}
	}
	if err := p.backend.store(fresh); err != nil {
		return nil, err
	}
	p.backend.unstore(fresh)
	var kept []named
	for _, f := range found {
		img, err := p.space.keep(f.artifact, f.name)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(kept, func(n named) bool { return n.image == img }) {
			kept = append(kept, named{img, f.name})
		}
	}
	infos := make([]compute.Image, len(kept))
	for n, img := range kept {
		infos[n] = img.infoAs(img.name)
	}
	return infos, nil
}

// importer reads for as long as its context lasts. What it reads is hostile.
type importer struct {
	ctx  context.Context
	r    *callerStream
	opts compute.ImportOptions
	n    int64
	// files are the archive's, by their clean names.
	files map[string][]byte
}

// Read reads the archive.
func (in *importer) Read(b []byte) (int, error) {
	n, err := in.r.Read(b)
	if in.n += int64(n); in.n > maxUnpacked {
		return n, errTooLarge
	}
	return n, err
}

// read returns the images of the stream, with their names.
func (in *importer) read(format compute.ImageFormat) ([]export, error) {
	switch format {
	case compute.RawDisk, compute.QCOW2:
		data, err := io.ReadAll(in)
		if err != nil {
			return nil, in.broken(err)
		}
		a := Image{Disk: data}.buildDisk()
		a.format = format
		return []export{{fullName(in.opts.Name), a}}, nil
	}
	if err := in.unpack(); err != nil {
		return nil, err
	}
	if format == compute.DockerArchive {
		return in.docker()
	}
	return in.oci()
}

// broken is the error of a stream that ended too early, or whose reader failed.
func (in *importer) broken(err error) error {
	var e *resource.Error
	switch {
	case errors.As(err, &e), in.ctx.Err() != nil && errors.Is(err, in.ctx.Err()):
		return err
	case errors.Is(err, errTooLarge):
		return malformed("the archive %w", err)
	}
	return malformed("the archive: %w", err)
}

// unpack reads the archive into memory: names that lead anywhere else are the
// names of nothing.
func (in *importer) unpack() error {
	in.files = make(map[string][]byte)
	links := make(map[string]string)
	r := tar.NewReader(in)
	// The archive's own length does not bound what is in it: files with holes are
	// as large as they say.
	left := int64(maxUnpacked)
	for {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return in.broken(err)
		}
		name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
		switch h.Typeflag {
		case tar.TypeReg:
			if h.Size > left {
				return in.broken(errTooLarge)
			}
			left -= h.Size
			data, err := io.ReadAll(r)
			if err != nil {
				return in.broken(err)
			}
			in.files[name] = data
		case tar.TypeSymlink:
			// Old archives of docker name a layer that occurs twice by a link.
			links[name] = strings.TrimPrefix(path.Clean("/"+path.Join(path.Dir(name), h.Linkname)), "/")
		case tar.TypeLink:
			links[name] = strings.TrimPrefix(path.Clean("/"+h.Linkname), "/")
		}
	}
	for name, to := range links {
		if data, ok := in.files[to]; ok && in.files[name] == nil {
			in.files[name] = data
		}
	}
	return nil
}

// named completes the names of an image of an archive that holds so many.
func (in *importer) named(names []string, count int) ([]string, error) {
	if in.opts.Name != "" {
		if count > 1 {
			return nil, resource.Faults{{Field: "name", Reason: fmt.Sprintf("must be empty: the archive holds %d images", count)}}
		}
		return []string{fullName(in.opts.Name)}, nil
	}
	if len(names) == 0 {
		return nil, resource.Faults{{Field: "name", Reason: "is required: the archive does not name the image"}}
	}
	out := make([]string, len(names))
	for n, name := range names {
		ref, err := compute.ParseImageReference(name)
		if err != nil {
			return nil, malformed("the archive names an image %q: %w", name, err)
		}
		out[n] = ref.String()
	}
	return out, nil
}

// oci reads an OCI image layout.
func (in *importer) oci() ([]export, error) {
	text, ok := in.files["index.json"]
	if !ok {
		return nil, malformed("the archive has no index.json")
	}
	var list index
	if err := readDocument(text, &list); err != nil {
		return nil, malformed("index.json: %w", err)
	}
	if len(list.Manifests) == 0 {
		return nil, malformed("index.json lists no image")
	}
	var out []export
	for _, d := range list.Manifests {
		a, err := in.resolve(d, 0)
		if err != nil {
			return nil, err
		}
		var names []string
		for _, annotation := range []string{annotationName, annotationRef} {
			if name := d.Annotations[annotation]; name != "" && len(names) == 0 {
				names = append(names, name)
			}
		}
		names, err = in.named(names, len(list.Manifests))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out = append(out, export{name, a})
		}
	}
	return out, nil
}

// resolve finds the image of a descriptor: its own, or that of an index for the
// platform that is wanted.
func (in *importer) resolve(d descriptor, depth int) (*artifact, error) {
	find := func(digest string) ([]byte, bool) {
		data, ok := in.files[blobPath(digest)]
		return data, ok
	}
	if !isDigest(d.Digest) {
		return nil, malformed("a manifest has no proper digest: %q", d.Digest)
	}
	text, ok := find(d.Digest)
	switch {
	case !ok:
		return nil, resource.Errorf(errdefs.ErrDataLoss, "manifest %s is missing", d.Digest)
	case digestOf(text) != d.Digest:
		return nil, resource.Errorf(errdefs.ErrDataLoss, "manifest %s is corrupt", d.Digest)
	case d.MediaType != mediaIndex && d.MediaType != mediaDockerIndex:
		a, err := assemble(text, find)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(acceptable(in.opts.Platform), func(want compute.Platform) bool { return fits(a.platform, want) }) {
			return nil, wrongPlatform(in.opts.Platform, []string{a.platform.String()})
		}
		return a, nil
	case depth > 2:
		return nil, malformed("indexes lie too deep within each other")
	}
	var list index
	if err := readDocument(text, &list); err != nil {
		return nil, malformed("index %s: %w", d.Digest, err)
	}
	var there []string
	for _, want := range acceptable(in.opts.Platform) {
		for _, inner := range list.Manifests {
			if inner.Platform == nil || fits(*inner.Platform, want) {
				return in.resolve(inner, depth+1)
			}
			there = append(there, inner.Platform.String())
		}
	}
	if len(there) == 0 {
		return nil, malformed("index %s lists no image", d.Digest)
	}
	return nil, wrongPlatform(in.opts.Platform, there)
}

// docker reads what "docker save" writes. Such an archive has no manifest, so one
// is made: the image's digest is this one's.
func (in *importer) docker() ([]export, error) {
	text, ok := in.files["manifest.json"]
	if !ok {
		return nil, malformed("the archive has no manifest.json")
	}
	var entries []dockerEntry
	if err := readDocument(text, &entries); err != nil {
		return nil, malformed("manifest.json: %w", err)
	}
	if len(entries) == 0 {
		return nil, malformed("manifest.json lists no image")
	}
	var out []export
	for _, entry := range entries {
		a, err := in.dockerImage(entry)
		if err != nil {
			return nil, err
		}
		names, err := in.named(entry.RepoTags, len(entries))
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			out = append(out, export{name, a})
		}
	}
	return out, nil
}

func (in *importer) dockerImage(entry dockerEntry) (*artifact, error) {
	blobs := make(map[string][]byte)
	add := func(name, mediaType string) (descriptor, error) {
		data, ok := in.files[strings.TrimPrefix(path.Clean("/"+name), "/")]
		if !ok {
			return descriptor{}, resource.Errorf(errdefs.ErrDataLoss, "the archive has no %q", name)
		}
		b := blobOf(mediaType, data)
		blobs[b.digest] = data
		return b.descriptor(), nil
	}
	config, err := add(entry.Config, mediaConfig)
	if err != nil {
		return nil, err
	}
	m := manifest{SchemaVersion: 2, MediaType: mediaManifest, Config: config, Layers: []descriptor{}}
	for _, name := range entry.Layers {
		d, err := add(name, mediaLayer)
		if err != nil {
			return nil, err
		}
		m.Layers = append(m.Layers, d)
	}
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	a, err := assemble(text, func(digest string) ([]byte, bool) {
		data, ok := blobs[digest]
		return data, ok
	})
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(acceptable(in.opts.Platform), func(want compute.Platform) bool { return fits(a.platform, want) }) {
		return nil, wrongPlatform(in.opts.Platform, []string{a.platform.String()})
	}
	return a, nil
}
