package fake

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// registry is where images are pulled from. Its own lock guards it.
type registry struct {
	mu sync.Mutex
	// open registries have an image for every reference.
	open bool
	// offers are the images by their names in full.
	offers map[string][]*offer
	// local are the images that every namespace has from its beginning on. They
	// are set once.
	local []localImage
	// downloads counts how often content was brought, by digest.
	downloads map[string]int
}

type localImage struct {
	name     string
	artifact *artifact
}

// load makes the content of the local images.
func (r *registry) load() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(r.offers)) {
		for _, o := range r.offers[name] {
			if !o.image.Local {
				continue
			}
			a, err := o.artifact()
			if err != nil {
				return err
			}
			r.local = append(r.local, localImage{name, a})
		}
	}
	return nil
}

// offer is an image that can be pulled. Its content is made when it is asked for.
type offer struct {
	image    Image
	artifact func() (*artifact, error)
}

func newOffer(i Image) *offer {
	return &offer{i, sync.OnceValues(func() (*artifact, error) {
		c, err := i.build()
		if err != nil {
			return nil, resource.Errorf(errdefs.ErrDataLoss, "%w", err)
		}
		return c, nil
	})}
}

// Push puts images into the registry: one that is there under the same name for
// the same platform is replaced, as where a tag is moved. Instances and images
// that exist do not change.
func (b *Backend) Push(images ...Image) error {
	for n, i := range images {
		var faults resource.Faults
		faults.Under(at("images", n), i.Validate())
		if err := faults.Err(); err != nil {
			return resource.Fail("push", resource.Ref{Provider: Scheme, Kind: resource.KindImage, Name: i.Name}, err)
		}
	}
	b.registry.push(images)
	return nil
}

func (r *registry) push(images []Image) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, i := range images {
		ref, err := compute.ParseImageReference(i.Name)
		if err != nil {
			continue
		}
		name := ref.String()
		if r.offers == nil {
			r.offers = make(map[string][]*offer)
		}
		offers := slices.DeleteFunc(slices.Clone(r.offers[name]), func(o *offer) bool {
			return o.image.platform() == i.platform()
		})
		r.offers[name] = append(offers, newOffer(i))
	}
}

// served counts a download.
func (r *registry) served(digest string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.downloads == nil {
		r.downloads = make(map[string]int)
	}
	r.downloads[digest]++
}

// Downloads returns how often the content of an image, named by its ID, was
// brought from the registry, into all namespaces together. A pull of what is there
// already brings nothing, and of pulls at the same time one does.
func (b *Backend) Downloads(id string) int {
	b.registry.mu.Lock()
	defer b.registry.mu.Unlock()
	return b.registry.downloads[id]
}

// find returns what lies under a reference. A mirror has only what was put there,
// also where the registry is open.
func (r *registry) find(ref compute.ImageReference, mirror bool) []*offer {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := ref
	name.Digest = ""
	if ref.Digest == "" || ref.Tag != "" {
		if offers := r.offers[name.String()]; len(offers) > 0 {
			return offers
		}
	}
	if ref.Digest != "" {
		// A digest may be that of any image of the repository.
		name.Tag = ""
		var all []*offer
		for _, full := range slices.Sorted(maps.Keys(r.offers)) {
			if strings.HasPrefix(full, name.String()+":") {
				all = append(all, r.offers[full]...)
			}
		}
		return all
	}
	if !r.open || mirror || isLoopback(name.Registry) {
		return nil
	}
	o := newOffer(Image{Name: name.String()})
	if r.offers == nil {
		r.offers = make(map[string][]*offer)
	}
	r.offers[name.String()] = []*offer{o}
	return r.offers[name.String()]
}

// resolve finds what a reference means: at the mirrors, in their order, or else at
// its own registry. One that has not got the image, does not answer or refuses the
// credentials is passed over. Where none is left the first error counts that says
// more than that there is no such image.
func (r *registry) resolve(ctx context.Context, ref compute.ImageReference, opts compute.PullOptions) (*artifact, error) {
	var first, last error
	for _, host := range append(slices.Clone(opts.Mirrors[ref.Registry]), ref.Registry) {
		at := ref
		at.Registry = host
		offers := r.find(at, host != ref.Registry)
		o, found, err := r.choose(at, offers, opts.Platform)
		if err == nil {
			err = o.reached(host, opts.PlainHTTP)
		}
		if err == nil && o.image.Allow != nil {
			var user string
			var password resource.Secret
			if opts.Credentials != nil {
				if user, password, err = opts.Credentials(ctx, host); err != nil {
					return nil, refusal(errdefs.ErrUnauthenticated, err)
				}
			}
			err = refusal(errdefs.ErrUnauthenticated, o.image.Allow(user, password))
		}
		switch {
		case err == nil:
			return found, nil
		case errdefs.IsFailedPrecondition(err), errdefs.IsDataLoss(err):
			// It is there, and is not what was asked for.
			return nil, err
		case first == nil && !errdefs.IsNotFound(err):
			first = err
		}
		last = err
	}
	return nil, cmp.Or(first, last)
}

// reached reports why the registry at an address did not answer.
func (o *offer) reached(host string, plain []string) error {
	if o.image.PlainHTTP && !isLoopback(host) && !slices.Contains(plain, host) {
		return &resource.Error{Kind: errdefs.ErrUnavailable, Field: "image",
			Err: fmt.Errorf("%s does not speak TLS, and is not listed in PullOptions.PlainHTTP", host)}
	}
	return nil
}

// choose picks one of the images of a reference for a platform.
func (r *registry) choose(ref compute.ImageReference, offers []*offer, platform compute.Platform) (*offer, *artifact, error) {
	if len(offers) == 0 {
		return nil, nil, r.unknown(ref)
	}
	var others []string
	for _, want := range acceptable(platform) {
		for _, o := range offers {
			c, err := o.artifact()
			if err != nil {
				return nil, nil, err
			}
			switch {
			case ref.Digest != "" && c.digest != ref.Digest:
			case fits(c.platform, want):
				return o, c, nil
			default:
				others = append(others, c.platform.String())
			}
		}
	}
	if len(others) == 0 {
		return nil, nil, r.unknown(ref)
	}
	return nil, nil, wrongPlatform(platform, others)
}

func wrongPlatform(wanted compute.Platform, there []string) error {
	if wanted == (compute.Platform{}) {
		wanted = ownPlatform
	}
	slices.Sort(there)
	return resource.Errorf(errdefs.ErrFailedPrecondition, "the image is for %s only, not for %s",
		strings.Join(slices.Compact(there), ", "), wanted)
}

// noImage says that a namespace has no such image.
func noImage(name string) error {
	return &resource.Error{Kind: errdefs.ErrNotFound, Field: "image", Err: fmt.Errorf("there is no %q", name)}
}

// unknown says why a registry has nothing under a reference. Nobody is there at an
// address of this machine: the fake has no sockets.
func (r *registry) unknown(ref compute.ImageReference) error {
	if isLoopback(ref.Registry) && !r.answers(ref.Registry) {
		return &resource.Error{Kind: errdefs.ErrUnavailable, Field: "image", Err: fmt.Errorf("%s does not answer: no image of Options.Images or Backend.Push lies there", ref.Registry)}
	}
	return &resource.Error{Kind: errdefs.ErrNotFound, Field: "image", Err: fmt.Errorf("the registry has no %q", ref)}
}

// answers reports whether an image lies at the registry's address.
func (r *registry) answers(host string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.offers {
		if strings.HasPrefix(name, host+"/") {
			return true
		}
	}
	return false
}

func isLoopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	ip, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return host == "localhost" || err == nil && ip.IsLoopback()
}
