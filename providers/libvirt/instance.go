//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"iter"
	"slices"
	"sync/atomic"

	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// instances are the virtual machines of a provider.
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

// load reads the instance's domain.
func (i *instance) load(ctx context.Context) (*domain, error) {
	d, err := i.p.read(ctx, i.id)
	if err != nil {
		return nil, err
	}
	if err := i.meet(d.facts); err != nil {
		return nil, err
	}
	return d, nil
}

// meet takes what was read of the instance's domain. One of another namespace is not
// there.
func (i *instance) meet(f *facts) error {
	if !i.p.ours(f) {
		return errNotFound()
	}
	if f.record != nil && i.name.Load() == nil {
		i.name.Store(&f.record.Name)
	}
	return nil
}

// loadOwned is load for an operation that changes the instance.
func (i *instance) loadOwned(ctx context.Context, revision string) (*domain, error) {
	d, err := i.load(ctx)
	if err == nil {
		err = d.owned()
	}
	if err == nil {
		err = d.checkRevision(revision)
	}
	return d, err
}

// Info implements compute.Instance.
func (i *instance) Info(ctx context.Context) (compute.Info, error) {
	ctx, done, err := i.p.begin(ctx)
	if err != nil {
		return compute.Info{}, i.fail("info", err)
	}
	defer done()
	d, err := i.load(ctx)
	if err != nil {
		return compute.Info{}, i.fail("info", err)
	}
	d = i.p.withExit(ctx, d)
	i.p.keepPublished(ctx, d)
	info := i.p.info(d)
	endpoints, waiting, err := i.p.endpointsNow(ctx, d)
	if err != nil {
		return compute.Info{}, i.fail("info", err)
	}
	located(&info, endpoints, waiting)
	d.judge(&info, i.p.supervised())
	if d.state == compute.Running && len(endpoints) > 0 && waiting > 0 {
		i.p.expectAddress(i.id)
	}
	return info, nil
}

// Get implements compute.Instances.
func (s instances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	ref := s.p.ref(resource.KindInstance, idOrName, "")
	byID := resource.IsID(idOrName)
	if byID {
		ref.Name, ref.ID = "", idOrName
	}
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("get", ref, err)
	}
	defer done()
	if byID {
		i := s.p.handle(idOrName, "")
		if _, err := i.load(ctx); err != nil {
			return nil, resource.Fail("get", ref, err)
		}
		return i, nil
	}
	if reason := resource.CheckName(idOrName); reason != "" {
		return nil, resource.Fail("get", s.p.ref(resource.KindInstance, "", ""),
			resource.Faults{{Field: "idOrName", Reason: reason}})
	}
	id, err := call(ctx, s.p, func(c *lv.Connect) (string, error) {
		d, err := c.LookupDomainByName(domainName(s.p.opts.Namespace, idOrName))
		if err != nil {
			return "", err
		}
		defer d.Free()
		return d.GetUUIDString()
	})
	if err == nil {
		i := s.p.handle(id, "")
		var d *domain
		if d, err = i.load(ctx); err == nil && d.facts.foreign() {
			err = errNotFound()
		}
		if err == nil {
			return i, nil
		}
	}
	if isNotFound(err) {
		err = errNotFound()
	}
	return nil, resource.Fail("get", ref, err)
}

// List implements compute.Instances.
func (s instances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return func(yield func(compute.Info, error) bool) {
		all, err := s.domains(ctx, filter)
		read, infos := new(segments), make([]compute.Info, 0, min(len(all), atATime))
		for part := range slices.Chunk(all, atATime) {
			if infos, err = s.tell(ctx, part, filter, read, infos[:0]); err != nil {
				break
			}
			for _, info := range infos {
				if !yield(info, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(compute.Info{}, resource.Fail("list", s.p.ref(resource.KindInstance, "", ""), err))
		}
	}
}

// atATime is of how many instances a list has the infos at a time: they are large, and
// few stay in the processor's cache.
const atATime = 32

// list is List in one go.
func (s instances) list(ctx context.Context, filter compute.Filter) ([]compute.Info, error) {
	all, err := s.domains(ctx, filter)
	if err != nil {
		return nil, err
	}
	return s.tell(ctx, all, filter, new(segments), make([]compute.Info, 0, len(all)))
}

// domains returns those to be told of, whatever the filter says of them.
func (s instances) domains(ctx context.Context, filter compute.Filter) ([]*domain, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if err := filter.Validate().Err(); err != nil {
		return nil, err
	}
	return s.p.known(ctx)
}

// tell appends the infos of the domains that the filter lets through.
func (s instances) tell(ctx context.Context, some []*domain, filter compute.Filter, read *segments, infos []compute.Info) ([]compute.Info, error) {
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	supervised := s.p.supervised()
	for _, d := range some {
		if !s.p.ours(d.facts) {
			continue
		}
		d = s.p.withExit(ctx, d)
		if info := s.p.info(d); filter.Matches(info) {
			endpoints, waiting, err := s.p.endpointsOf(ctx, d, read)
			if err != nil {
				return nil, err
			}
			located(&info, endpoints, waiting)
			d.judge(&info, supervised)
			infos = append(infos, info)
		}
	}
	return infos, nil
}

var errNoRun = errors.New("the instance has never run")
