// Package testregistry is an image registry inside the test process, with faults
// that can be switched on and off while it runs.
//
// It listens on a port of the loopback interface without TLS, and keeps what it
// holds in memory. A typical use:
//
//	r := testregistry.Test(t)
//	ref, err := r.Push("app:v1", image) // "127.0.0.1:41234/app:v1"
//	r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Truncate(), Times: 1})
package testregistry

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

// Registry is a running registry. Its methods may be called concurrently.
type Registry struct {
	host  string
	inner http.Handler
	blobs blobStore

	life   sync.Mutex // guards the next two; never taken by a request
	server *server    // nil while down
	closed bool

	mu       sync.Mutex
	auth     *auth
	faults   []*injected
	requests []Request
}

// blobStore is what go-containerregistry's in-memory store offers.
type blobStore interface {
	registry.BlobHandler
	registry.BlobStatHandler
	registry.BlobPutHandler
}

// New starts a registry. The caller must Close it.
func New() (*Registry, error) {
	store, ok := registry.NewInMemoryBlobHandler().(blobStore)
	if !ok {
		return nil, errors.New("the in-memory blob store cannot be written to")
	}
	r := &Registry{blobs: store}
	r.inner = registry.New(
		registry.Logger(log.New(io.Discard, "", 0)),
		registry.WithBlobHandler(store),
		registry.WithReferrersSupport(true))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r.host = listener.Addr().String()
	r.server = serve(listener, http.HandlerFunc(r.handle))
	return r, nil
}

// TB is the part of *testing.T that Test uses.
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Test starts a registry that is closed at the end of the test.
func Test(t TB) *Registry {
	t.Helper()
	r, err := New()
	if err != nil {
		t.Fatalf("start a registry: %v", err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Errorf("close the registry: %v", err)
		}
	})
	return r
}

// Host returns address and port, the first part of a reference.
func (r *Registry) Host() string { return r.host }

// Ref returns the full reference of something in this registry, such as
// "app:v1" or "app@sha256:...".
func (r *Registry) Ref(name string) string { return r.host + "/" + name }

// Down closes the port and cuts all connections, as if the registry had died.
// What it holds is kept. A registry that is down stays so.
func (r *Registry) Down() error {
	r.life.Lock()
	defer r.life.Unlock()
	return r.down()
}

func (r *Registry) down() error {
	if r.server == nil {
		return nil
	}
	err := r.server.close()
	r.server = nil
	return err
}

// Up opens the same port again. It fails if another process has taken it
// meanwhile, or after Close.
func (r *Registry) Up() error {
	r.life.Lock()
	defer r.life.Unlock()
	if r.closed {
		return net.ErrClosed
	}
	if r.server != nil {
		return nil
	}
	listener, err := net.Listen("tcp", r.host)
	if err != nil {
		return err
	}
	r.server = serve(listener, http.HandlerFunc(r.handle))
	return nil
}

// Close ends the registry: it cuts all connections and waits for the requests
// that are being answered. A second Close does nothing.
func (r *Registry) Close() error {
	r.life.Lock()
	defer r.life.Unlock()
	r.closed = true
	return r.down()
}

// handle is the way of every request that comes over the network.
func (r *Registry) handle(w http.ResponseWriter, req *http.Request) {
	seen := &recorder{ResponseWriter: w}
	defer func() { r.count(req, seen) }()
	if req.URL.Path == tokenPath {
		r.token(seen, req)
		return
	}
	r.faulty(http.HandlerFunc(r.authorized), req).ServeHTTP(seen, req)
}

func (r *Registry) authorized(w http.ResponseWriter, req *http.Request) {
	if r.admit(w, req) {
		r.serveContent(w, req)
	}
}

// fail answers as the distribution specification demands.
func fail(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"errors":[{"code":%q,"message":%q}]}`, code, http.StatusText(status))
}
