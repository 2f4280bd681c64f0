package providertest

import (
	"context"
	"fmt"
	"iter"
	"reflect"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// strict is a provider of which a nil is an error that says who returned it, so that a
// case fails by it instead of ending the test.
type strict struct{ univirt.Provider }

var _ univirt.Provider = strict{}

func (s strict) Unwrap() univirt.Provider { return s.Provider }

// bare is the provider that the harness opened.
func bare(p univirt.Provider) univirt.Provider {
	if s, ok := p.(strict); ok {
		return s.Provider
	}
	return p
}

// isNil reports whether there is nothing in an interface, or a pointer to nothing.
func isNil(v any) bool {
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Invalid:
		return true
	case reflect.Pointer, reflect.Func, reflect.Map, reflect.Chan:
		return r.IsNil()
	}
	return false
}

// made returns what a method has made, or an error where that is nothing.
func made[T any](method string, v T, err error) (T, error) {
	if err == nil && isNil(v) {
		err = fmt.Errorf("%s returned nil, and no error", method)
	}
	return v, err
}

// bound returns what a method that makes no call returned.
func bound[T any](method string, v T) T {
	if isNil(v) {
		panic(method + " returned nil")
	}
	return v
}

// stream returns what a method yields.
func stream[T any](method string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	if seq != nil {
		return seq
	}
	return func(yield func(T, error) bool) {
		var none T
		yield(none, fmt.Errorf("%s returned nil, which cannot be ranged over", method))
	}
}

// accessible says which accessor of a provider returned nil.
func accessible(p univirt.Provider) error {
	for method, v := range map[string]any{
		"Instances": p.Instances(), "Images": p.Images(), "Volumes": p.Volumes(), "Networks": p.Networks(),
	} {
		if isNil(v) {
			return fmt.Errorf("%s returned nil: what is absent answers errors.ErrUnsupported", method)
		}
	}
	return nil
}

func (s strict) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return stream("Watch", s.Provider.Watch(ctx, opts))
}

func (s strict) Instances() compute.Instances {
	if i := s.Provider.Instances(); !isNil(i) {
		return strictInstances{i}
	}
	return nil
}

func (s strict) Volumes() storage.Volumes {
	if v := s.Provider.Volumes(); !isNil(v) {
		return strictVolumes{v}
	}
	return nil
}

func (s strict) Networks() network.Networks {
	if n := s.Provider.Networks(); !isNil(n) {
		return strictNetworks{n}
	}
	return nil
}

type strictInstances struct{ compute.Instances }

func (s strictInstances) Unwrap() compute.Instances { return s.Instances }

func (s strictInstances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	inst, err := s.Instances.Create(ctx, spec)
	return made("Instances.Create", inst, err)
}

func (s strictInstances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	inst, err := s.Instances.Get(ctx, idOrName)
	return made("Instances.Get", inst, err)
}

func (s strictInstances) Handle(id string) compute.Instance {
	return bound("Instances.Handle", s.Instances.Handle(id))
}

func (s strictInstances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return stream("Instances.List", s.Instances.List(ctx, filter))
}

func (s strictInstances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return stream("Instances.Stats", s.Instances.Stats(ctx, filter))
}

type strictVolumes struct{ storage.Volumes }

func (s strictVolumes) Unwrap() storage.Volumes { return s.Volumes }

func (s strictVolumes) Create(ctx context.Context, spec storage.Spec) (storage.Volume, error) {
	v, err := s.Volumes.Create(ctx, spec)
	return made("Volumes.Create", v, err)
}

func (s strictVolumes) Get(ctx context.Context, idOrName string) (storage.Volume, error) {
	v, err := s.Volumes.Get(ctx, idOrName)
	return made("Volumes.Get", v, err)
}

func (s strictVolumes) Handle(id string) storage.Volume {
	return bound("Volumes.Handle", s.Volumes.Handle(id))
}

func (s strictVolumes) List(ctx context.Context, filter storage.Filter) iter.Seq2[storage.Info, error] {
	return stream("Volumes.List", s.Volumes.List(ctx, filter))
}

type strictNetworks struct{ network.Networks }

func (s strictNetworks) Unwrap() network.Networks { return s.Networks }

func (s strictNetworks) Create(ctx context.Context, spec network.Spec) (network.Network, error) {
	n, err := s.Networks.Create(ctx, spec)
	return made("Networks.Create", n, err)
}

func (s strictNetworks) Get(ctx context.Context, idOrName string) (network.Network, error) {
	n, err := s.Networks.Get(ctx, idOrName)
	return made("Networks.Get", n, err)
}

func (s strictNetworks) Handle(id string) network.Network {
	return bound("Networks.Handle", s.Networks.Handle(id))
}

func (s strictNetworks) List(ctx context.Context, filter network.Filter) iter.Seq2[network.Info, error] {
	return stream("Networks.List", s.Networks.List(ctx, filter))
}

// strictly returns the harness with a strict provider; its hooks are given what Open
// returned.
func (h Harness) strictly() Harness {
	if open := h.Open; open != nil {
		h.Open = func(ctx context.Context, opts OpenOptions) (univirt.Provider, error) {
			return opened(open(ctx, opts))
		}
	}
	if open := h.OpenBeside; open != nil {
		h.OpenBeside = func(ctx context.Context, opts OpenOptions, others ...network.Networks) (univirt.Provider, error) {
			own := make([]network.Networks, len(others))
			for n, other := range others {
				if s, ok := other.(strictNetworks); ok {
					other = s.Networks
				}
				own[n] = other
			}
			return opened(open(ctx, opts, own...))
		}
	}
	if prepare := h.Prepare; prepare != nil {
		h.Prepare = func(ctx context.Context, p univirt.Provider) error { return prepare(ctx, bare(p)) }
	}
	if crash := h.Crash; crash != nil {
		h.Crash = func(ctx context.Context, p univirt.Provider) error { return crash(ctx, bare(p)) }
	}
	if sever := h.Sever; sever != nil {
		h.Sever = func(p univirt.Provider, o Outage) (<-chan struct{}, func(), error) { return sever(bare(p), o) }
	}
	if force := h.Force; force != nil {
		h.Force = func(ctx context.Context, p univirt.Provider, id string, state compute.State) error {
			return force(ctx, bare(p), id, state)
		}
	}
	return h
}

// opened returns the strict provider of what was opened.
func opened(p univirt.Provider, err error) (univirt.Provider, error) {
	if p, err = made("Open", p, err); err != nil {
		return nil, err
	}
	return strict{p}, nil
}
