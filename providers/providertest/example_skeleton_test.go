package providertest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/providertest"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// skeleton is where a provider begins: it says what it is, and that there is nothing.
type skeleton struct {
	namespace string
	owner     resource.Owner
	closed    atomic.Bool
}

const scheme = "skeleton"

// openSkeleton connects with the backend. Each value is a generation of its own, by
// which others tell whether what it made is left over.
func openSkeleton(_ context.Context, namespace, owner string) (*skeleton, error) {
	return &skeleton{namespace: namespace, owner: resource.Owner{Name: owner, Generation: resource.NewID()}}, nil
}

// begin is what every call begins with.
func (p *skeleton) begin(ctx context.Context) error {
	if p.closed.Load() {
		return resource.Errorf(resource.ErrClosed, "the provider is closed")
	}
	return ctx.Err()
}

func (p *skeleton) ref(kind resource.Kind, name, id string) resource.Ref {
	return resource.Ref{Provider: scheme, Kind: kind, Namespace: p.namespace, Name: name, ID: id}
}

// fail completes every error, once: with the operation and what it was about.
func (p *skeleton) fail(op, name, id string, err error) error {
	return resource.Fail(op, p.ref(resource.KindInstance, name, id), err)
}

func (p *skeleton) Instances() compute.Instances { return skeletons{p} }
func (p *skeleton) Images() compute.Images       { return compute.AbsentImages(unwritten) }
func (p *skeleton) Volumes() storage.Volumes     { return storage.Absent(unwritten) }
func (p *skeleton) Networks() network.Networks   { return network.Absent(unwritten) }

const unwritten = "it is not written yet"

// machine says what instances can do and be told. A field that is not listed is refused.
var machine = univirt.KindDescription{
	Features:       resource.Features{compute.FeatureExec: {Reason: unwritten}},
	Fields:         resource.FieldTable{}.Honored("name", "kind", "image").Refused(unwritten, "process.*"),
	Changeable:     resource.FieldTable{},
	DefaultNetwork: "none",
}

func (p *skeleton) Describe(ctx context.Context) (univirt.Description, error) {
	if err := p.begin(ctx); err != nil {
		return univirt.Description{}, resource.Fail("describe", p.ref("", "", ""), err)
	}
	return univirt.Description{
		Provider: scheme, Namespace: p.namespace, Owner: p.owner,
		Backend:     univirt.Backend{Name: "nothing", Version: "0"},
		Capacity:    univirt.Capacity{CPUs: -1, Memory: -1, MemoryAvailable: -1, Disk: -1, DiskAvailable: -1, Instances: -1},
		DefaultKind: compute.VM,
		Kinds:       map[compute.Kind]univirt.KindDescription{compute.VM: machine},
		Changes:     map[resource.Kind]univirt.ChangeNotice{resource.KindInstance: univirt.NeverTold},
	}, nil
}

func (p *skeleton) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return func(yield func(resource.Event, error) bool) {
		err := errors.Join(p.begin(ctx), opts.Validate().Err())
		if err == nil {
			err = resource.Unsupported("watch", unwritten)
		}
		yield(resource.Event{}, resource.Fail("watch", p.ref("", "", ""), err))
	}
}

func (p *skeleton) Close() error {
	p.closed.Store(true)
	return nil
}

type skeletons struct{ p *skeleton }

func (s skeletons) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	err := s.p.begin(ctx)
	if err == nil {
		err = spec.Validate().Err()
	}
	if err == nil && spec.Kind != "" && spec.Kind != compute.VM {
		refused := resource.Unsupported("kind", "only virtual machines are made here")
		refused.Field = "kind"
		err = refused
	}
	if err == nil {
		err = machine.Fields.Refuse(&spec)
	}
	if err == nil {
		err = resource.Unsupported("create", unwritten)
	}
	return nil, s.p.fail("create", spec.Name, "", err)
}

func (s skeletons) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	err := s.p.begin(ctx)
	if reason := resource.CheckName(idOrName); err == nil && reason != "" && !resource.IsID(idOrName) {
		err = resource.Faults{{Field: "idOrName", Reason: reason}}
	}
	if err == nil {
		err = errNoInstance
	}
	return nil, s.p.fail("get", idOrName, "", err)
}

func (s skeletons) Handle(id string) compute.Instance { return bone{s.p, id} }

func (s skeletons) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return func(yield func(compute.Info, error) bool) {
		err := s.p.begin(ctx)
		if err == nil {
			err = filter.Validate().Err()
		}
		// Here what the backend has is yielded where filter.Matches(info).
		if err != nil {
			yield(compute.Info{}, s.p.fail("list", "", "", err))
		}
	}
}

func (s skeletons) Stats(ctx context.Context, _ compute.Filter) iter.Seq2[compute.Stats, error] {
	return func(yield func(compute.Stats, error) bool) {
		err := s.p.begin(ctx)
		if err == nil {
			err = resource.Unsupported("stats", unwritten)
		}
		yield(compute.Stats{}, s.p.fail("stats", "", "", err))
	}
}

// bone is a handle on an instance. It holds nothing but the ID.
type bone struct {
	p  *skeleton
	id string
}

var errNoInstance = resource.Errorf(errdefs.ErrNotFound, "no such instance")

// find reads the instance, of which there is none as long as none can be made.
func (b bone) find(ctx context.Context, op string, faults resource.Faults) error {
	err := b.p.begin(ctx)
	if err == nil {
		err = faults.Err()
	}
	if err == nil {
		err = errNoInstance
	}
	return b.p.fail(op, "", b.id, err)
}

func (b bone) ID() string { return b.id }

func (b bone) Info(ctx context.Context) (compute.Info, error) {
	return compute.Info{}, b.find(ctx, "info", nil)
}

func (b bone) Start(ctx context.Context, _ compute.StartOptions) error {
	return b.find(ctx, "start", nil)
}

func (b bone) Stop(ctx context.Context, opts compute.StopOptions) error {
	return b.find(ctx, "stop", opts.Validate())
}

func (b bone) Wait(ctx context.Context, _ compute.WaitOptions) (compute.Exit, error) {
	return compute.Exit{}, b.find(ctx, "wait", nil)
}

func (b bone) Update(ctx context.Context, change compute.Change) error {
	return b.find(ctx, "update", change.Validate())
}

func (b bone) Delete(ctx context.Context, _ compute.DeleteOptions) error {
	return b.find(ctx, "delete", nil)
}

var (
	_ univirt.Provider  = (*skeleton)(nil)
	_ compute.Instances = skeletons{}
	_ compute.Instance  = bone{}
)

// A provider begins with what it says of itself, and with nothing. From there it grows
// in the order that the package providers tells.
func Example_skeleton() {
	ctx := context.Background()
	p, _ := openSkeleton(ctx, "default", "me")
	defer p.Close()
	d, _ := p.Describe(ctx)
	fmt.Println(d.Provider, d.Kinds[compute.VM].Features.Has(compute.FeatureExec))
	_, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "debian:12"})
	fmt.Println(err)
	_, err = p.Instances().Get(ctx, "web")
	fmt.Println(err)
	// Output:
	// skeleton false
	// create instance "web": create is not supported: it is not written yet
	// get instance "web" in namespace "default": no such instance
}

// TestSkeleton holds that the skeleton passes what needs no instance.
func TestSkeleton(t *testing.T) {
	providertest.RunInstanceless(t, providertest.Harness{
		// There are no images yet, and nothing that could run.
		Adapt: func(spec compute.Spec) (compute.Spec, bool) { return spec, true },
		Open: func(ctx context.Context, opts providertest.OpenOptions) (univirt.Provider, error) {
			return openSkeleton(ctx, opts.Namespace, opts.Owner)
		},
	})
}
