package fake

import (
	"context"
	"fmt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
	"iter"
)

type run struct{}
type image struct{}
type imageStore struct{}
type registry struct{}
type Image struct{}

func (Image) Validate() resource.Faults { return nil }

type Program func(ctx context.Context, p *Process) int
type Process struct{}
type instances struct{ p *Provider }

func (instances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	return nil, nil
}
func (instances) Get(ctx context.Context, idOrName string) (compute.Instance, error) { return nil, nil }
func (instances) Handle(id string) compute.Instance                                  { return nil }
func (instances) List(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Info, error] {
	return nil
}
func (instances) Stats(ctx context.Context, filter compute.Filter) iter.Seq2[compute.Stats, error] {
	return nil
}

type images struct {
	p *Provider
}

func (p *Provider) Describe(ctx context.Context) (univirt.Description, error) {
	return univirt.Description{}, nil
}
func (p *Provider) Watch(ctx context.Context, opts resource.WatchOptions) iter.Seq2[resource.Event, error] {
	return nil
}
func (p *Provider) Dump() string     { return "" }
func (p *Provider) deleteEphemeral() {}
func (b *Backend) shutDown()         {}
func (b *Backend) Abandoned() []string {
	return nil
}

type dumper struct{}

func at(field string, index int) string { return fmt.Sprintf("%s[%d]", field, index) }
