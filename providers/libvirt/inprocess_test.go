//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// TestAHypervisorOfAFile is libvirt's own for tests, of which each connection has one of
// its own: what is made by one, and looked up natively, is in the same.
func TestAHypervisorOfAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "node.xml")
	require.NoError(t, os.WriteFile(path, []byte("<node><cpu><nodes>1</nodes><sockets>1</sockets><cores>2</cores><threads>1</threads><active>2</active><mhz>1000</mhz><model>x</model></cpu><memory>4194304</memory></node>"), 0o600))
	u, err := url.Parse("libvirt:test://" + path + "?state=" + t.TempDir())
	require.NoError(t, err)
	ctx := t.Context()
	opts, err := parseURL(u)
	require.NoError(t, err)
	p, err := New(ctx, opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, p.Close()) }()
	spec := compute.Spec{Name: "web", Boot: &compute.Boot{Kernel: "/vmlinuz"}, Resources: compute.Resources{Memory: 64 * resource.MiB}}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	_, err = p.Instances().Create(ctx, spec)
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	d, err := Domain(ctx, inst)
	require.NoError(t, err)
	id, err := d.GetUUIDString()
	require.NoError(t, err)
	assert.Equal(t, inst.ID(), id)
	require.NoError(t, d.Free())
	require.ErrorIs(t, inst.Delete(ctx, compute.DeleteOptions{}), errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Stop(ctx, compute.StopOptions{Force: true}))
	infos, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
	require.NoError(t, err)
	require.Len(t, infos, 1)
	assert.Equal(t, compute.Stopped, infos[0].State)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	_, err = Domain(ctx, inst)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
}

func TestNetworksOfTheUnprivileged(t *testing.T) {
	p := &Provider{opts: Options{URI: "qemu:///session"}, hyper: hypervisor{virtType: "kvm"}}
	assert.Empty(t, p.noNetworks(), "root's own may make bridges")
	p.hyper.noNetworks = noRights
	assert.Equal(t, resource.FieldRefused, p.hyper.fields().Rule("networks[].network").Level)
	assert.Equal(t, resource.Support{Reason: noRights}, p.machines().Features[compute.FeatureAttachNetwork])
	_, err := p.Networks().Create(t.Context(), network.Spec{Name: "lan"})
	require.ErrorIs(t, err, errors.ErrUnsupported)
	require.ErrorContains(t, err, noRights)
}
