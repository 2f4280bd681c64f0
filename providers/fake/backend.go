package fake

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Backend is what stands behind providers: it holds the resources and runs the
// programs. Its methods may be called concurrently.
type Backend struct {
	opts Options
	// fields are what specs may say, and offers what there is.
	fields map[compute.Kind]resource.FieldTable
	offers Features
	// faults are those of all values, and eventFaults counts the faults of events
	// of all values together.
	faults      injections
	eventFaults atomic.Int32
	// ruled says that a fault of all values may have to strike.
	ruled atomic.Bool
	// crew are the programs and what serves them; writers are those of all values,
	// which are waited for but once.
	crew, writers crew
	waited        sync.Once
	// broken is what is wrong with the options, or nil.
	broken error
	// report is told of a fault that makes no sense, or nil.
	report func(error)

	// files guards the content of all file trees, and host is the host's, of which
	// bind mounts show a part. Where both locks are held, mu was locked first.
	files sync.RWMutex
	host  *view
	// pools are where volumes are taken from, by name.
	pools []*pool

	// mu guards everything below and all records. It is held for short: never
	// while anything is waited for, never during a yield.
	mu         sync.Mutex
	identities identities
	spaces     map[string]*space
	// values are the living values; a generation is alive while its value is here.
	values map[*Provider]struct{}
	// implicit backends end with their last value.
	implicit bool
	closed   bool
	// over is closed when the backend is.
	over chan struct{}
	// order numbers the records.
	order uint64
	used  usage
	// hostPorts are the ports of the host that running instances have.
	hostPorts map[hostPort]*instance
	// abandoned names the programs that did not return when they were killed.
	abandoned []string
	registry  registry
	sharing   sharing
}

// usage is what is handed out of the capacity.
type usage struct {
	// cpus are thousandths of a processor.
	cpus, memory                 int64
	instances, volumes, networks int
	// disk is what images, root disks, volumes and written files occupy.
	disk quota
}

// space is what one namespace holds. The backend's lock guards it.
type space struct {
	backend *Backend
	name    string
	hub     hub

	instances table[*instance]
	images    imageStore
	volumes   table[*volume]
	networks  table[*segment]
	// endpoints are those of all networks, by ID.
	endpoints map[string]*endpoint
	// watchman is the value that supervises the instances; nil until there is one to
	// supervise.
	watchman *Provider
}

// NewBackend makes a backend that several values share through Options.Backend.
// It lives until Close. Namespace and Owner mean nothing here.
func NewBackend(opts Options) *Backend {
	b := &Backend{
		broken:     opts.Validate().Err(),
		opts:       opts.withDefaults(),
		identities: identities{seed: opts.Seed},
		spaces:     make(map[string]*space),
		values:     make(map[*Provider]struct{}),
		over:       make(chan struct{}),
		sharing:    newSharing(),
	}
	b.opts.Programs = maps.Clone(opts.Programs)
	b.opts.Latency = maps.Clone(opts.Latency)
	b.fields, b.offers = fieldsBy(opts), allFeatures()
	if !opts.Features.isZero() {
		b.offers = b.offers.narrowed(opts.Features)
		b.fields = b.offers.refuse(b.fields)
	}
	b.initStorage()
	b.registry.open = opts.Images == nil
	if b.broken == nil {
		b.registry.push(opts.Images)
		b.broken = b.registry.load()
	}
	return b
}

// space returns a namespace's, made on its first use. The backend is locked.
func (b *Backend) space(name string) *space {
	s := b.spaces[name]
	if s == nil {
		s = &space{backend: b, name: name}
		s.hub.capacity = b.opts.History
		s.hub.token = fmt.Sprintf("%08x", uint32(b.newToken("hub", name, "")))
		b.spaces[name] = s
		for _, local := range b.registry.local {
			// What does not fit on the disk must be pulled.
			_, _ = s.keep(local.artifact, local.name)
		}
	}
	return s
}

// newObject returns what a new record has, with its identity. The backend is
// locked.
func (b *Backend) newObject(p *Provider, kind resource.Kind, name string) object {
	b.order++
	return object{
		space:    p.space,
		kind:     kind,
		name:     name,
		id:       b.newID(kind, p.space.name, name),
		order:    b.order,
		owner:    p.owner,
		created:  time.Now(),
		revision: 1,
		managed:  true,
	}
}

// alive reports whether a generation is. The backend is locked.
func (b *Backend) alive(generation string) bool {
	for p := range b.values {
		if p.owner.Generation == generation {
			return true
		}
	}
	return false
}

// delay returns how long a call takes by the latency model.
func (b *Backend) delay(op Op, at target) time.Duration {
	if len(b.opts.Latency) == 0 {
		return 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spreadOf(op, at)
}

// spreadOf is delay where the backend is locked.
func (b *Backend) spreadOf(op Op, at target) time.Duration {
	spread, ok := b.opts.Latency[op]
	if !ok && op != OpBoot {
		spread = b.opts.Latency[""]
	}
	if spread.Max <= spread.Min {
		return spread.Min
	}
	// The chance depends on the operation and its resource, not on the order of
	// unrelated calls. What is yet to come, as by a pull, has only a name.
	chance := b.newToken("latency", string(op), cmp.Or(at.ref.ID, at.ref.Name))
	return spread.Min + time.Duration(chance%uint64(spread.Max-spread.Min+1))
}

// Fail injects a fault into the calls of every value on the backend. A fault that
// makes no sense or can never strike is not injected; Injection.Err says why, and the
// test fails to which Test gave a value on the backend that it made.
func (b *Backend) Fail(f Fault) *Injection {
	b.ruled.Store(true)
	return b.inject(&b.faults, f, b.report)
}

// inject refuses what makes no sense, and reports it where there is whom to.
func (b *Backend) inject(in *injections, f Fault, report func(error)) *Injection {
	err := f.validate(b.offers)
	if err == nil && f.event && !b.opts.Supervised && slices.Equal(slices.Compact(slices.Clone(f.site.ops)), []Op{resource.ReasonHealth}) {
		err = resource.Faults{{Field: "event", Reason: unsupervised}}
	}
	if err != nil {
		if report != nil {
			report(fmt.Errorf("fake: %s: %w", f, err))
		}
		return &Injection{fault: f, from: in, removed: true, err: err}
	}
	if f.event {
		b.eventFaults.Add(1)
	}
	return in.add(f, b.opts.Seed)
}

// Abandoned names the programs that did not return when they were killed, in the
// order in which they were given up.
func (b *Backend) Abandoned() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.abandoned)
}

// Close ends the backend: programs are killed, and everything on it is gone.
// Values that are still open answer resource.ErrClosed. Closing twice is nil.
func (b *Backend) Close() error {
	b.mu.Lock()
	values := slices.Collect(maps.Keys(b.values))
	b.mu.Unlock()
	for _, p := range values {
		p.end(false)
	}
	b.shutDown()
	return nil
}

// shutDown ends every run and waits for the programs, as long as they may take, and
// for what is being written to callers' writers.
func (b *Backend) shutDown() {
	b.mu.Lock()
	if !b.closed {
		b.closed = true
		close(b.over)
	}
	for _, s := range b.spaces {
		for _, i := range s.instances.byID {
			if r := i.run; r != nil && !r.over {
				r.thaw(r.cpuAt)
				r.force("forced")
			}
		}
	}
	b.mu.Unlock()
	b.crew.wait(b.opts.ProgramGrace + time.Second)
	b.waited.Do(func() { b.writers.wait(streamGrace) })
}
