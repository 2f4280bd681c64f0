package containerd

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/stretchr/testify/require"

	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// reference does by containerd's own client, as its documentation shows it, all
// that a program must do that does not use this module: a lease, so that nothing
// is collected too early; Docker's hardening; a log that outlives the program,
// with the streams apart; output that is read to its end.
type reference struct {
	p      *Provider // for the namespace, the image and the log's writer
	client *client.Client
	image  client.Image
}

func newReference(t testing.TB, p *Provider) *reference {
	t.Helper()
	c, err := client.New(p.opts.Address)
	require.NoError(t, err)
	t.Cleanup(func() { _ = c.Close() })
	r := &reference{p: p, client: c}
	r.image, err = c.GetImage(r.context(t.Context()), guestName)
	require.NoError(t, err)
	return r
}

func (r *reference) context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, r.p.space)
}

// create makes a container with its root filesystem.
func (r *reference) create(ctx context.Context, args ...string) (client.Container, error) {
	id := resource.NewID()
	return r.client.NewContainer(ctx, id,
		client.WithImage(r.image),
		client.WithSnapshotter(r.p.snapshotter),
		client.WithNewSnapshot(id, r.image),
		client.WithRuntime(defaultRuntime, &runcoptions.Options{Root: r.p.conn.runcRoot}),
		client.WithContainerLabels(map[string]string{"name": "reference"}),
		client.WithNewSpec(
			oci.WithDefaultPathEnv,
			oci.WithImageConfig(r.image),
			oci.WithProcessArgs(append([]string{testimage.Path}, args...)...),
			oci.WithHostname("reference"),
			oci.WithCgroup(cgroupOf(r.p.space, id)),
			oci.WithNoNewPrivileges,
			seccomp.WithDefaultProfile(),
		))
}

// start begins a run whose output is kept.
func (r *reference) start(ctx context.Context, c client.Container) (client.Task, <-chan client.ExitStatus, error) {
	output, err := r.p.output(c.ID(), newRun(time.Now(), 0), false)
	if err != nil {
		return nil, nil, err
	}
	uri, err := url.Parse(output)
	if err != nil {
		return nil, nil, err
	}
	task, err := c.NewTask(ctx, cio.LogURI(uri))
	if err != nil {
		return nil, nil, err
	}
	exit, err := task.Wait(ctx)
	if err != nil {
		return nil, nil, err
	}
	return task, exit, task.Start(ctx)
}

// life is create, start, wait and delete.
func (r *reference) life(ctx context.Context, args ...string) error {
	ctx = r.context(ctx)
	leased, done, err := r.client.WithLease(ctx, leases.WithRandomID(), leases.WithExpiration(time.Hour))
	if err != nil {
		return err
	}
	c, err := r.create(leased, args...)
	if err != nil {
		return err
	}
	task, exit, err := r.start(ctx, c)
	if err != nil {
		return err
	}
	if status := <-exit; status.Error() != nil || status.ExitCode() != 0 {
		return fmt.Errorf("exit %d: %w", status.ExitCode(), status.Error())
	}
	if _, err := task.Delete(ctx); err != nil {
		return err
	}
	if err := c.Delete(ctx, client.WithSnapshotCleanup); err != nil {
		return err
	}
	if err := r.p.state.removeInstance(c.ID()); err != nil {
		return err
	}
	return done(ctx)
}

// exec runs a command beside the main process and returns what it wrote.
func (r *reference) exec(ctx context.Context, id string, args ...string) (string, error) {
	ctx = r.context(ctx)
	c, err := r.client.LoadContainer(ctx, id)
	if err != nil {
		return "", err
	}
	spec, err := c.Spec(ctx)
	if err != nil {
		return "", err
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return "", err
	}
	process := *spec.Process
	process.Args = append([]string{testimage.Path}, args...)
	var stdout, stderr bytes.Buffer
	p, err := task.Exec(ctx, resource.NewID(), &process,
		cio.NewCreator(cio.WithStreams(nil, &stdout, &stderr), cio.WithFIFODir(r.p.state.fifos())))
	if err != nil {
		return "", err
	}
	exit, err := p.Wait(ctx)
	if err != nil {
		return "", err
	}
	if err := p.Start(ctx); err != nil {
		return "", err
	}
	if status := <-exit; status.Error() != nil || status.ExitCode() != 0 {
		return "", fmt.Errorf("exit %d: %w", status.ExitCode(), status.Error())
	}
	// What is not read before the process is deleted is lost.
	p.IO().Wait()
	_, err = p.Delete(ctx)
	return stdout.String(), err
}

// list reads all containers and their tasks.
func (r *reference) list(ctx context.Context) (int, error) {
	ctx = r.context(ctx)
	all, err := r.client.ContainerService().List(ctx)
	if err != nil {
		return 0, err
	}
	_, err = r.client.TaskService().List(ctx, &tasksapi.ListTasksRequest{})
	return len(all), err
}
