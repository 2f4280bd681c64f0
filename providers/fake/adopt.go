package fake

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// PlantForeign makes an instance that this library does not manage, as another
// tool on the same host would: it is listed on request only, and Adopt takes it
// over. Only Name, Kind, Image and the process of the spec count. It is Stopped.
// A namespace that is empty is "default".
func (b *Backend) PlantForeign(namespace string, spec compute.Spec) (resource.Ref, error) {
	if namespace == "" {
		namespace = defaultNamespace
	}
	fail := func(err error) (resource.Ref, error) {
		return resource.Ref{}, resource.Fail("plant", resource.Ref{Provider: Scheme, Kind: resource.KindInstance, Namespace: namespace, Name: spec.Name}, err)
	}
	faults := checkValues(spec)
	if reason := resource.CheckNamespace(namespace); reason != "" {
		faults.AddReason("namespace", reason)
	}
	if err := faults.Err(); err != nil {
		return fail(err)
	}
	// A value that nobody else sees does it.
	b.mu.Lock()
	p := &Provider{backend: b, space: b.space(namespace), owner: nobody, over: make(chan struct{})}
	b.mu.Unlock()
	foreign := completed(compute.Spec{Name: spec.Name, Kind: spec.Kind, Image: spec.Image, Process: spec.Process, Boot: spec.Boot})
	i, err := p.register(&foreign)
	if err != nil {
		return fail(err)
	}
	b.mu.Lock()
	i.managed = false
	b.mu.Unlock()
	if _, err := p.make(context.Background(), OpCreate, i, nil, nil); err != nil {
		return fail(err)
	}
	return i.ref(), nil
}

// Adopt makes an instance managed that PlantForeign made, or makes this value the
// owner of one that is. Its identity stays.
func (p *Provider) Adopt(ctx context.Context, foreign resource.Ref, opts univirt.AdoptOptions) (resource.Ref, error) {
	h := &handle{p: p, id: foreign.ID, name: foreign.Name}
	fail := func(err error) (resource.Ref, error) {
		return resource.Ref{}, resource.Fail(OpAdopt.verb(), foreign, err)
	}
	if err := p.open(ctx); err != nil {
		return fail(err)
	}
	if err := opts.Validate().Err(); err != nil {
		return fail(err)
	}
	if foreign.Kind != "" && foreign.Kind != resource.KindInstance {
		return fail(resource.Unsupported("adopting a "+string(foreign.Kind), "only instances can be foreign here"))
	}
	if here := p.ref(foreign.Kind, foreign.Name, foreign.ID); foreign.Provider != "" && foreign.Provider != here.Provider ||
		foreign.Namespace != "" && foreign.Namespace != here.Namespace {
		return fail(errNoInstance)
	}
	if h.id == "" {
		p.backend.mu.Lock()
		i, ok := p.space.instances.byName[foreign.Name]
		if ok {
			h.id = i.id
		}
		p.backend.mu.Unlock()
		if !ok {
			return fail(errNoInstance)
		}
	}
	var adopted resource.Ref
	err := h.change(ctx, OpAdopt, "", "", func(i *instance, _ compute.Transition) error {
		if err := i.adopt(p, opts); err != nil {
			return err
		}
		adopted = i.ref()
		return nil
	})
	return adopted, err
}

// adopt makes the value the owner. The backend is locked.
func (i *instance) adopt(p *Provider, opts univirt.AdoptOptions) error {
	s := i.space
	renamed := opts.Name != "" && opts.Name != i.name
	switch {
	case i.making:
		return resource.Errorf(errdefs.ErrFailedPrecondition, "the instance is %s", i.state)
	case renamed && i.managed:
		return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "name",
			Err: fmt.Errorf("a managed instance keeps its name")}
	case renamed && s.instances.named(opts.Name):
		return &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: fmt.Errorf("an instance of this name exists")}
	}
	spec := i.spec.Clone()
	if renamed {
		s.instances.rename(i, opts.Name)
		spec.Name = opts.Name
	}
	was, managed := i.labels, i.managed
	if opts.Labels != nil {
		spec.Labels = resource.Clone(opts.Labels)
		s.instances.relabel(i, spec.Labels)
	}
	i.spec, i.owner, i.managed = &spec, p.owner, true
	i.revision++
	if managed {
		s.emitRelabeled(i, resource.EventChanged, resource.ReasonUpdate, was, true)
	} else {
		s.emit(i, resource.EventAdded, resource.ReasonCreate)
	}
	return nil
}
