package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// binaryVariable names another containerd than the installed one to test with.
const binaryVariable = "UNIVIRT_TEST_CONTAINERD"

// common is the containerd of all tests. It is started by the first that needs
// one.
var common struct {
	once   sync.Once
	dir    string
	daemon *managed.Daemon
	err    error
}

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		os.Exit(play(role))
	}
	code := m.Run()
	if common.daemon != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := common.daemon.Destroy(ctx); err != nil {
			fmt.Fprintln(os.Stderr, "destroy the containerd of the tests:", err)
			code = 1
		}
	}
	_ = os.RemoveAll(common.dir)
	os.Exit(code)
}

// startShared returns the socket of the containerd of all tests.
func startShared(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts containerd")
	}
	common.once.Do(func() {
		// The name of a test would make the path of the socket too long.
		if common.dir, common.err = os.MkdirTemp("", "univirt-"); common.err != nil {
			return
		}
		common.daemon, common.err = managed.Start(context.Background(), managed.Config{
			Dir: filepath.Join(common.dir, "d"), Binary: os.Getenv(binaryVariable),
		})
	})
	if errdefs.IsNotFound(common.err) {
		t.Skip(common.err)
	}
	require.NoError(t, common.err)
	return common.daemon.Address()
}

var (
	namespaceCount atomic.Int64
	testRun        = resource.NewID()[:8]
)

// open returns a provider of the shared containerd. Without a namespace in the
// options it has one of its own, whose content goes with the test.
func open(t testing.TB, opts Options) *Provider {
	t.Helper()
	opts.Address = startShared(t)
	fresh := opts.Namespace == ""
	if fresh {
		// Processes and cgroups are told by the namespace, on a host on which others
		// may test too.
		opts.Namespace = fmt.Sprintf("test-%s-%d", testRun, namespaceCount.Add(1))
	}
	if opts.StateDir == "" {
		opts.StateDir = filepath.Join(common.dir, "state")
	}
	p, err := New(t.Context(), opts)
	require.NoError(t, err)
	t.Cleanup(func() {
		if fresh {
			vacate(t, opts)
		}
		assert.NoError(t, p.Close())
	})
	return p
}

// vacate removes everything from a namespace.
func vacate(t testing.TB, opts Options) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	p, err := New(ctx, opts)
	if !assert.NoError(t, err) {
		return
	}
	defer func() { assert.NoError(t, p.Close()) }()
	infos, err := resource.Collect(p.Instances().List(ctx, compute.Filter{Unmanaged: true}))
	assert.NoError(t, err)
	for _, info := range infos {
		err := p.Instances().Handle(info.Ref.ID).Delete(ctx, compute.DeleteOptions{Force: true})
		if !errors.Is(err, errdefs.ErrNotFound) {
			assert.NoError(t, err)
		}
	}
	images, err := resource.Collect(p.Images().List(ctx, compute.ImageFilter{}))
	assert.NoError(t, err)
	for _, image := range images {
		assert.NoError(t, p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{Force: true}))
	}
}

const guestName = "example.test/guest:v1"

// guestImage is the image of the guest programs.
var guestImage = sync.OnceValues(func() (v1.Image, error) {
	return testimage.Guest(context.Background(), testimage.Options{})
})

// guestArchive is the same as an archive.
var guestArchive = sync.OnceValues(func() ([]byte, error) {
	image, err := guestImage()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = testimage.WriteOCI(&b, guestName, image)
	return b.Bytes(), err
})

// openGuest is open with the image of the guest programs.
func openGuest(t testing.TB, opts Options) *Provider {
	t.Helper()
	p := open(t, opts)
	importGuest(t, p)
	return p
}

func importGuest(t testing.TB, p *Provider) {
	t.Helper()
	archive, err := guestArchive()
	require.NoError(t, err)
	_, err = p.Images().Import(t.Context(), compute.ImageSource{Reader: bytes.NewReader(archive), Format: compute.OCIArchive}, compute.ImportOptions{})
	require.NoError(t, err)
}

// guestSpec is a spec of an instance that runs one of the guest programs.
func guestSpec(name string, args ...string) compute.Spec {
	spec := compute.Spec{Name: name, Image: guestName, Pull: compute.PullNever}
	if len(args) > 0 {
		spec.Process.Command = append([]string{testimage.Path}, args...)
	}
	return spec
}

// create makes an instance, and starts it unless it is only made.
func create(t testing.TB, p *Provider, spec compute.Spec) compute.Instance {
	t.Helper()
	inst, err := p.Instances().Create(t.Context(), spec)
	require.NoError(t, err)
	return inst
}

func start(t testing.TB, p *Provider, spec compute.Spec) compute.Instance {
	t.Helper()
	inst := create(t, p, spec)
	require.NoError(t, inst.Start(t.Context(), compute.StartOptions{}))
	return inst
}

// ready starts an instance and returns when its program handles signals.
func ready(t testing.TB, p *Provider, spec compute.Spec) compute.Instance {
	t.Helper()
	inst := start(t, p, spec)
	for line, err := range compute.Logs(t.Context(), inst, compute.LogOptions{Follow: true}) {
		require.NoError(t, err)
		require.Equal(t, "ready", string(line.Text))
		return inst
	}
	require.Fail(t, "it ended before it was ready")
	return nil
}

func info(t testing.TB, inst compute.Instance) compute.Info {
	t.Helper()
	i, err := inst.Info(t.Context())
	require.NoError(t, err)
	return i
}

func wait(t testing.TB, inst compute.Instance, run string) compute.Exit {
	t.Helper()
	exit, err := inst.Wait(t.Context(), compute.WaitOptions{Run: run})
	require.NoError(t, err)
	return exit
}

// output is all that a run wrote, until its end.
func output(t testing.TB, inst compute.Instance, run string) (stdout, stderr string) {
	t.Helper()
	var out, err bytes.Buffer
	require.NoError(t, compute.CopyLogs(t.Context(), inst, compute.LogOptions{Run: run, Follow: true}, &out, &err))
	return out.String(), err.String()
}

// field requires an error of a kind at a field.
func field(t testing.TB, err error, kind error, name string) {
	t.Helper()
	require.ErrorIs(t, err, kind)
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, name, e.Field, err.Error())
}

const roleVariable = "UNIVIRT_TEST_ROLE"

// roles are what the test binary can be besides: a process that is killed.
var roles = map[string]func() error{}

func play(role string) int {
	if err := roles[role](); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
