package containerd

import (
	"context"
	"slices"

	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Pull brings an image and unpacks it. The registry is asked what the name means
// now, unless the name has the digest of what is there; where the image is there,
// it is asked for nothing else. The Verify hook is asked either way, once
// platform and configuration are known to be fit and before any layer is fetched.
//
// The layers of one image are fetched and unpacked once, however many pulls of
// this provider value want them; other processes share what is complete.
func (s *imageStore) Pull(ctx context.Context, ref string, opts compute.PullOptions) (compute.Image, error) {
	out, err := s.pull(ctx, ref, opts)
	if err != nil {
		return compute.Image{}, resource.Fail("pull", s.ref(ref, ""), err)
	}
	return s.describe(out.name, out.same, out.content), nil
}

// pulled is the outcome of a pull. Same are the records of the same ID.
type pulled struct {
	name    string
	record  images.Image
	same    []images.Image
	content *imageContent
}

func (s *imageStore) pull(ctx context.Context, text string, opts compute.PullOptions) (out pulled, err error) {
	ctx, free, done, err := s.p.beginWith(ctx)
	if err != nil {
		return out, err
	}
	defer done()
	parsed, err := compute.ParseImageReference(text)
	faults := append(resource.FaultsOf(err), opts.Validate()...)
	platform, unfit := choosePlatform(opts.Platform)
	if len(opts.Platform.Validate()) == 0 {
		faults = append(faults, unfit...)
	}
	if err := faults.Err(); err != nil {
		return out, err
	}
	out.name = parsed.String()
	progress := newProgress(opts.Progress, "pull", s.ref(out.name, ""), phaseResolving)
	defer func() { free(); progress.finish(err) }()

	from := s.registry(ctx, parsed, opts, progress)
	target, err := s.meant(ctx, parsed, from)
	if err != nil {
		return out, translate(ctx, err)
	}
	progress.ref(s.ref(out.name, target.Digest.String()))
	out.record = images.Image{Name: out.name, Target: target}
	i := &install{store: s, source: from, platform: platform, verify: opts.Verify, progress: progress, fetching: phaseDownloading}
	out.same, out.content, err = s.complete(ctx, out.record, platform)
	switch {
	case err != nil:
		return out, translate(ctx, err)
	case out.content != nil:
		if err := i.check(ctx, named{out.name, target}); err != nil {
			return out, translate(ctx, err)
		}
		progress.layers(out.content.manifest.layers)
		for _, layer := range out.content.manifest.layers {
			progress.layer(layer.Digest, phaseExists)
		}
		return out, nil
	}
	err = s.underLease(ctx, keep, func(ctx context.Context) error {
		if out.content, err = i.run(ctx, named{out.name, target}); err != nil {
			return err
		}
		return s.name(ctx, []named{{out.name, target}})
	})
	if err != nil {
		return out, translate(ctx, err)
	}
	if platform.host {
		s.cache.put(target.Digest, out.content)
	}
	out.same = append(out.same, out.record)
	return out, nil
}

// meant returns what a name means now. One with a digest cannot come to mean
// anything else, so that no registry need be asked where the image is here.
func (s *imageStore) meant(ctx context.Context, ref compute.ImageReference, from *registry) (ocispec.Descriptor, error) {
	if ref.Digest != "" {
		record, err := s.records().Get(ctx, ref.String())
		if err == nil && record.Target.Digest.String() == ref.Digest {
			return bare("image", record.Target)
		}
	}
	return from.resolve(ctx)
}

// complete finds out whether an image is here, under that name, for that
// platform and unpacked: then it returns its content. It takes two calls where
// the image was read before.
func (s *imageStore) complete(ctx context.Context, record images.Image, platform platform) ([]images.Image, *imageContent, error) {
	same, err := s.sameTarget(ctx, record.Target.Digest)
	if err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(same, func(r images.Image) bool { return r.Name == record.Name }) {
		return same, nil, nil
	}
	found, err := s.storedFor(ctx, record.Target, platform)
	switch {
	case errdefs.IsNotFound(err):
		return same, nil, nil
	case err != nil:
		return nil, nil, err
	case found.chainID() == "":
		return same, found, nil
	}
	_, err = s.p.client.SnapshotService(s.p.snapshotter).Stat(ctx, found.chainID())
	switch {
	case errdefs.IsNotFound(err):
		return same, nil, nil
	case err != nil:
		return nil, nil, err
	}
	return same, found, nil
}
