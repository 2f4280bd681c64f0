package univirt

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"

	"github.com/univirt/univirt/resource"
)

// Opener opens a provider by its URL. The URL's scheme may have a suffix behind
// a '+' that the opener interprets.
type Opener func(ctx context.Context, u *url.URL) (Provider, error)

// Registry maps URL schemes to openers. Its zero value is empty and ready for
// use; its methods may be called concurrently.
type Registry struct {
	mu      sync.RWMutex
	openers map[string]Opener
}

// Register adds an opener for a scheme, and panics where the scheme is taken or
// the opener nil: both are mistakes of the program.
func (r *Registry) Register(scheme string, open Opener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if open == nil || scheme == "" {
		panic("univirt: Register needs a scheme and an opener")
	}
	if _, taken := r.openers[scheme]; taken {
		panic("univirt: the scheme " + scheme + " is registered twice")
	}
	if r.openers == nil {
		r.openers = make(map[string]Opener)
	}
	r.openers[scheme] = open
}

// Schemes lists the registered schemes, sorted.
func (r *Registry) Schemes() []string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Sorted(maps.Keys(r.openers))
}

// Open opens the provider that a URL names: its scheme says which, the rest
// where and how, as the provider documents. A malformed URL, an unknown scheme
// and an unknown parameter are InvalidArgument and name the field: "url",
// "url.scheme" or "url.query[name]". The context bounds the opening, not the
// provider.
func (r *Registry) Open(ctx context.Context, rawURL string) (Provider, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		// What url.Parse says holds the whole URL, which may have a password.
		return nil, openFault("url", "is malformed")
	}
	if u.Scheme == "" && u.Host == "" && r.opener(u.Path) != nil {
		return nil, openFault("url.scheme", "is required; did you mean "+resource.Quote(u.Path+":")+"?")
	}
	if u.Scheme == "" {
		return nil, openFault("url.scheme", "is required, as in \"fake:\"")
	}
	open := r.opener(u.Scheme)
	if open == nil {
		known := strings.Join(r.Schemes(), ", ")
		if known == "" {
			known = "none"
		}
		return nil, openFault("url.scheme", "is not registered: "+resource.Quote(u.Scheme)+"; registered are "+known+
			": the packages below providers/ that the program imports")
	}
	if err := ctx.Err(); err != nil {
		return nil, resource.Fail("open", resource.Ref{Provider: u.Scheme}, err)
	}
	p, err := open(ctx, u)
	if err != nil {
		var e *resource.Error
		if errors.As(err, &e) && e.Op == "open" {
			return nil, err
		}
		return nil, resource.Fail("open", resource.Ref{Provider: u.Scheme}, err)
	}
	return p, nil
}

// opener returns the opener of a scheme, or else that of its part before a '+', or
// nil.
func (r *Registry) opener(scheme string) Opener {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if open := r.openers[scheme]; open != nil {
		return open
	}
	base, _, _ := strings.Cut(scheme, "+")
	return r.openers[base]
}

func openFault(field, reason string) error {
	return resource.Fail("open", resource.Ref{}, resource.Faults{{Field: field, Reason: reason}})
}

// Parameters returns the parameters of a provider's URL, and faults for each
// that is not among the known ones or is given twice. Openers begin with it.
func Parameters(u *url.URL, known ...string) (map[string]string, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, resource.Faults{{Field: "url.query", Reason: "is malformed"}}
	}
	var faults resource.Faults
	values := make(map[string]string, len(query))
	for _, name := range slices.Sorted(maps.Keys(query)) {
		field := resource.MapField("url.query", name)
		switch {
		case !slices.Contains(known, name):
			faults.Add(field, "is not known; known are %s", strings.Join(known, ", "))
		case len(query[name]) > 1:
			faults.Add(field, "is given twice")
		default:
			values[name] = query[name][0]
		}
	}
	if u.Fragment != "" {
		faults.Add("url.fragment", "must be empty")
	}
	return values, faults.Err()
}

// registry is filled by the init functions of the packages below providers/,
// and is the only state of this package.
var registry Registry

// Register adds an opener to the registry that Open uses. Provider packages
// call it when they are imported.
func Register(scheme string, open Opener) { registry.Register(scheme, open) }

// Schemes lists the schemes that Open knows, sorted.
func Schemes() []string { return registry.Schemes() }

// Open opens the provider that a URL names, among those that the program
// imports:
//
//	import _ "github.com/univirt/univirt/providers/fake"
//
//	p, err := univirt.Open(ctx, "fake:")
//
// See [Registry.Open] for its errors. The packages of the providers have typed
// constructors, with options that no URL can hold.
func Open(ctx context.Context, rawURL string) (Provider, error) {
	return registry.Open(ctx, rawURL)
}
