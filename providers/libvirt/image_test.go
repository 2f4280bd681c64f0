//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/filelock"
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

// TestADiskOfALargeImageIsQuicklyMade holds what an instance of an image costs beyond
// one without: no more than a tenth of a second, however large the image is. Where the
// host is so slow that qemu-img alone takes a part of that, it is a multiple of it.
func TestADiskOfALargeImageIsQuicklyMade(t *testing.T) {
	p := open(t, "quick")
	ctx := t.Context()
	const size = 10 * resource.GiB
	disk := filepath.Join(t.TempDir(), "disk")
	out, err := exec.CommandContext(ctx, "qemu-img", "create", "-f", "qcow2", disk, strconv.Itoa(int(size))).CombinedOutput()
	require.NoError(t, err, "%s", out)
	_, err = compute.ImportFile(ctx, p.Images(), disk, compute.QCOW2, compute.ImportOptions{Name: diskName})
	require.NoError(t, err)
	spec := machine("web")
	spec.Image, spec.CloudInit = diskName, &compute.CloudInit{MetaData: "{}"}
	var took, least []time.Duration
	overlay := filepath.Join(t.TempDir(), "overlay")
	for range 9 {
		began := time.Now()
		out, err := exec.CommandContext(ctx, "qemu-img", "create", "-f", "qcow2", "-b", disk, "-F", "qcow2", overlay).CombinedOutput()
		require.NoError(t, err, "%s", out)
		least = append(least, time.Since(began))
		r, err := instances{p}.record(spec, time.Now())
		require.NoError(t, err)
		id := resource.NewID()
		began = time.Now()
		img, err := p.imageOf(ctx, r.spec)
		require.NoError(t, err)
		require.NoError(t, p.makeDisks(ctx, id, &r, img))
		took = append(took, time.Since(began))
		require.Len(t, filesOf(t, p, id), 2)
		began = time.Now()
		p.undoDisks(ctx, id, r)
		t.Logf("made %s, by qemu-img alone %s, removed %s", took[len(took)-1], least[len(least)-1], time.Since(began))
		require.Empty(t, filesOf(t, p, id))
	}
	require.NoError(t, p.Images().Delete(ctx, diskName, compute.DeleteImageOptions{}))
	slices.Sort(took)
	slices.Sort(least)
	assert.Less(t, took[len(took)/2], max(100*time.Millisecond, 4*least[len(least)/2]))
}

func TestAMachineBootsFromAnImageAndReadsItsSeed(t *testing.T) {
	p := open(t, "boot")
	ctx := t.Context()
	image := importDisk(t, p)
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "web", Image: diskName, RootDisk: resource.GiB,
		Resources: compute.Resources{Memory: 256 * resource.MiB},
		CloudInit: &compute.CloudInit{UserData: resource.NewSecret("#cloud-config\nwrite_files:\n- path: /etc/note\n  content: secret word\nruncmd:\n- cat /etc/note\n- cat /sys/block/vda/size\n- cat /sys/block/vdb/ro\n")},
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
	clone, err := compute.Clone(ctx, inst, compute.CloneOptions{Name: "copy"})
	require.NoError(t, err)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	require.NoError(t, clone.Start(ctx, compute.StartOptions{}))
	said = says(t, p, clone, testguest.Ready)
	for _, line := range []string{"guest: seed", "hostname copy", "secret word", "\n2097152"} {
		assert.Contains(t, said, line)
	}
	require.NoError(t, clone.Delete(ctx, compute.DeleteOptions{Force: true}))
	assert.Empty(t, filesOf(t, p, inst.ID()))
	require.NoError(t, p.Images().Delete(ctx, image.Ref.ID, compute.DeleteImageOptions{}))
	assert.Empty(t, filesOf(t, p, ".image"))
}

// TestASweepTakesWhatDeadMakersLeftOfImagesAndDisks leaves what a kill leaves behind at
// each place where one can hurt.
func TestASweepTakesWhatDeadMakersLeftOfImagesAndDisks(t *testing.T) {
	p := open(t, "swept")
	ctx := t.Context()
	image := importDisk(t, p)
	s := images{p}
	dead := func(what phase) document {
		id := resource.NewID()
		d, err := document{Name: id, ID: id, Created: time.Now()}.begun(what, resource.NewID(), time.Hour).
			withImage(imageFacts{Digest: digestA, Format: compute.RawDisk})
		require.NoError(t, err)
		d, err = s.records().create(ctx, d)
		require.NoError(t, err)
		_, err = onPool(ctx, p, p.opts.Pool, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
			v, err := makeFile(pool, rawFile(imageFile(id), 1<<20), nil)
			if err != nil {
				return struct{}{}, err
			}
			return struct{}{}, v.Free()
		})
		require.NoError(t, err)
		return d
	}
	half, going := dead(making), dead(removing)

	spec := machine("web")
	spec.Image, spec.CloudInit = diskName, &compute.CloudInit{MetaData: "{}"}
	inst, err := p.Instances().Create(ctx, spec)
	require.NoError(t, err)
	c, err := s.catalogue(ctx)
	require.NoError(t, err)
	// A creator died with its disks made, which left its lock.
	r, err := instances{p}.record(spec, time.Now())
	require.NoError(t, err)
	orphan, alive := resource.NewID(), resource.NewID()
	for _, id := range []string{orphan, alive} {
		require.NoError(t, p.makeDisks(ctx, id, &r, c.byID[image.Ref.ID]))
		t.Cleanup(func() { p.undoDisks(context.Background(), id, r) })
		require.NoError(t, os.WriteFile(p.lockPath(id), nil, 0o600))
	}
	// The removal of an image that is in use ended before it had looked.
	used := c.byID[image.Ref.ID].docs[0]
	require.NoError(t, s.amend(ctx, used.ID, func(d document, _ imageFacts) (document, error) {
		return d.begun(removing, resource.NewID(), time.Hour), nil
	}))
	lock, err := filelock.Acquire(ctx, p.lockPath(alive), filelock.Exclusive)
	require.NoError(t, err)
	defer lock.Remove()

	_, err = univirt.Sweep(ctx, p, univirt.SweepOptions{})
	require.NoError(t, err)
	for _, id := range []string{half.ID, going.ID, orphan} {
		assert.Empty(t, filesOf(t, p, id))
	}
	assert.Len(t, filesOf(t, p, alive), 2, "its maker lives")
	assert.Len(t, filesOf(t, p, inst.ID()), 2)
	got, err := p.Images().Get(ctx, diskName)
	require.NoError(t, err, "an image that is in use comes back")
	assert.Equal(t, image.Ref.ID, got.Ref.ID)
	require.NoError(t, inst.Delete(ctx, compute.DeleteOptions{}))
	p.undoDisks(ctx, alive, r)
	require.NoError(t, p.Images().Delete(ctx, diskName, compute.DeleteImageOptions{}))
}
