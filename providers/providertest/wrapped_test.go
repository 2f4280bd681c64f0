package providertest

import (
	"context"

	univirt "github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
)

// wrapped forwards a provider and knows of no extension: each is found through
// Unwrap.
type wrapped struct{ univirt.Provider }

func (w *wrapped) Unwrap() univirt.Provider { return w.Provider }

func (w *wrapped) Instances() compute.Instances { return wrappedInstances{w.Provider.Instances()} }

type wrappedInstances struct{ compute.Instances }

func (w wrappedInstances) Unwrap() compute.Instances { return w.Instances }

func (w wrappedInstances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	return wrapInstance(w.Instances.Create(ctx, spec))
}

func (w wrappedInstances) Get(ctx context.Context, idOrName string) (compute.Instance, error) {
	return wrapInstance(w.Instances.Get(ctx, idOrName))
}

func (w wrappedInstances) Handle(id string) compute.Instance {
	return wrappedInstance{w.Instances.Handle(id)}
}

type wrappedInstance struct{ compute.Instance }

func (w wrappedInstance) Unwrap() compute.Instance { return w.Instance }

func wrapInstance(inst compute.Instance, err error) (compute.Instance, error) {
	if err != nil {
		return nil, err
	}
	return wrappedInstance{inst}, nil
}

var (
	_ univirt.Provider  = (*wrapped)(nil)
	_ compute.Instances = wrappedInstances{}
	_ compute.Instance  = wrappedInstance{}
)
