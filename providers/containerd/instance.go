package containerd

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync/atomic"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/api/types/task"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// instances are the containers of a provider.
type instances struct{ p *Provider }

var _ compute.Instances = instances{}

// instance is a handle: an ID, and the name once it is known.
type instance struct {
	p    *Provider
	id   string
	name atomic.Pointer[string]
}

var _ compute.Instance = (*instance)(nil)

func (p *Provider) handle(id, name string) *instance {
	i := &instance{p: p, id: id}
	if name != "" {
		i.name.Store(&name)
	}
	return i
}

// ID implements compute.Instance.
func (i *instance) ID() string { return i.id }

// Handle implements compute.Instances.
func (s instances) Handle(id string) compute.Instance { return s.p.handle(id, "") }

// Ref names the instance in errors, with its name where that is known without a call.
func (i *instance) Ref() resource.Ref {
	name := ""
	if known := i.name.Load(); known != nil {
		name = *known
	}
	return i.p.ref(resource.KindInstance, name, i.id)
}

func (i *instance) fail(op string, err error) error { return resource.Fail(op, i.Ref(), err) }

// known is all that containerd knows of an instance: its container, the record
// in it, and the task, which is nil where there is none.
type known struct {
	container containers.Container
	// record is nil for what this module did not make. With a fault it has only the
	// name and the revision.
	record *record
	task   *task.Process
	// neverRan says that there is no folder, thus no output of any run.
	neverRan bool
	// fault says why the record could not be read. Such an instance can be looked at,
	// stopped and, by force, deleted.
	fault error
	// lost is what lostRun found, once it was sought.
	lost   string
	sought bool
}

// load reads the container of an instance.
func (i *instance) load(ctx context.Context) (*known, error) {
	k, err := i.p.loadContainer(ctx, i.id)
	if err != nil {
		return nil, err
	}
	if k.record != nil && i.name.Load() == nil {
		i.name.Store(&k.record.Name)
	}
	return k, nil
}

func (p *Provider) loadContainer(ctx context.Context, id string) (*known, error) {
	if checkIdentifier(id) != "" {
		return nil, resource.Errorf(errdefs.ErrNotFound, "no such instance")
	}
	c, err := p.client.ContainerService().Get(ctx, id)
	if errdefs.IsNotFound(err) && ctx.Err() == nil {
		return nil, resource.Errorf(errdefs.ErrNotFound, "no such instance")
	}
	if err != nil {
		return nil, translate(ctx, err)
	}
	k := &known{container: c}
	k.decode(p)
	return k, nil
}

// decode reads the record.
func (k *known) decode(p *Provider) {
	k.record, k.fault = p.records.read(k.container)
	if k.fault != nil {
		k.record = &record{Name: k.container.Labels[labelName]}
		k.record.takeLabels(k.container.Labels)
	}
}

// loadTask reads the task of an instance, nil where it has none.
func (p *Provider) loadTask(ctx context.Context, id string) (*task.Process, error) {
	answer, err := p.client.TaskService().Get(ctx, &tasksapi.GetRequest{ContainerID: id})
	if err == nil {
		return answer.Process, nil
	}
	if err = translate(ctx, err); errors.Is(err, errdefs.ErrNotFound) {
		return nil, nil
	}
	return nil, err
}

// checkRevision is the error of an operation on another revision than the
// present one.
func (k *known) checkRevision(want string) error {
	if want == "" || k.record == nil {
		return nil
	}
	if have := strconv.Itoa(k.record.Revision); have != want {
		return &resource.Error{Kind: errdefs.ErrAborted, Field: "ifRevision", Err: fmt.Errorf("the revision is %s, not %s", have, want)}
	}
	return nil
}

// owned refuses to change what this module did not make, or what it cannot read.
func (k *known) owned() error {
	if k.fault != nil {
		return k.fault
	}
	return k.made()
}

// made refuses what this module did not make.
func (k *known) made() error {
	if k.record == nil {
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance was not made by this library")
	}
	return nil
}

// stateOf translates the state of a task.
func stateOf(t *task.Process) compute.State {
	if t == nil {
		return compute.Stopped
	}
	switch t.Status {
	case task.Status_CREATED:
		return compute.Starting
	case task.Status_RUNNING:
		return compute.Running
	case task.Status_STOPPED:
		return compute.Stopped
	case task.Status_PAUSED:
		return compute.Paused
	case task.Status_PAUSING:
		return compute.Running
	}
	return compute.Unknown
}

// taskID is the container of a task, which some releases tell as the ID of its
// process only.
func taskID(t *task.Process) string {
	if t.ContainerID != "" {
		return t.ContainerID
	}
	return t.ID
}
