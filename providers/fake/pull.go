package fake

import (
	"context"
	"errors"
	"runtime"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Pull brings an image from the registry.
func (s images) Pull(ctx context.Context, ref string, opts compute.PullOptions) (compute.Image, error) {
	img, err := s.p.pull(ctx, ref, opts)
	if err != nil {
		return compute.Image{}, s.fail(OpPull, ref, err)
	}
	s.p.backend.mu.Lock()
	defer s.p.backend.mu.Unlock()
	return img.infoAs(fullName(ref)), nil
}

func (p *Provider) pull(ctx context.Context, name string, opts compute.PullOptions) (*image, error) {
	if err := p.offered(ctx, OpPull); err != nil {
		return nil, err
	}
	ref, err := compute.ParseImageReference(name)
	if err := append(resource.FaultsOf(err), opts.Validate()...).Err(); err != nil {
		return nil, err
	}
	report := newReporter("pull", p.ref(resource.KindImage, ref.String(), ""), p.told(opts.Progress))
	report.phase("resolving")
	c, err := p.reach(ctx, OpPull, target{ref: p.ref(resource.KindImage, ref.String(), ref.Digest)})
	if err != nil {
		return nil, err
	}
	found, err := p.backend.registry.resolve(ctx, ref, opts)
	if err != nil {
		return nil, err
	}
	if opts.Verify != nil {
		report.phase("verifying")
		if err := refusal(errdefs.ErrPermissionDenied, opts.Verify(ctx, ref.String(), found.digest)); err != nil {
			return nil, err
		}
	}
	img, err := p.bring(ctx, ref.String(), found, report)
	if err := c.done(err); err != nil {
		return nil, err
	}
	report.phase("done")
	return img, nil
}

// bring downloads the content of an image, unless it is there. Whoever wants the
// same content meanwhile waits, and then finds it there or brings it instead.
func (p *Provider) bring(ctx context.Context, name string, content *artifact, report *reporter) (*image, error) {
	b := p.backend
	d := p.want(content.digest)
	defer p.unwant(content.digest, d)
	if err := p.take(ctx, &d.turn); err != nil {
		return nil, err
	}
	defer p.leave(&d.turn)
	b.mu.Lock()
	_, there := p.space.images.byID[content.digest]
	b.mu.Unlock()
	report.layers(content, there)
	if err := p.open(ctx); err != nil {
		return nil, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	img, err := p.space.keep(content, name)
	if err == nil && !there {
		b.registry.served(content.digest)
	}
	return img, err
}

// download is the right to bring the content of an image, and how many want it.
type download struct {
	turn   turn
	wanted int
}

// want returns the download of some content for one more that wants it. The
// backend is not locked.
func (p *Provider) want(digest string) *download {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	s := &p.space.images
	if s.downloads == nil {
		s.downloads = make(map[string]*download)
	}
	d := s.downloads[digest]
	if d == nil {
		d = &download{}
		s.downloads[digest] = d
	}
	d.wanted++
	return d
}

// unwant is the undo of want.
func (p *Provider) unwant(digest string, d *download) {
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	if d.wanted--; d.wanted == 0 {
		delete(p.space.images.downloads, digest)
	}
}

// refusal gives a caller's error without a kind of its own one.
func refusal(kind, err error) error {
	if err == nil || resource.KindOf(err) != nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &resource.Error{Kind: kind, Err: err}
}

// acceptable lists the platforms that serve where one is asked for, the best
// first. The zero value also takes what is for this machine: an archive that a
// test has just made need not be for the fake's own platform.
func acceptable(wanted compute.Platform) []compute.Platform {
	if wanted != (compute.Platform{}) {
		return []compute.Platform{wanted}
	}
	return []compute.Platform{ownPlatform, {OS: "linux", Architecture: runtime.GOARCH}}
}

// fits reports whether an image for one platform serves where another is wanted:
// what is not said does not matter.
func fits(have, want compute.Platform) bool {
	return (want.OS == "" || have.OS == want.OS) &&
		(want.Architecture == "" || have.Architecture == want.Architecture) &&
		(want.Variant == "" || have.Variant == want.Variant)
}
