package containerd

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	ociarchive "github.com/containerd/containerd/v2/core/images/archive"
	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Export writes an archive of images. An image that is given by name has that
// name in it, one that is given by ID all its names. All images are found, and
// found complete, before anything is written. Without a platform, what is there
// for other platforms than the host's is written too.
//
// A Docker archive is an OCI archive with the list that Docker reads. Where the
// context ends in the middle of a call of w, that call is not waited for.
func (s *imageStore) Export(ctx context.Context, w io.Writer, names []string, opts compute.ExportOptions) error {
	asked := s.ref("", "")
	if len(names) == 1 {
		asked = s.asked(names[0])
	}
	return resource.Fail("export", asked, s.export(ctx, w, names, opts))
}

func (s *imageStore) export(ctx context.Context, w io.Writer, names []string, opts compute.ExportOptions) (err error) {
	ctx, free, done, err := s.p.beginWith(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := checkExport(w, names, opts); err != nil {
		return err
	}
	platform, faults := choosePlatform(opts.Platform)
	if err := faults.Err(); err != nil {
		return err
	}
	progress := newProgress(opts.Progress, "export", s.ref("", ""), phaseResolving)
	defer func() { free(); progress.finish(err) }()

	var how []ociarchive.ExportOpt
	if opts.Format != compute.DockerArchive {
		how = append(how, ociarchive.WithSkipDockerManifest())
	}
	var total int64
	here := []ocispec.Platform{platforms.DefaultSpec()}
	for n, nameOrID := range names {
		target, found, names, err := s.exported(ctx, nameOrID, platform)
		if err != nil {
			return atField(fmt.Sprintf("names[%d]", n), translate(ctx, err))
		}
		total = saturate(total, found.size())
		here = append(here, found.platform)
		how = append(how, ociarchive.WithManifest(target, names...))
	}
	if platform.host {
		// The platform only decides what Docker's list names.
		platform.MatchComparer = platforms.Ordered(here...)
		how = append(how, ociarchive.WithAllPlatforms(), ociarchive.WithSkipMissing(boundedStore{s.blobs()}))
	}
	how = append(how, ociarchive.WithPlatform(platform.MatchComparer))
	progress.phase(phaseCopying)
	stream, finish := writeTo(ctx, w)
	out := &countedWriter{w: stream, total: total, progress: progress}
	err = ociarchive.Export(ctx, boundedStore{s.blobs()}, out, how...)
	if err == nil {
		// The end of the archive is written by a call whose error is dropped.
		err = out.err
	}
	free()
	if finishErr := finish(); err == nil || finishErr != nil {
		err = finishErr
	}
	return translate(ctx, err)
}

// exported finds an image, and that what is asked of it is there.
func (s *imageStore) exported(ctx context.Context, nameOrID string, platform platform) (ocispec.Descriptor, *imageContent, []string, error) {
	name, record, err := s.find(ctx, nameOrID)
	if err != nil {
		return ocispec.Descriptor{}, nil, nil, err
	}
	var found *imageContent
	if platform.host {
		found, err = s.shown(ctx, record.Target)
	} else if found, err = s.storedFor(ctx, record.Target, platform); errdefs.IsNotFound(err) {
		err = unusable("is not here for the platform: %w", withoutKind{err})
	}
	if err != nil {
		return ocispec.Descriptor{}, nil, nil, err
	}
	for _, layer := range found.manifest.layers {
		if _, err := s.blobs().Info(ctx, layer.Digest); errdefs.IsNotFound(err) {
			return ocispec.Descriptor{}, nil, nil, unusable("layer %s is not there any more", layer.Digest)
		} else if err != nil {
			return ocispec.Descriptor{}, nil, nil, err
		}
	}
	names := []string{name}
	if isImageID(nameOrID) {
		same, err := s.sameTarget(ctx, record.Target.Digest)
		if err != nil {
			return ocispec.Descriptor{}, nil, nil, err
		}
		names = names[:0]
		for _, record := range same {
			names = append(names, record.Name)
		}
	}
	return record.Target, found, names, nil
}

func checkExport(w io.Writer, names []string, opts compute.ExportOptions) error {
	faults := opts.Validate()
	if w == nil {
		faults.Add("w", "is required")
	}
	if len(names) == 0 {
		faults.Add("names", "must not be empty")
	}
	for n, name := range names {
		if reason := compute.CheckImageReference(name); reason != "" {
			faults.Add(fmt.Sprintf("names[%d]", n), "%s", reason)
		}
	}
	if err := faults.Err(); err != nil {
		return err
	}
	if opts.Format == compute.QCOW2 || opts.Format == compute.RawDisk {
		unsupported := resource.Unsupported("exporting "+string(opts.Format), "containers have no disk images")
		unsupported.Field = "format"
		return unsupported
	}
	return nil
}

// boundedStore refuses to read documents that are larger than any image needs:
// what lies in an archive for other platforms was never looked into.
type boundedStore struct{ content.Store }

func (b boundedStore) ReaderAt(ctx context.Context, desc ocispec.Descriptor) (content.ReaderAt, error) {
	ra, err := b.Store.ReaderAt(ctx, desc)
	if err != nil {
		return nil, err
	}
	if (images.IsManifestType(desc.MediaType) || images.IsIndexType(desc.MediaType)) && ra.Size() > maxDocument {
		ra.Close()
		return nil, malformed("%s has %d bytes; at most %d are read", desc.Digest, ra.Size(), maxDocument)
	}
	return ra, nil
}

// countedWriter reports how much has been written and keeps the first error.
type countedWriter struct {
	w           io.Writer
	done, total int64
	progress    *progress
	err         error
}

func (c *countedWriter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	if c.err == nil {
		c.err = err
	}
	c.done += int64(n)
	c.progress.bytes(c.done, max(c.total, c.done))
	return n, err
}
