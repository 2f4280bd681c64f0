package storage

import (
	"context"
	"iter"

	"github.com/univirt/univirt/resource"
)

// Absent returns Volumes of which every method answers errors.ErrUnsupported
// with the reason given: what a provider without storage returns from its
// accessor.
func Absent(reason string) Volumes { return absent{reason} }

type absent struct{ reason string }

var (
	_ Volumes = absent{}
	_ Volume  = absentVolume{}
)

func (a absent) fail(op string, ref resource.Ref) error {
	ref.Kind = resource.KindVolume
	return resource.Fail(op, ref, resource.Unsupported("volumes", a.reason))
}

func (a absent) Create(_ context.Context, spec Spec) (Volume, error) {
	return nil, a.fail("create", resource.Ref{Name: spec.Name})
}

func (a absent) Get(_ context.Context, idOrName string) (Volume, error) {
	return nil, a.fail("get", resource.Ref{Name: idOrName})
}

func (a absent) Handle(id string) Volume { return absentVolume{a, id} }

func (a absent) List(context.Context, Filter) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) { yield(Info{}, a.fail("list", resource.Ref{})) }
}

type absentVolume struct {
	absent
	id string
}

func (v absentVolume) ID() string { return v.id }

func (v absentVolume) Info(context.Context) (Info, error) {
	return Info{}, v.fail("info", resource.Ref{ID: v.id})
}

func (v absentVolume) Update(context.Context, Change) error {
	return v.fail("update", resource.Ref{ID: v.id})
}

func (v absentVolume) Delete(context.Context, DeleteOptions) error {
	return v.fail("delete", resource.Ref{ID: v.id})
}
