package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

func TestConformance(t *testing.T) {
	providertest.Run(t, harness(t))
}

// TestConformanceSupervised is the suite of values that supervise, for what that makes
// a difference to. What loses its connection at a certain call is left to those that
// make none by themselves.
func TestConformanceSupervised(t *testing.T) {
	if testing.Short() {
		t.Skip("short: what a supervisor finds and decides has tests of its own")
	}
	h := harnessOf(t, Options{Supervise: true})
	h.Groups = []string{"supervision", "stop", "watch", "wait for", "update", "fields", "describe"}
	providertest.Run(t, h)
}

// harness connects the suite with the containerd of all tests.
func harness(t *testing.T) providertest.Harness { return harnessOf(t, Options{}) }

func harnessOf(t *testing.T, opts Options) providertest.Harness {
	opts.Address, opts.StateDir = startShared(t), filepath.Join(common.dir, "state")
	options := func(namespace, owner string) Options {
		own := opts
		own.Namespace, own.Owner = namespace, owner
		return own
	}
	registry := testregistry.Test(t)
	// What lasts longer than a case is made before the first.
	_, err := inventory(t.Context(), spaceOf("none"))
	require.NoError(t, err)
	archived := dataImage(t, 1, 512)
	remote := push(t, registry, "team/remote:v1", dataImage(t, 2, 4096))
	var lines sync.Map // of *Provider to *line
	var fresh atomic.Int64
	return providertest.Harness{
		Open: func(ctx context.Context, opts providertest.OpenOptions) (univirt.Provider, error) {
			l := new(line)
			own := options(opts.Namespace, opts.Owner)
			own.dial = l.options()
			p, err := New(ctx, own)
			if err != nil {
				return nil, err
			}
			lines.Store(p, l)
			return p, nil
		},
		Image:  guestName,
		Shared: true,
		Prepare: func(_ context.Context, p univirt.Provider) error {
			importGuest(t, p.(*Provider))
			return nil
		},
		Inventory: func(ctx context.Context, namespace string) ([]string, error) {
			return inventory(ctx, spaceOf(namespace))
		},
		Sever: func(p univirt.Provider, o providertest.Outage) (<-chan struct{}, func(), error) {
			l, _ := lines.Load(p)
			struck, mend := l.(*line).Sever(o)
			return struck, mend, nil
		},
		Crash:   func(_ context.Context, p univirt.Provider) error { return crash(p.(*Provider)) },
		Foreign: plantForeign,
		Remote:  remote,
		Gone:    registry.Ref("team/gone:v1"),
		Fresh: func() (string, func(string) int, error) {
			name := fmt.Sprintf("team/fresh-%d", fresh.Add(1))
			ref, err := registry.Push(name+":v1", dataImage(t, 3, 50_000))
			return ref, func(string) int { return downloads(registry, name) }, err
		},
		Refusing: func(kind error) (string, error) {
			effect, ok := refusing[kind]
			if !ok {
				return "", fmt.Errorf("a registry that fails with %w: %w", kind, errors.ErrUnsupported)
			}
			name := fmt.Sprintf("team/refused-%d", fresh.Add(1))
			registry.Inject(testregistry.Fault{On: testregistry.Path("/v2/" + name + "/*/*"), Effect: effect})
			return registry.Push(name+":v1", dataImage(t, 1, 50_000))
		},
		Archive: func(w io.Writer, format compute.ImageFormat) (string, error) {
			const name = "example.test/archived:v1"
			if format == compute.DockerArchive {
				return name, testimage.WriteDocker(w, name, archived)
			}
			return name, testimage.WriteOCI(w, name, archived)
		},
	}
}

// refusing are how a registry makes a Pull fail.
var refusing = map[error]testregistry.Effect{
	errdefs.ErrUnauthenticated: func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		w.Header().Set("WWW-Authenticate", `Basic realm="team"`)
		testregistry.Status(http.StatusUnauthorized)(w, req, next)
	},
	errdefs.ErrPermissionDenied:  testregistry.Status(http.StatusForbidden),
	errdefs.ErrResourceExhausted: testregistry.RateLimit(time.Minute),
	errdefs.ErrDataLoss: func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		if testregistry.Blobs(req) {
			next = corrupted(next)
		}
		next.ServeHTTP(w, req)
	},
}

func corrupted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { testregistry.Corrupt()(w, req, next) })
}

// downloads is how often the content of a repository was asked for: of all blobs
// the most frequent.
func downloads(r *testregistry.Registry, repository string) int {
	most, of := 0, map[string]int{}
	for _, req := range r.Requests() {
		if req.Method == http.MethodGet && strings.HasPrefix(req.Path, "/v2/"+repository+"/blobs/") {
			of[req.Path]++
			most = max(most, of[req.Path])
		}
	}
	return most
}
