//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/resource"
)

const diskName = "localhost/guest:1"

// importDisk imports the disk of the test guest.
func importDisk(t *testing.T, p *Provider) compute.Image {
	t.Helper()
	began := time.Now()
	found, err := compute.ImportFile(t.Context(), p.Images(), common.guest.Disk, compute.QCOW2, compute.ImportOptions{Name: diskName})
	require.NoError(t, err)
	require.Len(t, found, 1)
	t.Logf("import %s", time.Since(began))
	return found[0]
}

// filesOf lists the files of the pool but records, whose names have a text.
func filesOf(t *testing.T, p *Provider, text string) []string {
	t.Helper()
	files, err := p.filesIn(context.Background(), p.opts.Pool)
	require.NoError(t, err)
	return slices.DeleteFunc(files, func(f string) bool {
		_, record := parsePlace(f)
		return record || !strings.Contains(f, text)
	})
}

// says waits until a machine has written something to its console.
func says(t *testing.T, p *Provider, inst compute.Instance, text string) string {
	t.Helper()
	var said []byte
	require.Eventually(t, func() bool {
		said, _ = os.ReadFile(p.consoleLog(inst.ID()))
		return strings.Contains(string(said), text)
	}, 60*time.Second, 20*time.Millisecond, "the console says %q", said)
	return string(said)
}

func TestAMachineBootsFromAnImageAndReadsItsSeed(t *testing.T) {
	p := open(t, "boot")
	ctx := t.Context()
	image := importDisk(t, p)
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "web", Image: diskName, RootDisk: resource.GiB,
		Resources: compute.Resources{Memory: 256 * resource.MiB},
		CloudInit: &compute.CloudInit{UserData: resource.NewSecret("#cloud-config\nwrite_files:\n- path: /root/note\n  content: secret word\nruncmd:\n- cat /root/note\n- cat /sys/block/vda/size\n- cat /sys/block/vdb/ro\n")},
	})
	require.NoError(t, err)
	info, err := inst.Info(ctx)
	require.NoError(t, err)
	assert.Equal(t, image.Ref.ID, info.Image.ID)
	assert.Equal(t, diskName, info.Image.Name)
	assert.True(t, info.Spec.CloudInit.UserData.Redacted())
	require.NoError(t, inst.Start(ctx, compute.StartOptions{}))
	said := says(t, p, inst, testguest.Ready)
	for _, line := range []string{"guest: seed", "hostname web", "secret word", "\n2097152", "\n1\r"} {
		assert.Contains(t, said, line)
	}
	assert.ErrorIs(t, p.Images().Delete(ctx, diskName, compute.DeleteImageOptions{Force: true}), errdefs.ErrFailedPrecondition)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	assert.Empty(t, filesOf(t, p, inst.ID()))
	require.NoError(t, p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{}))
	assert.Empty(t, filesOf(t, p, ".image"))
}
