package containerd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/leases"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

func init() {
	// A process that pulls, and says when content comes in.
	roles["pull"] = func() error {
		ctx := context.Background()
		p, err := New(ctx, Options{Address: os.Args[1], Namespace: os.Args[2], StateDir: os.Args[3]})
		if err != nil {
			return err
		}
		_, err = p.Images().Pull(ctx, os.Args[4], compute.PullOptions{Progress: func(now resource.Progress) {
			if now.Done > 2_500_000 {
				fmt.Println("under way")
			}
		}})
		return err
	}
}

// TestPullIsKilled: what is left is under a lease that expires and names the
// generation that died, and the next pull of the image has use for it.
func TestPullIsKilled(t *testing.T) {
	const namespace = "killed"
	p := open(t, Options{Namespace: namespace})
	t.Cleanup(func() { vacate(t, p.opts) })
	r := testregistry.Test(t)
	// The client sends a megabyte at a time to the daemon.
	ref := push(t, r, "app:v1", dataImage(t, 1, 5_000_000))
	remove := r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Slow(5_000_000), Skip: 1})
	before := stock(t, p)

	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, p.opts.Address, namespace, p.opts.StateDir, ref)
	cmd.Env = append(os.Environ(), roleVariable+"=pull")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	assert.NoError(t, cmd.Process.Kill())
	_ = cmd.Wait()
	require.NoError(t, err)
	require.Equal(t, "under way\n", line)
	remove()

	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	manager := p.client.LeasesService()
	all, err := manager.List(ctx)
	require.NoError(t, err)
	var left []leases.Lease
	for _, l := range all {
		if strings.HasPrefix(l.ID, "univirt-image-") {
			left = append(left, l)
		}
	}
	require.Len(t, left, 1)
	assert.True(t, resource.IsID(left[0].Labels[labelGeneration]))
	assert.NotEqual(t, p.owner.Generation, left[0].Labels[labelGeneration])
	expiry, err := time.Parse(time.RFC3339, left[0].Labels["containerd.io/gc.expire"])
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(bringTime), expiry, time.Minute)
	_, err = p.Images().Get(ctx, ref)
	assert.Error(t, err, "nothing has the name")

	t.Run("the next pull goes on", func(t *testing.T) {
		r.Forget()
		_, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
		require.NoError(t, err)
		ranges := 0
		for _, req := range r.Requests() {
			if req.Range != "" {
				ranges++
			}
		}
		assert.Positive(t, ranges)
		require.NoError(t, p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}))
	})
	// As the lease's expiry does, or a sweep.
	require.NoError(t, manager.Delete(ctx, left[0], leases.SynchronousDelete))
	assert.Equal(t, before, stock(t, p))
}

func TestImagesLeaveNoGoroutines(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	ref := push(t, r, "app:v1", dataImage(t, 5, 50_000))
	_, err := p.Images().Pull(t.Context(), ref, compute.PullOptions{Progress: func(resource.Progress) {}})
	require.NoError(t, err)
	stalled := push(t, r, "app:v2", dataImage(t, 5, 50_000))
	r.Inject(on(testregistry.Blobs, testregistry.StallAfter(1000)))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = p.Images().Pull(ctx, stalled, compute.PullOptions{Progress: func(resource.Progress) {}})
	require.Error(t, err)
	require.NoError(t, p.Close())
	// Connections end on their own time once they are closed.
	pulling := regexp.MustCompile(`net/http\.\(\*persistConn\)|containerd\.\(\*(imageStore|install|progress|registry|queue)\)|core/unpack`)
	assert.EventuallyWithT(t, func(c *assert.CollectT) {
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		for stack := range strings.SplitSeq(string(stacks), "\n\n") {
			assert.NotRegexp(c, pulling, stack)
		}
	}, 5*time.Second, 10*time.Millisecond)
}
