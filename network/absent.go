package network

import (
	"context"
	"iter"

	"github.com/univirt/univirt/resource"
)

// Absent returns Networks of which every method answers errors.ErrUnsupported
// with the reason given: what a provider without networks returns from its
// accessor.
func Absent(reason string) Networks { return absent{reason} }

type absent struct{ reason string }

var (
	_ Networks = absent{}
	_ Network  = absentNetwork{}
	_ Endpoint = absentEndpoint{}
)

func (a absent) fail(op string, ref resource.Ref) error {
	if ref.Kind == "" {
		ref.Kind = resource.KindNetwork
	}
	return resource.Fail(op, ref, resource.Unsupported("networks", a.reason))
}

func (a absent) Create(_ context.Context, spec Spec) (Network, error) {
	return nil, a.fail("create", resource.Ref{Name: spec.Name})
}

func (a absent) Get(_ context.Context, idOrName string) (Network, error) {
	return nil, a.fail("get", resource.Ref{Name: idOrName})
}

func (a absent) Handle(id string) Network { return absentNetwork{a, id} }

func (a absent) List(context.Context, Filter) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, a.fail("list", resource.Ref{})) }
}

type absentNetwork struct {
	absent
	id string
}

func (n absentNetwork) ID() string { return n.id }

func (n absentNetwork) Info(context.Context) (Info, error) {
	return Info{}, n.fail("info", resource.Ref{ID: n.id})
}

func (n absentNetwork) Update(context.Context, Change) error {
	return n.fail("update", resource.Ref{ID: n.id})
}

func (n absentNetwork) Delete(context.Context, DeleteOptions) error {
	return n.fail("delete", resource.Ref{ID: n.id})
}

func (n absentNetwork) Reserve(context.Context, EndpointSpec) (Endpoint, error) {
	return nil, n.fail("reserve", resource.Ref{ID: n.id})
}

func (n absentNetwork) Endpoint(id string) Endpoint { return absentEndpoint{n.absent, id} }

func (n absentNetwork) Endpoints(context.Context, EndpointFilter) iter.Seq2[EndpointInfo, error] {
	return func(yield func(EndpointInfo, error) bool) {
		yield(EndpointInfo{}, n.fail("list endpoints", resource.Ref{ID: n.id}))
	}
}

type absentEndpoint struct {
	absent
	id string
}

func (e absentEndpoint) ID() string { return e.id }

func (e absentEndpoint) Info(context.Context) (EndpointInfo, error) {
	return EndpointInfo{}, e.fail("info", resource.Ref{Kind: resource.KindEndpoint, ID: e.id})
}

func (e absentEndpoint) Release(context.Context) error {
	return e.fail("release", resource.Ref{Kind: resource.KindEndpoint, ID: e.id})
}
