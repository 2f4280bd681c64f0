package containerd

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/images"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// imageStore is the images of a containerd namespace, all of which are ours.
//
// The name of an image is the name of containerd's record, in full as
// compute.ImageReference prints it; its ID is the digest that the record points
// to, of an index or of a manifest.
type imageStore struct {
	p     *Provider
	cache contentCache
	locks keyLocks
	http  *http.Transport
}

var _ compute.Images = (*imageStore)(nil)

func newImages(p *Provider) *imageStore {
	transport := docker.DefaultHTTPTransport(nil)
	transport.MaxIdleConnsPerHost = parallelDownloads
	return &imageStore{p: p, http: transport}
}

// close ends the connections to registries that are kept for the next pull.
func (s *imageStore) close() { s.http.CloseIdleConnections() }

func (s *imageStore) blobs() content.Store  { return s.p.client.ContentStore() }
func (s *imageStore) records() images.Store { return s.p.client.ImageService() }

func (s *imageStore) ref(name, id string) resource.Ref {
	return s.p.ref(resource.KindImage, name, id)
}

// Get returns the image of a name in any of its forms, or of an ID. A name with
// a digest also finds an image of that digest whose name has a tag.
func (s *imageStore) Get(ctx context.Context, nameOrID string) (compute.Image, error) {
	image, err := s.get(ctx, nameOrID)
	if err != nil {
		return compute.Image{}, resource.Fail("get", s.asked(nameOrID), err)
	}
	return image, nil
}

func (s *imageStore) get(ctx context.Context, nameOrID string) (compute.Image, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return compute.Image{}, err
	}
	defer done()
	name, record, err := s.find(ctx, nameOrID)
	if err != nil {
		return compute.Image{}, translate(ctx, err)
	}
	same, err := s.sameTarget(ctx, record.Target.Digest)
	if err != nil {
		return compute.Image{}, translate(ctx, err)
	}
	found, err := s.shown(ctx, record.Target)
	if err != nil {
		return compute.Image{}, translate(ctx, err)
	}
	return s.describe(name, append(same, record), found), nil
}

// asked is the reference of what a caller asked for by name or ID.
func (s *imageStore) asked(nameOrID string) resource.Ref {
	if isImageID(nameOrID) {
		return s.ref("", nameOrID)
	}
	return s.ref(nameOrID, "")
}

func isImageID(s string) bool {
	_, err := digest.Parse(s)
	return err == nil
}

// find returns containerd's record of an image, and the name under which it was
// found: one of its names where it was asked for by ID.
func (s *imageStore) find(ctx context.Context, nameOrID string) (string, images.Image, error) {
	if isImageID(nameOrID) {
		same, err := s.sameTarget(ctx, digest.Digest(nameOrID))
		if err == nil && len(same) == 0 {
			err = resource.Errorf(errdefs.ErrNotFound, "there is no such image")
		}
		if err != nil {
			return "", images.Image{}, err
		}
		return same[0].Name, same[0], nil
	}
	if reason := compute.CheckImageReference(nameOrID); reason != "" {
		return "", images.Image{}, resource.Faults{{Field: "nameOrID", Reason: reason}}
	}
	parsed, err := compute.ParseImageReference(nameOrID)
	if err != nil {
		return "", images.Image{}, err
	}
	name := parsed.String()
	record, err := s.records().Get(ctx, name)
	switch {
	case err == nil && (parsed.Digest == "" || parsed.Digest == record.Target.Digest.String()):
		return name, record, nil
	case err != nil && !errdefs.IsNotFound(err):
		return "", images.Image{}, err
	}
	if parsed.Digest != "" {
		same, err := s.sameTarget(ctx, digest.Digest(parsed.Digest))
		if err != nil {
			return "", images.Image{}, err
		}
		for _, record := range same {
			r, err := compute.ParseImageReference(record.Name)
			if err == nil && r.Registry == parsed.Registry && r.Repository == parsed.Repository {
				return record.Name, record, nil
			}
		}
	}
	return "", images.Image{}, resource.Errorf(errdefs.ErrNotFound, "there is no such image")
}

// sameTarget returns all records of an ID, sorted by name.
func (s *imageStore) sameTarget(ctx context.Context, id digest.Digest) ([]images.Image, error) {
	same, err := s.records().List(ctx, byTarget(id))
	slices.SortFunc(same, func(a, b images.Image) int { return strings.Compare(a.Name, b.Name) })
	return same, err
}

// byTarget is a filter of containerd.
func byTarget(id digest.Digest) string { return "target.digest==" + strconv.Quote(id.String()) }

// List yields the images that match, in the order of their IDs. Configurations
// that were read before are not read again. An image whose content is damaged is
// yielded with its names and no more, so that it can be deleted.
func (s *imageStore) List(ctx context.Context, filter compute.ImageFilter) iter.Seq2[compute.Image, error] {
	return func(yield func(compute.Image, error) bool) {
		all, err := s.list(ctx, filter)
		if err != nil {
			yield(compute.Image{}, resource.Fail("list", s.ref("", ""), err))
			return
		}
		for _, image := range all {
			if !yield(image, nil) {
				return
			}
		}
	}
}

// parallelReads bounds how many images are read at once.
const parallelReads = 8

func (s *imageStore) list(ctx context.Context, filter compute.ImageFilter) ([]compute.Image, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var filters []string
	for _, id := range filter.IDs {
		filters = append(filters, byTarget(digest.Digest(id)))
	}
	records, err := s.records().List(ctx, filters...)
	if err != nil {
		return nil, translate(ctx, err)
	}
	slices.SortFunc(records, func(a, b images.Image) int {
		return strings.Compare(a.Target.Digest.String()+a.Name, b.Target.Digest.String()+b.Name)
	})
	var wanted [][]images.Image
	for same := range chunkBy(records, func(r images.Image) digest.Digest { return r.Target.Digest }) {
		if filter.Matches(s.describe(same[0].Name, same, nil)) {
			wanted = append(wanted, same)
		}
	}
	out := make([]compute.Image, len(wanted))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(parallelReads)
	for i, same := range wanted {
		group.Go(func() error {
			found, err := s.shown(groupCtx, same[0].Target)
			if err != nil && !isDamage(err) {
				return err
			}
			out[i] = s.describe(same[0].Name, same, found)
			return nil
		})
	}
	return out, translate(ctx, group.Wait())
}

// isDamage tells the fault of one image from that of the daemon.
func isDamage(err error) bool {
	return errors.Is(err, errdefs.ErrNotFound) || errors.Is(err, errdefs.ErrDataLoss) || errors.Is(err, errdefs.ErrFailedPrecondition)
}

// chunkBy yields the runs of elements with the same key.
func chunkBy[T any, K comparable](all []T, key func(T) K) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(all) > 0 {
			n := 1
			for n < len(all) && key(all[n]) == key(all[0]) {
				n++
			}
			if !yield(all[:n:n]) {
				return
			}
			all = all[n:]
		}
	}
}

// stored returns what an image has for this host, from what was read before
// where it was.
func (s *imageStore) stored(ctx context.Context, target ocispec.Descriptor) (*imageContent, error) {
	if known := s.cache.get(target.Digest); known != nil {
		return known, nil
	}
	found, err := findContent(ctx, s.readStored, target, hostPlatform())
	if err == nil {
		s.cache.put(target.Digest, found)
	}
	return found, err
}

// storedFor returns what an image has for a platform.
func (s *imageStore) storedFor(ctx context.Context, target ocispec.Descriptor, platform platform) (*imageContent, error) {
	if platform.host {
		return s.stored(ctx, target)
	}
	return findContent(ctx, s.readStored, target, platform)
}

// shown returns what there is of an image, for another platform if need be. That
// is not kept: the host's own may come yet.
func (s *imageStore) shown(ctx context.Context, target ocispec.Descriptor) (*imageContent, error) {
	found, err := s.stored(ctx, target)
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		if other, otherErr := findAny(ctx, s.readStored, target); otherErr == nil {
			return other, nil
		}
	}
	if errdefs.IsNotFound(err) {
		err = malformed("content of the image is missing: %w", withoutKind{err})
	}
	return found, err
}

// describe makes the API's image of the records of one ID. What was not found
// stays empty.
func (s *imageStore) describe(name string, same []images.Image, found *imageContent) compute.Image {
	image := compute.Image{
		Ref:  s.ref(name, same[0].Target.Digest.String()),
		Form: compute.RootFS,
	}
	for _, record := range same {
		image.Names = append(image.Names, record.Name)
		for key, value := range record.Labels {
			if strings.HasPrefix(key, resource.ReservedPrefix) || resource.CheckLabelKey(key) != "" || resource.CheckLabelValue(value) != "" {
				continue
			}
			if image.Labels == nil {
				image.Labels = resource.Labels{}
			}
			image.Labels[key] = value
		}
	}
	slices.Sort(image.Names)
	image.Names = slices.Compact(image.Names)
	if found != nil {
		image.Platform = portable(found.platform)
		image.Config = found.run
		image.Size = found.size()
		image.Created = found.created
	}
	return image
}
