package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/containerd/v2/core/remotes/docker"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/callbacks"
	"github.com/univirt/univirt/resource"
)

const (
	dockerHub     = "docker.io"
	dockerHubHost = "registry-1.docker.io"
)

// registry is the source of one pull. Its errors have the kinds of the API where
// the registry is to blame, and are otherwise the daemon's.
type registry struct {
	store    *imageStore
	ref      compute.ImageReference
	resolver remotes.Resolver
	trips    *roundTrips
	progress *progress

	mu sync.Mutex
	// credentials is the error of the caller's callback.
	credentials error
}

var _ source = (*registry)(nil)

func (s *imageStore) registry(ctx context.Context, ref compute.ImageReference, opts compute.PullOptions, progress *progress) *registry {
	r := &registry{store: s, ref: ref, trips: &roundTrips{base: s.http}, progress: progress}
	httpClient := &http.Client{Transport: r.trips}
	auth := []docker.AuthorizerOpt{docker.WithAuthClient(httpClient)}
	if opts.Credentials != nil {
		auth = append(auth, docker.WithAuthCreds(func(host string) (string, string, error) {
			return r.askCredentials(ctx, host, opts)
		}))
	}
	authorizer := docker.NewDockerAuthorizer(auth...)
	r.resolver = docker.NewResolver(docker.ResolverOptions{
		Headers: http.Header{"User-Agent": {"univirt"}},
		Hosts: func(asked string) ([]docker.RegistryHost, error) {
			var hosts []docker.RegistryHost
			for _, name := range append(slices.Clone(opts.Mirrors[asked]), asked) {
				host := docker.RegistryHost{
					Client:       httpClient,
					Authorizer:   authorizer,
					Host:         name,
					Scheme:       "https",
					Path:         "/v2",
					Capabilities: docker.HostCapabilityPull | docker.HostCapabilityResolve,
				}
				if name == dockerHub {
					host.Host = dockerHubHost
				}
				if isLoopback(name) || slices.Contains(opts.PlainHTTP, name) {
					host.Scheme = "http"
				}
				hosts = append(hosts, host)
			}
			return hosts, nil
		},
	})
	return r
}

// askCredentials asks the caller's callback, by the name that references have
// for the registry.
func (r *registry) askCredentials(ctx context.Context, host string, opts compute.PullOptions) (string, string, error) {
	if host == dockerHubHost {
		host = dockerHub
	}
	type answer struct {
		user     string
		password resource.Secret
	}
	given, err := callbacks.Run(r.store.p.alive, func() (a answer, err error) {
		a.user, a.password, err = opts.Credentials(ctx, host)
		return a, err
	})
	if err != nil {
		kind := resource.KindOf(err)
		if kind == nil {
			kind = errdefs.ErrUnauthenticated
		}
		if ctx.Err() == nil {
			err = &resource.Error{Kind: kind, Err: fmt.Errorf("credentials for %s: %w", host, err)}
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		r.credentials = err
	}
	return given.user, given.password.Reveal(), err
}

// fault gives an error of the registry's client its kind.
func (r *registry) fault(err error) error {
	if err == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.credentials != nil {
		return r.credentials
	}
	return registryFault(err)
}

// resolve asks what the reference means now.
func (r *registry) resolve(ctx context.Context) (ocispec.Descriptor, error) {
	_, desc, err := r.resolver.Resolve(ctx, r.ref.String())
	if err != nil {
		return ocispec.Descriptor{}, r.fault(err)
	}
	return bare("image", desc)
}

// document fetches into the store and reads it from there: what is there is
// known to have its digest.
func (r *registry) document(ctx context.Context, desc ocispec.Descriptor) ([]byte, error) {
	key := "document " + desc.Digest.String()
	if err := r.store.locks.Lock(ctx, key); err != nil {
		return nil, err
	}
	err := r.fetch(ctx, desc)
	r.store.locks.Unlock(key)
	if err != nil && !errdefs.IsAlreadyExists(err) {
		return nil, err
	}
	return r.store.readStored(ctx, desc)
}

func (r *registry) layer(ctx context.Context, desc ocispec.Descriptor) error {
	err := r.fetch(ctx, desc)
	if errdefs.IsAlreadyExists(err) {
		r.progress.layer(desc.Digest, phaseExists)
		return nil
	}
	return err
}

// fetch brings content into the store; AlreadyExists where it is there. What an
// earlier attempt left off is gone on with, and thrown away where the whole
// turns out to be wrong.
func (r *registry) fetch(ctx context.Context, desc ocispec.Descriptor) error {
	fetcher, err := r.resolver.Fetcher(ctx, r.ref.String())
	if err != nil {
		return r.fault(err)
	}
	for {
		d := &download{registry: r, fetcher: fetcher}
		err := plain(revealed(remotes.Fetch(ctx, r.store.ingester(), d, desc)))
		var own *resource.Error
		if !errdefs.IsFailedPrecondition(err) || errors.As(err, &own) {
			return err
		}
		// The daemon refuses to commit what has not the digest.
		key := remotes.MakeRefKey(ctx, desc)
		if abortErr := r.store.blobs().Abort(ctx, key); abortErr != nil && !errdefs.IsNotFound(abortErr) {
			return abortErr
		}
		if d.whole {
			return malformed("%s: what the registry sent is something else", desc.Digest)
		}
	}
}

// download is a fetcher for one attempt at one piece of content.
type download struct {
	registry *registry
	fetcher  remotes.Fetcher
	// whole says that all of it came in this attempt.
	whole bool
}

func (d *download) Fetch(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	rc, err := d.fetcher.Fetch(ctx, desc)
	if err != nil {
		return nil, d.registry.fault(err)
	}
	d.whole = true
	return &body{download: d, rc: rc, desc: desc}, nil
}

// body is the content as it comes in.
type body struct {
	download *download
	rc       io.ReadCloser
	desc     ocispec.Descriptor
	offset   int64
}

// Read gives the registry's errors their kinds. The client would take an end
// that comes too early for a reason to keep what there is, in silence.
func (b *body) Read(p []byte) (int, error) {
	n, err := b.rc.Read(p)
	b.offset += int64(n)
	r := b.download.registry
	if n > 0 {
		r.progress.received(b.desc.Digest, b.offset)
	}
	switch {
	case err == nil, err == io.EOF && b.offset == b.desc.Size:
		return n, err
	case err == io.EOF || errors.Is(err, io.ErrUnexpectedEOF):
		if failed := r.trips.failure(); failed != nil {
			return n, r.fault(failed)
		}
		return n, malformed("%s ends after %d of %d bytes", b.desc.Digest, b.offset, b.desc.Size)
	}
	err = r.fault(err)
	if errdefs.IsNotFound(err) || errdefs.IsFailedPrecondition(err) {
		// Its manifest is there: that it is missing, or larger than the manifest
		// says, makes no other image of it.
		err = malformed("%s: %w", b.desc.Digest, withoutKind{err})
	}
	return n, err
}

// Seek is how the client goes on with what was left off.
func (b *body) Seek(offset int64, whence int) (int64, error) {
	seeker, ok := b.rc.(io.Seeker)
	if !ok {
		return 0, errors.ErrUnsupported
	}
	n, err := seeker.Seek(offset, whence)
	if err == nil {
		b.offset = n
		b.download.whole = n == 0
	}
	return n, err
}

func (b *body) Close() error { return b.rc.Close() }

// roundTrips notes how the last request ended, because the client does not tell
// why it could not go on with a connection that broke.
type roundTrips struct {
	base http.RoundTripper

	mu   sync.Mutex
	last error
}

func (t *roundTrips) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := t.base.RoundTrip(req)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = err
	return resp, err
}

func (t *roundTrips) failure() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

// isLoopback reports whether a registry is on this machine.
func isLoopback(registry string) bool {
	host := registry
	if h, _, err := net.SplitHostPort(registry); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}
