package fake

import (
	"context"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

var _ compute.Cloner = (*handle)(nil)

// Clone makes an instance with a copy of the root filesystem. What the original
// asked for by address, MAC or host port the copy is given by choice.
func (h *handle) Clone(ctx context.Context, opts compute.CloneOptions) (compute.Instance, error) {
	p := h.p
	fail := func(err error) (compute.Instance, error) { return nil, h.fail(OpClone, err) }
	if err := p.open(ctx); err != nil {
		return fail(err)
	}
	if err := opts.Validate().Err(); err != nil {
		return fail(err)
	}
	b := p.backend
	b.mu.Lock()
	i, err := h.find(OpClone)
	b.mu.Unlock()
	if err == nil {
		_, err = i.opened()
	}
	if err != nil {
		return fail(err)
	}
	b.mu.Lock()
	spec, img, err := i.cloned(opts)
	b.mu.Unlock()
	if err != nil {
		return fail(err)
	}
	clone, err := p.createInstance(ctx, OpClone, spec, img, func(fresh *instance) error {
		if i.gone {
			return errNoInstance
		}
		root := i.parts.files.root.root
		if s := i.snapshot(opts.Snapshot); s != nil {
			root = s.root
		} else if opts.Snapshot != "" {
			return noSnapshot(opts.Snapshot)
		}
		b.files.Lock()
		defer b.files.Unlock()
		fresh.dropFiles()
		fresh.setRoot(root.copyTree())
		fresh.introduce()
		return fresh.putUp()
	})
	if err != nil {
		return nil, err
	}
	return clone, nil
}

// cloned returns the spec of a copy, and its image. The backend is locked.
func (i *instance) cloned(opts compute.CloneOptions) (compute.Spec, *image, error) {
	if err := i.settled(); err != nil {
		return compute.Spec{}, nil, err
	}
	if opts.Snapshot != "" && i.snapshot(opts.Snapshot) == nil {
		return compute.Spec{}, nil, noSnapshot(opts.Snapshot)
	}
	spec := i.spec.Clone()
	if spec.Hostname == spec.Name {
		spec.Hostname = ""
	}
	spec.Name = opts.Name
	if opts.Labels != nil {
		spec.Labels = resource.Clone(opts.Labels)
	}
	var networks []compute.NetworkAttachment
	for _, n := range spec.Networks {
		if n.Endpoint == "" {
			networks = append(networks, compute.NetworkAttachment{Network: n.Network, Aliases: n.Aliases})
		}
	}
	spec.Networks = networks
	for n := range spec.Ports {
		spec.Ports[n].Host = 0
	}
	// The content is the copy's, with what was written over the spec's files.
	spec.Files = nil
	return spec, i.image, nil
}
