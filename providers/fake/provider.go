package fake

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// Scheme is the provider's URL scheme. Its parameters are namespace, owner and
// seed: "fake:?namespace=test&seed=7".
const Scheme = "fake"

func init() { univirt.Register(Scheme, open) }

func open(_ context.Context, u *url.URL) (univirt.Provider, error) {
	opts, err := ParseURL(u)
	if err != nil {
		return nil, err
	}
	return New(opts), nil
}

// ParseURL returns the options that a URL of the scheme holds, for a program that
// adds what no URL can, such as its programs. The error is Faults.
func ParseURL(u *url.URL) (Options, error) {
	values, err := univirt.Parameters(u, "namespace", "owner", "seed")
	if err != nil {
		return Options{}, err
	}
	var f resource.Faults
	if u.Opaque != "" || u.Host != "" || u.User != nil || u.Path != "" || u.Scheme != Scheme {
		f.Add("url", "must be %q with optional parameters", Scheme+":")
	}
	opts := Options{Namespace: values["namespace"], Owner: values["owner"]}
	if text, ok := values["seed"]; ok {
		if opts.Seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			f.Add("url.query[seed]", "must be a number from 0 to 2^64-1")
		}
	}
	if reason := resource.CheckNamespace(values["namespace"]); values["namespace"] != "" {
		f.AddReason("url.query[namespace]", reason)
	}
	if err := f.Err(); err != nil {
		return Options{}, err
	}
	return opts, nil
}

// Provider is one value on a backend, as one process is.
type Provider struct {
	backend *Backend
	space   *space
	owner   *resource.Owner
	// others are networks of other values.
	others []network.Networks
	faults injections
	// ruled says that a fault may have to strike; it saves looking for one.
	ruled atomic.Bool
	// writers are the goroutines that write to what callers gave.
	writers crew
	// over is closed when the value is.
	over    chan struct{}
	ending  sync.Once
	crashed atomic.Bool
	// broken is what is wrong with the options, or nil.
	broken error
	// report is told of a fault that makes no sense, or nil.
	report func(error)
}

var _ univirt.Provider = (*Provider)(nil)

// errClosed is the bare error of every call after Close.
var errClosed = resource.Errorf(resource.ErrClosed, "the provider is closed")

// New makes a value, on a backend of its own unless the options name one. On
// options with faults the value answers every call with them.
func New(opts Options) *Provider {
	faults := opts.Validate()
	b := opts.Backend
	if b == nil {
		b = NewBackend(opts)
		b.implicit = true
	}
	opts = opts.withDefaults()
	if resource.CheckNamespace(opts.Namespace) != "" {
		opts.Namespace = defaultNamespace
	}
	p := &Provider{backend: b, others: opts.OtherNetworks, over: make(chan struct{}), broken: faults.Err()}
	if p.broken == nil {
		p.broken = b.broken
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	p.owner = &resource.Owner{Name: opts.Owner, Generation: b.newID("generation", opts.Namespace, opts.Owner)}
	p.space = b.space(opts.Namespace)
	if b.closed {
		p.ending.Do(func() { close(p.over) })
		return p
	}
	b.values[p] = struct{}{}
	return p
}

// Backend returns what the value stands on.
func (p *Provider) Backend() *Backend { return p.backend }

// Fail injects a fault into the calls of this value, and into what its watches
// see. A fault that makes no sense or can never strike is not injected; Injection.Err
// says why, and with Test the test fails.
func (p *Provider) Fail(f Fault) *Injection {
	p.ruled.Store(true)
	return p.backend.inject(&p.faults, f, p.report)
}

// watchful reports whether calls may be delayed or fail.
func (p *Provider) watchful() bool {
	return p.ruled.Load() || p.backend.ruled.Load() || len(p.backend.opts.Latency) > 0
}

// Instances returns the instances of the value's namespace.
func (p *Provider) Instances() compute.Instances { return instances{p} }

// Images returns the images of the value's namespace.
func (p *Provider) Images() compute.Images { return images{p} }

// Volumes returns the volumes of the value's namespace.
func (p *Provider) Volumes() storage.Volumes { return p.volumesAccessor() }

// Networks returns the networks of the value's namespace.
func (p *Provider) Networks() network.Networks { return p.networksAccessor() }

// open returns why no call may pass: the value is closed, its options have
// faults, or the context is done.
func (p *Provider) open(ctx context.Context) error {
	select {
	case <-p.over:
		return errClosed
	default:
	}
	if p.broken != nil {
		return p.broken
	}
	return ctx.Err()
}

// ref is what is known of a resource of this value's before it is looked up.
func (p *Provider) ref(kind resource.Kind, name, id string) resource.Ref {
	return resource.Ref{Provider: Scheme, Kind: kind, Namespace: p.space.name, Name: name, ID: id}
}

// asked is ref for what a caller gives as an ID or a name.
func (p *Provider) asked(kind resource.Kind, idOrName string) resource.Ref {
	if resource.IsID(idOrName) {
		return p.ref(kind, "", idOrName)
	}
	return p.ref(kind, idOrName, "")
}

// Crash ends the value as kill -9 ends a process: its generation is dead, its
// calls return resource.ErrClosed, its watches end, and nothing is cleaned up.
// Instances go on: they belong to the backend, also to one that New made, which
// then lives until Backend.Close.
func (p *Provider) Crash() {
	p.crashed.Store(true)
	p.backend.mu.Lock()
	p.backend.implicit = false
	p.backend.mu.Unlock()
	p.end(false)
}

// Close ends the value: its streams end, and the ephemeral resources that it made
// are deleted. A backend that New made is closed with its last value. Closing
// twice is nil.
//
// A Write of a caller's writer that is under way is waited for, so that nothing is
// written afterwards. Nobody can tell one that takes its time from one that will
// never return, so that is for a second at most.
func (p *Provider) Close() error {
	p.end(true)
	return nil
}

// end is Close and Crash.
func (p *Provider) end(tidy bool) {
	p.ending.Do(func() {
		b := p.backend
		close(p.over)
		if tidy {
			p.deleteEphemeral()
		}
		b.mu.Lock()
		delete(b.values, p)
		last := b.implicit && len(b.values) == 0
		b.mu.Unlock()
		switch {
		case last:
			b.shutDown()
		case tidy:
			p.writers.wait(streamGrace)
		}
	})
}

// writing starts a goroutine that writes to what a caller gave.
func (p *Provider) writing(f func()) {
	p.backend.writers.join()
	p.writers.run(func() {
		defer p.backend.writers.leave()
		f()
	})
}
