package fake

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// instances are the instances of a value's namespace.
type instances struct{ p *Provider }

var _ compute.Instances = instances{}

func (s instances) fail(op Op, name string, err error) error {
	return resource.Fail(op.verb(), s.p.ref(resource.KindInstance, name, ""), err)
}

// Create makes an instance.
func (s instances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	h, err := s.p.createInstance(ctx, OpCreate, spec, nil, nil)
	if err != nil {
		return nil, err
	}
	return h, nil
}

// createInstance makes an instance for an operation: of the image that its spec
// names, unless one is given. Before it is finished, finish may do more to it
// with the backend locked; where that fails it must have done nothing.
func (p *Provider) createInstance(ctx context.Context, op Op, spec compute.Spec, img *image, finish func(*instance) error) (*handle, error) {
	ref := p.ref(resource.KindInstance, spec.Name, "")
	if err := p.open(ctx); err != nil {
		return nil, resource.Fail(op.verb(), ref, err)
	}
	if err := p.checkSpec(spec); err != nil {
		return nil, resource.Fail(op.verb(), ref, err)
	}
	own := completed(spec)
	i, err := p.register(&own)
	if err != nil {
		return nil, resource.Fail(op.verb(), ref, err)
	}
	c, err := p.make(ctx, op, i, img, finish)
	if err != nil {
		return nil, resource.Fail(op.verb(), i.ref(), err)
	}
	h := &handle{p: p, id: i.id, name: spec.Name}
	if err := c.done(nil); err != nil {
		return nil, resource.Fail(op.verb(), i.ref(), err)
	}
	return h, nil
}

// checkSpec finds everything that is wrong with a spec before any effect.
func (p *Provider) checkSpec(spec compute.Spec) error {
	if err := checkValues(spec).Err(); err != nil {
		return err
	}
	if err := p.backend.fieldsOf(kindOf(spec)).Refuse(&spec); err != nil {
		return err
	}
	if spec.Native.For(Scheme) != nil {
		return unsupportedField("native", noNative)
	}
	return nil
}

// checkValues reports the faults of a spec: its own, and those that only the
// provider's choice of a kind makes faults.
func checkValues(spec compute.Spec) resource.Faults {
	faults := spec.Validate()
	const cpus = "resources.cpus"
	told := slices.ContainsFunc(faults, func(f resource.Fault) bool { return f.Field == cpus })
	if n := spec.Resources.CPUs; !told && kindOf(spec) == compute.VM && n != math.Trunc(n) {
		faults.Add(cpus, "must be a whole number for a virtual machine, is %v", n)
	}
	switch {
	case spec.Image != "":
	case kindOf(spec) == compute.Container:
		faults.Add("image", "is required")
	case spec.Boot == nil || spec.Boot.Kernel == "":
		faults.Add("image", "is required where boot has no kernel")
	}
	return faults
}

func unsupportedField(field, reason string) error {
	err := resource.Unsupported(field, reason)
	err.Field = field
	return err
}

func kindOf(spec compute.Spec) compute.Kind {
	if spec.Kind == "" {
		return compute.Container
	}
	return spec.Kind
}

// completed returns a copy of the spec with the provider's choices filled in.
func completed(spec compute.Spec) compute.Spec {
	spec = spec.Clone()
	spec.Kind = kindOf(spec)
	if spec.Pull == "" {
		spec.Pull = compute.PullIfMissing
	}
	if spec.Hostname == "" {
		spec.Hostname = spec.Name
	}
	if spec.StopGrace == 0 {
		spec.StopGrace = compute.DefaultGrace
	}
	return spec
}

// register makes the record of an instance in the making: the name is taken from
// here on.
func (p *Provider) register(spec *compute.Spec) (*instance, error) {
	b := p.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if other, taken := p.space.instances.byName[spec.Name]; taken {
		return nil, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name",
			Err: fmt.Errorf("an instance of this name exists, with the ID %s", other.id)}
	}
	if err := p.space.place(spec.Placement); err != nil {
		return nil, err
	}
	if most := b.opts.Capacity.Instances; most > 0 && b.used.instances >= most {
		return nil, resource.Errorf(errdefs.ErrResourceExhausted, "the host may have %d instances", most)
	}
	if err := b.store(spec.RootDisk); err != nil {
		return nil, err
	}
	b.used.instances++
	b.sharing.spec(spec)
	i := &instance{
		object: b.newObject(p, resource.KindInstance, spec.Name),
		state:  compute.Creating,
		spec:   spec,
	}
	i.making = true
	i.labels, i.annotations = spec.Labels, spec.Annotations
	p.space.instances.insert(i)
	return i, nil
}

// make turns an instance in the making into a stopped one. Where it fails nothing
// of it is left, unless the value has crashed.
func (p *Provider) make(ctx context.Context, op Op, i *instance, img *image, finish func(*instance) error) (call, error) {
	b := p.backend
	c, err := p.reach(ctx, op, i.target())
	found := named{image: img}
	switch {
	case err != nil || i.spec.Image == "":
	case img == nil:
		found, err = p.obtain(ctx, i.spec.Image, i.spec.Pull)
	default:
		found.name = fullName(i.spec.Image)
	}
	if err == nil {
		err = i.prepareFiles(found.image)
	}
	var others strangers
	if err == nil {
		others, err = p.askOthers(ctx, i.spec.Networks, func(n int, name string) string { return at("networks", n) + "." + name })
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		// A value that is closed from here on finds the instance among its own.
		err = p.open(ctx)
	}
	if err == nil {
		err = i.furnish(found, others, finish)
	}
	switch {
	case err == nil:
		i.making = false
		i.state = compute.Stopped
		p.space.emit(i, resource.EventAdded, resource.ReasonCreate)
	case !p.crashed.Load():
		p.space.forgetInstance(i)
	}
	return c, err
}

// furnish gives an instance in the making its image, volumes and endpoints; where
// it fails it has done nothing. The backend is locked.
func (i *instance) furnish(found named, others strangers, finish func(*instance) error) error {
	img := found.image
	if img != nil {
		if img.gone {
			return noImage(i.spec.Image)
		}
		if img.artifact.form == compute.Disk && i.spec.Kind == compute.Container {
			return resource.Faults{{Field: "image", Reason: "is a disk, and only a virtual machine boots from one"}}
		}
		if _, err := img.user(i.spec.Process.User); err != nil {
			return err
		}
	}
	i.image, i.imageName = img, found.name
	err := i.attachAll(others, finish)
	if err != nil {
		i.image, i.imageName = nil, ""
		return err
	}
	if img != nil {
		img.used++
	}
	return nil
}

// attachAll gives an instance that has its image everything else.
func (i *instance) attachAll(others strangers, finish func(*instance) error) error {
	if err := i.attachVolumes(); err != nil {
		return err
	}
	if err := i.attachEndpoints(others); err != nil {
		i.detachVolumes()
		return err
	}
	if finish == nil {
		return nil
	}
	if err := finish(i); err != nil {
		i.detachEndpoints()
		i.detachVolumes()
		return err
	}
	return nil
}

// Get returns the instance of an ID or a name.
func (s instances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	p := s.p
	at := target{ref: p.asked(resource.KindInstance, idOrName)}
	err := p.open(ctx)
	if err == nil {
		err = checkIDOrName(idOrName)
	}
	var c call
	if err == nil {
		p.backend.mu.Lock()
		i, ok := p.space.instances.find(idOrName)
		if ok {
			at = i.target()
		}
		p.backend.mu.Unlock()
		if c, err = p.reach(ctx, OpGet, at); err == nil && !ok {
			err = errNoInstance
		}
	}
	if err := c.done(err); err != nil {
		return nil, resource.Fail(OpGet.verb(), at.ref, err)
	}
	return &handle{p: p, id: at.ref.ID, name: at.ref.Name}, nil
}

// checkIDOrName refuses what can be neither.
func checkIDOrName(text string) error {
	if resource.IsID(text) {
		return nil
	}
	if reason := resource.CheckName(text); reason != "" {
		return resource.Faults{{Field: "idOrName", Reason: reason}}
	}
	return nil
}

// Handle returns the instance of an ID.
func (s instances) Handle(id string) compute.Instance { return &handle{p: s.p, id: id} }

// List yields the instances that match, in the order of their creation.
func (s instances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return func(yield func(compute.Info, error) bool) {
		matching, c, err := s.matching(ctx, OpList, filter)
		if err == nil {
			for _, i := range matching {
				if err = s.p.open(ctx); err != nil {
					break
				}
				info, ok := s.infoOf(i, filter)
				if ok && !yield(info, nil) {
					return
				}
			}
		}
		if err = c.done(err); err != nil {
			yield(compute.Info{}, s.fail(OpList, "", err))
		}
	}
}

// infoOf reads an instance of a list, unless it is gone or does not match by now.
func (s instances) infoOf(i *instance, filter compute.Filter) (compute.Info, bool) {
	s.p.backend.mu.Lock()
	defer s.p.backend.mu.Unlock()
	if i.gone {
		return compute.Info{}, false
	}
	info := i.info()
	return info, filter.Matches(info)
}

// matching returns the instances that a filter may let through.
func (s instances) matching(ctx context.Context, op Op, filter compute.Filter) ([]*instance, call, error) {
	p := s.p
	if err := p.open(ctx); err != nil {
		return nil, call{}, err
	}
	if err := filter.Validate().Err(); err != nil {
		return nil, call{}, err
	}
	c, err := p.reach(ctx, op, target{ref: p.ref(resource.KindInstance, "", "")})
	if err != nil {
		return nil, c, err
	}
	p.backend.mu.Lock()
	defer p.backend.mu.Unlock()
	return p.space.instances.selects(selection{
		names: filter.Names, ids: filter.IDs, selector: filter.Selector, unmanaged: filter.Unmanaged,
	}), c, nil
}

// Stats yields the counters of the running instances that match.
func (s instances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return func(yield func(compute.Stats, error) bool) {
		matching, c, err := s.matching(ctx, OpStats, filter)
		if err == nil {
			// It is offered as long as one kind of instance has it.
			err = s.p.backend.offers.refuses(OpStats, compute.Container)
			if err != nil && s.p.backend.offers.refuses(OpStats, compute.VM) == nil {
				err = nil
			}
		}
		if err == nil {
			for _, i := range matching {
				if err = s.p.open(ctx); err != nil {
					break
				}
				stats, ok := s.statsOf(i, filter)
				if ok && !yield(stats, nil) {
					return
				}
			}
		}
		if err = c.done(err); err != nil {
			yield(compute.Stats{}, s.fail(OpStats, "", err))
		}
	}
}

func (s instances) statsOf(i *instance, filter compute.Filter) (compute.Stats, bool) {
	s.p.backend.mu.Lock()
	defer s.p.backend.mu.Unlock()
	if i.gone || i.run == nil || !i.features().Has(compute.FeatureStats) || i.run.over || i.state == compute.Suspended || !filter.Matches(i.info()) {
		return compute.Stats{}, false
	}
	return i.run.stats(), true
}

// processSize is the memory that a process has by its mere being.
const processSize = 256 << 10

// stats reads the counters. The backend is locked.
func (r *run) stats() compute.Stats {
	now := time.Now()
	r.settle(now)
	pids := int64(len(r.processes))
	if r.main == nil {
		pids++
	}
	limit := int64(-1)
	usage := r.memory + pids*processSize
	if r.limits.Memory > 0 {
		limit = r.limits.Memory
		usage = min(usage, limit)
	}
	peak := max(r.peak, usage)
	if r.activity != idle {
		r.peak = peak
	}
	throttled := int64(r.throttled / (100 * time.Millisecond))
	return compute.Stats{
		Ref:  r.instance.ref(),
		Time: now,
		Run:  r.exit.Run,
		CPU: compute.CPUStats{
			Usage: r.cpu, User: r.cpu, ThrottledPeriods: throttled, Throttled: r.throttled,
		},
		Memory:  compute.MemoryStats{Usage: usage, Peak: peak, Limit: limit, OOMKills: r.oomKills},
		PIDs:    pids,
		Disk:    r.instance.diskStats(),
		Network: r.instance.networkStats(),
	}
}
