package containerd

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
	"github.com/univirt/univirt/resource"
)

// reports collects what a progress function gets, and checks what holds for all
// of it.
type reports struct {
	mu   sync.Mutex
	all  []resource.Progress
	busy bool
	over bool
	bad  []string
}

func (r *reports) take(p resource.Progress) {
	r.mu.Lock()
	if r.busy {
		r.bad = append(r.bad, "two at a time")
	}
	if r.over {
		r.bad = append(r.bad, "one after the operation returned")
	}
	if n := len(r.all); n > 0 {
		last := r.all[n-1]
		if p.Done < last.Done {
			r.bad = append(r.bad, "done shrinks")
		}
		if p.Time.Before(last.Time) {
			r.bad = append(r.bad, "time runs backwards")
		}
	}
	if p.Total > 0 && p.Done > p.Total {
		r.bad = append(r.bad, "more than all")
	}
	r.all, r.busy = append(r.all, p), true
	r.mu.Unlock()
	time.Sleep(time.Millisecond)
	r.mu.Lock()
	r.busy = false
	r.mu.Unlock()
}

// end checks the whole and returns the last report.
func (r *reports) end(t *testing.T) resource.Progress {
	t.Helper()
	r.mu.Lock()
	r.over = true
	require.NotEmpty(t, r.all)
	last := r.all[len(r.all)-1]
	first := r.all[0]
	r.mu.Unlock()
	t.Cleanup(func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		assert.Empty(t, r.bad)
		span := last.Time.Sub(first.Time)
		assert.LessOrEqual(t, len(r.all), int(span/progressInterval)+3)
	})
	return last
}

func (r *reports) phases() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []string
	for _, p := range r.all {
		if len(out) == 0 || out[len(out)-1] != p.Phase {
			out = append(out, p.Phase)
		}
	}
	return out
}

func TestPullProgress(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	image := dataImage(t, 3, 50_000)
	ref := push(t, r, "app:v1", image)
	slow := testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Slow(100_000), Skip: 1}
	remove := r.Inject(slow)

	var seen reports
	_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{Progress: seen.take})
	require.NoError(t, err)
	last := seen.end(t)
	remove()
	assert.Equal(t, "pull", last.Op)
	assert.Equal(t, ref, last.Ref.Name)
	assert.Equal(t, idOf(t, image), last.Ref.ID)
	assert.Equal(t, phaseDone, last.Phase)
	assert.Equal(t, last.Total, last.Done)
	require.Len(t, last.Items, 3)
	manifest, err := image.Manifest()
	require.NoError(t, err)
	for n, item := range last.Items {
		assert.Equal(t, resource.ProgressItem{
			ID: manifest.Layers[n].Digest.String(), Phase: phaseDone, Done: manifest.Layers[n].Size, Total: manifest.Layers[n].Size,
		}, item)
	}
	assert.Contains(t, seen.phases(), phaseDownloading)
	between := 0
	for _, p := range seen.all {
		if p.Done > 0 && p.Done < p.Total {
			between++
		}
	}
	assert.Greater(t, between, 2)

	t.Run("of what is there", func(t *testing.T) {
		var seen reports
		_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{Progress: seen.take})
		require.NoError(t, err)
		last := seen.end(t)
		assert.Equal(t, phaseDone, last.Phase)
		require.Len(t, last.Items, 3)
		for _, item := range last.Items {
			assert.Equal(t, phaseExists, item.Phase)
			assert.Equal(t, item.Total, item.Done)
		}
	})
	t.Run("that fails", func(t *testing.T) {
		ref := push(t, r, "bad:v1", dataImage(t, 1, 1000))
		r.Inject(on(testregistry.Blobs, testregistry.Status(500)))
		var seen reports
		_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{Progress: seen.take})
		require.Error(t, err)
		assert.NotEqual(t, phaseDone, seen.end(t).Phase)
	})
}

func TestImportAndExportProgress(t *testing.T) {
	p := open(t, Options{})
	data := archived(t, compute.OCIArchive, "example.test/a:v1", dataImage(t, 3, 2_000_000))
	var seen reports
	_, err := p.Images().Import(context.Background(), from(data, compute.OCIArchive), compute.ImportOptions{Progress: seen.take})
	require.NoError(t, err)
	last := seen.end(t)
	assert.Equal(t, phaseDone, last.Phase)
	assert.EqualValues(t, len(data), last.Done)
	assert.EqualValues(t, len(data), last.Total)
	assert.Len(t, last.Items, 3)
	assert.NotContains(t, seen.phases(), phaseDownloading)

	var written full
	written.room = 1 << 30
	var exported reports
	require.NoError(t, p.Images().Export(context.Background(), &written, []string{"example.test/a:v1"}, compute.ExportOptions{Progress: exported.take}))
	last = exported.end(t)
	assert.Equal(t, phaseDone, last.Phase)
	assert.EqualValues(t, 1<<30-written.room, last.Done)
	assert.Equal(t, last.Total, last.Done)
}

func TestProgressIsReportedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []resource.Progress
		p := newProgress(func(r resource.Progress) { got = append(got, r) }, "pull", resource.Ref{}, phaseResolving)
		synctest.Wait()
		require.Len(t, got, 1)
		layer := ocispec.Descriptor{Digest: digest.FromString("a"), Size: 1000}
		p.layers([]ocispec.Descriptor{layer, layer})
		for n := range int64(1000) {
			p.received(layer.Digest, n)
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		assert.InDelta(t, 10, len(got), 2)
		// Nothing new, nothing reported; and the last news is not kept back.
		time.Sleep(time.Second)
		synctest.Wait()
		count := len(got)
		assert.EqualValues(t, 999, got[count-1].Done)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Len(t, got, count)
		// A layer that begins anew takes nothing back.
		p.received(layer.Digest, 10)
		p.received(digest.FromString("unknown"), 10)
		p.finish(nil)
		assert.EqualValues(t, 999, got[len(got)-1].Done)
		assert.Equal(t, phaseDone, got[len(got)-1].Phase)
	})
}

func TestProgressThatNobodyWants(t *testing.T) {
	p := newProgress(nil, "pull", resource.Ref{}, phaseResolving)
	assert.Nil(t, p)
	p.phase(phaseDone)
	p.bytes(1, 2)
	p.layers(nil)
	p.layer("x", phaseDone)
	p.received("x", 1)
	p.finish(errors.New("x"))
}
