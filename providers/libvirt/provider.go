//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/daemon/libvirtd"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/logfile"
	"github.com/univirt/univirt/internal/mortals"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/internal/turns"
	"github.com/univirt/univirt/internal/watching"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// Provider is one namespace of one hypervisor. See univirt.Provider for its
// contract.
type Provider struct {
	opts  Options // normalised
	link  link
	owner resource.Owner
	// home is the ID of the folder for state, and generation the mark of this value
	// in it.
	home       string
	generation *filelock.Lock
	mortals    mortals.Set
	// mortalVolumes and mortalNetworks go after the instances.
	mortalVolumes  mortals.Set
	mortalNetworks mortals.Set
	hyper          hypervisor
	// accel is what was found out about this host's KVM, and daemon the managed one;
	// nil: somebody else's.
	accel acceleration
	// why says why the machines run as they do.
	why    string
	daemon *libvirtd.Daemon
	line   line // of tests; nil for one that does not break
	// version is the daemon's, and driver libvirt's name of the hypervisor.
	version, driver string

	turns turns.Queue
	board watching.Board
	feed  feed
	cache cache
	// expectations are instances whose guests have no address yet.
	expectations expectations
	leases       leaseNews
	shelf        shelf
	// agents are those of guests.
	agents agentQueue
	// consoles tells when a guest has written something.
	consoles logfile.Watcher
	// tidings are waited for by single operations.
	tidings tidings

	// alive ends when the provider is closed.
	alive context.Context
	end   context.CancelFunc
	// unlink ends the connection, when nothing needs it any more.
	unlink context.CancelFunc
	mu     sync.Mutex // guards closed, and operations against Wait
	closed bool
	// operations are those of callers, and detached are calls and changes that go on
	// when their caller does not wait any more.
	operations sync.WaitGroup
	detached   sync.WaitGroup
	// supervising is the supervisor, or what waits to be it.
	supervising sync.WaitGroup
	closing     sync.Once
}

var _ univirt.Provider = (*Provider)(nil)

// New connects to a hypervisor and returns a provider of one of its namespaces.
// The context bounds the opening, not the provider.
//
// A hypervisor that is not there or does not answer is Unavailable, one that may
// not be used is PermissionDenied or Unauthenticated, and a URI that libvirt does
// not know is InvalidArgument; all with the field "uri". In a build without cgo or
// without the build tag libvirt or libvirt_dlopen, or where the client library is
// looked for at run time and missing, the error is errors.ErrUnsupported, behind what
// is wrong with the options.
func New(ctx context.Context, opts Options) (*Provider, error) { return newProvider(ctx, opts, nil) }

func newProvider(ctx context.Context, opts Options, line line) (*Provider, error) {
	ref := resource.Ref{Provider: Scheme}
	opts, faults := opts.normalise()
	if err := faults.Err(); err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	p, err := openProvider(ctx, opts, line)
	if err != nil {
		return nil, resource.Fail("open", ref, err)
	}
	return p, nil
}

func openProvider(ctx context.Context, opts Options, line line) (*Provider, error) {
	p := &Provider{
		opts:  opts,
		line:  line,
		owner: resource.Owner{Name: opts.Owner, Generation: resource.NewID()},
	}
	p.feed.wake = make(chan struct{}, 1)
	p.alive, p.end = context.WithCancel(context.Background())
	err := p.manage(ctx)
	if err == nil {
		err = p.markGeneration(ctx)
	}
	if err == nil {
		p.link.uri, p.link.timeout = p.opts.URI, p.opts.ConnectTimeout
		p.link.begin, p.link.broken = p.hear, p.lose
		p.link.resume = func(*session) { p.feed.reconnected() }
		var linked context.Context
		p.joinCaches()
		linked, p.unlink = context.WithCancel(context.Background())
		err = atField("uri", p.link.open(ctx, linked))
	}
	if err == nil {
		err = p.ask(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	p.feed.start(p)
	if err := p.superviseNamespace(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

// ask finds out what the hypervisor is.
func (p *Provider) ask(ctx context.Context) error {
	text, err := call(ctx, p, (*lv.Connect).GetCapabilities)
	if err != nil {
		return err
	}
	var caps libvirtxml.Caps
	if err := caps.Unmarshal(text); err != nil {
		return resource.Errorf(nil, "the hypervisor's capabilities cannot be read: %w", err)
	}
	p.driver, err = call(ctx, p, (*lv.Connect).GetType)
	if err != nil {
		return err
	}
	version, err := call(ctx, p, (*lv.Connect).GetLibVersion)
	if err != nil {
		return err
	}
	p.version = versionText(version)
	p.hyper, err = p.choose(caps)
	p.hyper.supervised = p.opts.Supervise
	p.hyper.noNetworks = p.noNetworks()
	p.hyper.consoles, p.hyper.unreachable = p.opts.ConsoleDir, p.unreachable()
	p.hyper.unified = !p.opts.local() || hasUnified("/sys/fs/cgroup")
	return err
}

// Instances returns the virtual machines of the namespace.
func (p *Provider) Instances() compute.Instances { return instances{p} }

// Images returns the disk images of the namespace.
func (p *Provider) Images() compute.Images {
	if p.inProcess() {
		return compute.AbsentImages(onlyReal)
	}
	return images{p}
}

// Networks returns the networks of the namespace; of libvirt's own hypervisor for
// tests, and of an unprivileged user's, there are none.
func (p *Provider) Networks() network.Networks {
	if reason := p.hyper.noNetworks; reason != "" {
		return network.Absent(reason)
	}
	return networks{p}
}

// begin is the entry to every operation. The context that it returns ends at
// Close too; done ends the operation, for which Close waits.
func (p *Provider) begin(ctx context.Context) (_ context.Context, done func(), err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, nil, errClosed()
	}
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	p.operations.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(p.alive, func() { cancel(resource.ErrClosed) })
	return ctx, func() { stop(); cancel(nil); p.operations.Done() }, nil
}

// ref completes a reference.
func (p *Provider) ref(kind resource.Kind, name, id string) resource.Ref {
	return resource.Ref{Provider: Scheme, Kind: kind, Namespace: p.opts.Namespace, Name: name, ID: id}
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

// Close ends the provider: operations under way end with resource.ErrClosed.
// Instances run on, and the use of a managed daemon ends. Closing twice is nil. It
// waits for no code of the caller's, so it may be called from within the body of a
// loop.
func (p *Provider) Close() (err error) {
	p.closing.Do(func() {
		p.mu.Lock()
		p.closed = true
		p.mu.Unlock()
		p.end()
		p.operations.Wait()
		p.supervising.Wait()
		p.feed.wait()
		err = p.takeAlong()
		p.detached.Wait()
		p.leases.watched.Wait()
		if p.unlink != nil {
			p.unlink()
		}
		p.link.over.Wait()
		p.leaveCaches()
		if p.daemon != nil {
			ctx, cancel := context.WithTimeout(context.Background(), compute.CleanupTimeout+time.Second)
			defer cancel()
			err = errors.Join(err, p.daemon.Close(ctx, p.opts.Managed.Leave))
		}
	})
	return resource.Fail("close", resource.Ref{Provider: Scheme, Namespace: p.opts.Namespace}, err)
}

// markGeneration shows others that this value lives.
func (p *Provider) markGeneration(ctx context.Context) (err error) {
	p.generation, err = p.generations().Begin(ctx, p.owner.Generation)
	if errors.Is(err, errors.ErrUnsupported) {
		return nil // nobody sweeps where it could not be told
	}
	return err
}

// takeAlong deletes at Close what goes with this value. What cannot be deleted is
// left to a sweep.
func (p *Provider) takeAlong() error {
	ctx, cancel := context.WithTimeout(context.Background(), compute.CleanupTimeout)
	defer cancel()
	err := errors.Join(p.mortals.Bury(ctx, p.bury), p.mortalVolumes.Bury(ctx, p.buryVolume), p.mortalNetworks.Bury(ctx, p.buryNetwork))
	p.generation.Remove()
	return err
}

// lose notes that events may be missed from now on.
func (p *Provider) lose(why error) {
	p.cache.lose()
	p.board.Lose(why)
}
