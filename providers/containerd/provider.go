package containerd

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/logfile"
	"github.com/univirt/univirt/internal/mortals"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/internal/turns"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// Provider is one namespace of one containerd. See univirt.Provider for its
// contract.
type Provider struct {
	opts        Options // normalised
	conn        *connection
	client      *client.Client
	space       string // containerd's namespace
	snapshotter string
	owner       resource.Owner
	state       stateDir
	generation  *filelock.Lock
	host        host
	// kind is what Create, Plan and Update go by, which nobody changes.
	kind univirt.KindDescription

	turns   turns.Queue
	making  making
	leases  leaseKeeper
	users   userCache
	images  *imageStore
	reaper  reaper
	events  eventHub
	records recordCache
	follow  logfile.Watcher
	mortals mortals.Set
	debts   debts

	// alive ends when the provider is closed.
	alive  context.Context
	end    context.CancelFunc
	mu     sync.Mutex // guards closed, and calls against Wait
	closed bool
	calls  sync.WaitGroup
	// supervising is the supervisor, or what waits to be it.
	supervising sync.WaitGroup
	// detached are calls that go on when their caller does not wait any more.
	detached sync.WaitGroup
	closing  sync.Once
}

var _ univirt.Provider = (*Provider)(nil)

// New connects to a containerd, or starts one, and returns a provider of one of
// its namespaces. The context bounds the opening, not the provider.
//
// A socket that does not exist, on which nobody listens or answers, is
// Unavailable; one that may not be used is PermissionDenied; what is no socket,
// or no containerd, is InvalidArgument; all with the field "address". A
// namespace that was first used with another snapshotter or state folder is
// FailedPrecondition. Where a managed daemon's programs are missing the error is
// NotFound and says what to install. On systems other than Linux it is
// errors.ErrUnsupported.
func New(ctx context.Context, opts Options) (*Provider, error) {
	ref := resource.Ref{Provider: Scheme}
	opts, faults := opts.normalise()
	if err := faults.Err(); err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	p, err := openProvider(ctx, opts)
	if err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	return p, nil
}

func openProvider(ctx context.Context, opts Options) (_ *Provider, err error) {
	if !supported {
		return nil, resource.Unsupported("containerd", "it is reached on Linux only, where its containers run")
	}
	p := &Provider{
		opts:  opts,
		space: spaceOf(opts.Namespace),
		owner: resource.Owner{Name: opts.Owner, Generation: resource.NewID()},
		host:  readHost(),
	}
	p.kind = containersOn(p.host, opts.Supervise)
	var unloaded error
	if p.host.apparmor, unloaded = loadAppArmor(); unloaded != nil {
		opts.Logger.Warn("instances run without an AppArmor profile", "error", unloaded)
	}
	p.alive, p.end = context.WithCancel(context.Background())
	p.images = newImages(p)
	defer func() {
		if err != nil {
			p.end()
			p.generation.Remove()
		}
	}()
	ctx = p.dress(ctx)
	if p.conn, err = connect(ctx, opts); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.conn.close(context.WithoutCancel(ctx), opts))
		}
	}()
	p.client = p.conn.client
	root, err := p.settle(ctx)
	if err != nil {
		return nil, translate(ctx, err)
	}
	if p.state, err = openState(root, p.space); err != nil {
		return nil, atField("stateDir", err)
	}
	p.generation, err = p.state.generations().Begin(ctx, p.owner.Generation)
	if err != nil {
		return nil, atField("stateDir", err)
	}
	p.reaper.start(p)
	return p, atField("stateDir", p.superviseNamespace())
}

// settle finds out what all users of the namespace have in common, and writes it
// down where it is new. Creating the namespace is exclusive, so that of two
// first users one decides.
func (p *Provider) settle(ctx context.Context) (stateRoot string, err error) {
	store := p.client.NamespaceService()
	labels, err := store.Labels(ctx, p.space)
	if err == nil && len(labels) == 0 {
		err = errdefs.ErrNotFound // containerd does not tell one from the other
	}
	if errdefs.IsNotFound(err) {
		labels = map[string]string{
			labelState:              p.opts.StateDir,
			labelDefaultSnapshotter: p.opts.Snapshotter,
		}
		if labels[labelState] == "" {
			labels[labelState] = p.defaultState()
		}
		if labels[labelDefaultSnapshotter] == "" {
			labels[labelDefaultSnapshotter] = defaultSnapshotter
		}
		err = store.Create(ctx, p.space, labels)
		if errdefs.IsAlreadyExists(err) {
			labels, err = store.Labels(ctx, p.space)
		}
	}
	if err != nil {
		return "", err
	}
	// A namespace that somebody else made has none, or some, of the labels.
	for label, value := range map[string]string{
		labelState:              p.defaultState(),
		labelDefaultSnapshotter: defaultSnapshotter,
	} {
		if labels[label] == "" {
			if labels == nil {
				labels = map[string]string{}
			}
			labels[label] = value
			if err := store.SetLabel(ctx, p.space, label, value); err != nil {
				return "", err
			}
		}
	}
	p.snapshotter = labels[labelDefaultSnapshotter]
	if want := p.opts.Snapshotter; want != "" && want != p.snapshotter {
		return "", atField("snapshotter", resource.Errorf(errdefs.ErrFailedPrecondition, "the namespace uses %q", p.snapshotter))
	}
	if want := p.opts.StateDir; want != "" && want != labels[labelState] {
		return "", atField("stateDir", resource.Errorf(errdefs.ErrFailedPrecondition, "the namespace uses %q", labels[labelState]))
	}
	return labels[labelState], nil
}

// defaultState is the folder of a namespace that has none. It is another one for
// each containerd, so that a sweep of one cannot take another's for orphans.
func (p *Provider) defaultState() string {
	switch {
	case p.opts.StateDir != "":
		return p.opts.StateDir
	case p.opts.Managed != nil:
		return filepath.Join(p.opts.Managed.Dir, "univirt")
	}
	return filepath.Join(defaultStateRoot, filepath.Base(p.conn.uuid))
}

// Instances returns the containers of the namespace.
func (p *Provider) Instances() compute.Instances { return instances{p} }

// Images returns the images of the namespace.
func (p *Provider) Images() compute.Images { return p.images }

// Volumes answers that there are none.
func (p *Provider) Volumes() storage.Volumes { return storage.Absent(noVolumes) }

// Networks answers that there are none.
func (p *Provider) Networks() network.Networks { return network.Absent(noNetworks) }

// begin is the entry to every operation. The context that it returns has
// containerd's namespace and ends at Close too; done ends the operation, for
// which Close waits.
func (p *Provider) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx, end, err := p.enter(ctx)
	if err != nil {
		return nil, nil, err
	}
	return ctx, func() { end(); p.calls.Done() }, nil
}

// beginWith is begin for an operation in which code of the caller's runs, the
// body of a loop or a report of progress. That may close the provider, so Close
// waits for such an operation only until free, from which on it must make no
// call to containerd. Done frees it too.
func (p *Provider) beginWith(ctx context.Context) (_ context.Context, free, done func(), err error) {
	ctx, end, err := p.enter(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	free = sync.OnceFunc(p.calls.Done)
	return ctx, free, func() { end(); free() }, nil
}

// enter counts a call, unless the provider is closed. The context that it returns
// lasts until end.
func (p *Provider) enter(ctx context.Context) (_ context.Context, end func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed()
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	p.calls.Add(1)
	ctx, cancel := context.WithCancelCause(p.dress(ctx))
	stop := context.AfterFunc(p.alive, func() { cancel(resource.ErrClosed) })
	return ctx, func() { stop(); cancel(nil) }, nil
}

func errClosed() error { return resource.Errorf(resource.ErrClosed, "provider is closed") }

// dress puts into a context what the client looks for in one.
func (p *Provider) dress(ctx context.Context) context.Context {
	return withLogger(namespaces.WithNamespace(ctx, p.space), p.opts.Logger)
}

// answerTime is how long the answer of a call that makes something is awaited when
// its context has ended; the undo has the rest of the time of a clean-up.
const answerTime = compute.CleanupTimeout / 2

// cleanup returns a context for undoing what was done, whatever became of the
// caller's.
func (p *Provider) cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	most := compute.CleanupTimeout
	if ctx.Err() != nil {
		most -= answerTime
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	// Whoever asked for what is undone has given up: the undo has not.
	own, end := outlive.Context(bounded, 0)
	return own, func() { end(); cancel() }
}

// ref completes a reference.
func (p *Provider) ref(kind resource.Kind, name, id string) resource.Ref {
	return resource.Ref{Provider: Scheme, Kind: kind, Namespace: p.opts.Namespace, Name: name, ID: id}
}

// ownerLabels mark what this value makes.
func (p *Provider) ownerLabels() map[string]string {
	labels := map[string]string{labelGeneration: p.owner.Generation}
	if p.owner.Name != "" {
		labels[labelOwner] = p.owner.Name
	}
	return labels
}

// Close ends the provider: operations under way end with resource.ErrClosed,
// ephemeral instances of this value are deleted, and the use of a managed daemon
// ends. Other instances run on. Closing twice is nil.
//
// It waits for no code of the caller's, so it may be called from within a loop
// over a list, a watch or logs, and from within any function that an operation
// was given, such as a hook, a writer or a report of progress. A call of such a
// function that is under way may then last longer than the operation, but for a
// report of progress, whose end the operation awaits.
func (p *Provider) Close() error {
	var err error
	p.closing.Do(func() { err = p.shut() })
	return err
}

func (p *Provider) shut() error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.calls.Wait()
	p.supervising.Wait()
	p.events.close()
	p.reaper.stop()
	p.detached.Wait()
	p.images.close()
	ctx, cancel := context.WithTimeout(p.dress(context.Background()), compute.CleanupTimeout+time.Second)
	defer cancel()
	p.debts.settle(ctx)
	errs := []error{p.mortals.Bury(ctx, p.bury), p.leases.release(ctx, p)}
	p.generation.Remove()
	errs = append(errs, p.state.removeFIFOs(p.owner.Generation), p.conn.close(ctx, p.opts))
	return resource.Fail("close", resource.Ref{Provider: Scheme, Namespace: p.opts.Namespace}, errors.Join(errs...))
}

// bury deletes an ephemeral instance at Close.
func (p *Provider) bury(ctx context.Context, id string) error {
	err := p.deleteInstance(ctx, id, compute.DeleteOptions{Force: true})
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	return resource.Fail("delete", p.ref(resource.KindInstance, "", id), err)
}
