//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func TestDomainOfAnInstance(t *testing.T) {
	p := inProcess(t, "native", t.TempDir())
	ctx := t.Context()
	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"},
		Native: compute.Natives{DomainEdit{Version: "1", Edit: func(d *libvirtxml.Domain) error { d.Title = "by hand"; return nil }}}})
	require.NoError(t, err)
	d, err := Domain(ctx, inst)
	require.NoError(t, err)
	text, err := d.GetXMLDesc(0)
	require.NoError(t, err)
	assert.Contains(t, text, "<title>by hand</title>")
	require.NoError(t, d.Free())
	_, err = Domain(ctx, p.Instances().Handle(resource.NewID()))
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, err = Domain(done, inst)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))

	other := fake.New(fake.Options{})
	defer func() { require.NoError(t, other.Close()) }()
	_, err = Domain(ctx, other.Instances().Handle(resource.NewID()))
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestCloseWithinAnEdit(t *testing.T) {
	p := inProcess(t, "native", t.TempDir())
	spec := compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"}, Native: compute.Natives{DomainEdit{Version: "1", Edit: func(*libvirtxml.Domain) error {
		return p.Close()
	}}}}
	over := make(chan error, 1)
	go func() { _, err := p.Instances().Create(t.Context(), spec); over <- err }()
	select {
	case err := <-over:
		require.ErrorIs(t, err, resource.ErrClosed)
	case <-time.After(10 * time.Second):
		require.Fail(t, "Close waits for its caller")
	}
}
