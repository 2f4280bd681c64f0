package testregistry

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// Fault makes some requests go wrong.
type Fault struct {
	// On selects requests: Blobs, Manifests, Path, or any function. Nil selects
	// all but those for tokens, which are never faulty. It must not block.
	On func(*http.Request) bool
	// Effect is what happens to them.
	Effect Effect
	// Skip lets that many selected requests pass first.
	Skip int
	// Times ends the fault after that many requests; zero means never.
	Times int
}

// Effect changes how a request is answered. Next answers properly; an effect may
// call it once, or not at all. It must return soon after the end of the
// request's context, which also ends when the registry is closed.
type Effect func(w http.ResponseWriter, req *http.Request, next http.Handler)

// Blobs selects the downloads of layers and configurations.
func Blobs(req *http.Request) bool {
	return req.Method == http.MethodGet && strings.Contains(req.URL.Path, "/blobs/")
}

// Manifests selects the reading of manifests and the look-up of tags.
func Manifests(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) &&
		strings.Contains(req.URL.Path, "/manifests/")
}

// Path selects requests by the path of their URL, such as
// "/v2/app/manifests/*", with the pattern syntax of [path.Match]. A pattern that
// is malformed panics, as it can only be a mistake in the test.
func Path(pattern string) func(*http.Request) bool {
	if _, err := path.Match(pattern, ""); err != nil {
		panic("testregistry: " + err.Error() + ": " + pattern)
	}
	return func(req *http.Request) bool {
		ok, _ := path.Match(pattern, req.URL.Path)
		return ok
	}
}

// injected is a fault in effect.
type injected struct {
	Fault
	seen int
}

// Inject switches a fault on. If several select a request, the one injected
// first has it, as long as its Times last. The returned function switches the
// fault off for requests that have not begun; it may be called more than once.
func (r *Registry) Inject(f Fault) (remove func()) {
	in := &injected{Fault: f}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults = append(r.faults, in)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.faults = slices.DeleteFunc(r.faults, func(x *injected) bool { return x == in })
	}
}

// Heal switches all faults off, and demands no credentials any more.
func (r *Registry) Heal() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.faults, r.auth = nil, nil
}

// faulty returns the handler for a request: next, or a fault in front of it.
func (r *Registry) faulty(next http.Handler, req *http.Request) http.Handler {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		if f.On != nil && !f.On(req) {
			continue
		}
		spent := f.Times > 0 && f.seen >= f.Skip+f.Times
		if spent {
			continue
		}
		f.seen++
		if f.seen <= f.Skip {
			continue
		}
		return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { f.Effect(w, req, next) })
	}
	return next
}
