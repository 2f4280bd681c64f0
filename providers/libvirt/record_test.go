//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/supervise"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func newDocument(name string) document {
	return document{Name: name, ID: resource.NewID(), Created: time.Unix(1, 0).UTC(), Spec: json.RawMessage(`{"a":1}`)}
}

func TestARecordLives(t *testing.T) {
	p := open(t, "records")
	ctx := t.Context()
	r := records{p, resource.KindVolume}
	began := time.Now()
	d, err := r.create(ctx, newDocument("data").begun(making, "me", time.Minute))
	require.NoError(t, err)
	t.Logf("create %s", time.Since(began))
	_, err = r.find(ctx, "data")
	require.ErrorIs(t, err, errdefs.ErrNotFound, "it is in the making")
	_, err = r.create(ctx, newDocument("data"))
	require.ErrorIs(t, err, errdefs.ErrAlreadyExists)
	_, err = records{p, resource.KindNetwork}.create(ctx, newDocument("data"))
	require.NoError(t, err, "another kind has names of its own")

	began = time.Now()
	d, err = r.revise(ctx, d.ended())
	require.NoError(t, err)
	t.Logf("revise %s", time.Since(began))
	assert.Equal(t, 2, d.Revision)
	for _, idOrName := range []string{"data", d.ID} {
		found, err := r.find(ctx, idOrName)
		require.NoError(t, err)
		assert.Equal(t, d, found)
	}
	stale := d
	stale.Revision = 1
	_, err = r.revise(ctx, stale)
	require.ErrorIs(t, err, errdefs.ErrAborted)

	require.NoError(t, r.remove(ctx, d))
	require.NoError(t, r.remove(ctx, d))
	_, err = r.find(ctx, d.ID)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	_, err = r.revise(ctx, d)
	require.ErrorIs(t, err, errdefs.ErrNotFound, "what is gone has no revision")
	left, err := p.filesIn(ctx, p.opts.Pool)
	require.NoError(t, err)
	assert.Empty(t, slices.DeleteFunc(left, func(file string) bool {
		return !strings.HasPrefix(file, "volume.records.") && !strings.Contains(file, d.ID)
	}))
}

func TestOneOfManyGetsAName(t *testing.T) {
	one, other := open(t, "race"), open(t, "race")
	var made, taken int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			_, err := records{[]*Provider{one, other}[i%2], resource.KindVolume}.create(t.Context(), newDocument("data"))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				made++
			case errors.Is(err, errdefs.ErrAlreadyExists):
				taken++
			default:
				t.Error(err)
			}
		})
	}
	all.Wait()
	assert.Equal(t, 1, made)
	assert.Equal(t, 7, taken)
}

func TestNoChangeOfARecordIsLost(t *testing.T) {
	one, other := open(t, "changes"), open(t, "changes")
	ctx := t.Context()
	d, err := records{one, resource.KindVolume}.create(ctx, newDocument("data"))
	require.NoError(t, err)
	const each = 3
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			r := records{[]*Provider{one, other}[i%2], resource.KindVolume}
			for range each {
				_, err := r.amend(ctx, d.ID, func(d document) (document, error) {
					n, _ := strconv.Atoi(string(d.More))
					d.More = json.RawMessage(strconv.Itoa(n + 1))
					return d, nil
				})
				assert.NoError(t, err)
			}
		})
	}
	all.Wait()
	now, err := records{other, resource.KindVolume}.find(ctx, "data")
	require.NoError(t, err)
	assert.Equal(t, strconv.Itoa(4*each), string(now.More))
	assert.Equal(t, 1+4*each, now.Revision)
	require.NoError(t, records{one, resource.KindVolume}.remove(ctx, now))
}

// A change that comes late is told from one that others have gone on from.
func TestALateChangeOfARecord(t *testing.T) {
	p := open(t, "late")
	ctx := t.Context()
	r := records{p, resource.KindVolume}
	first, err := r.create(ctx, newDocument("data"))
	require.NoError(t, err)
	change := func(d document, more int) document {
		d, err := r.amend(ctx, d.ID, func(d document) (document, error) {
			d.More = json.RawMessage(strconv.Itoa(more))
			return d, nil
		})
		require.NoError(t, err)
		return d
	}
	second := change(first, 1)
	third := change(second, 2)

	for name, stale := range map[string]document{"by one": second, "by two": first} {
		_, err = r.revise(ctx, stale)
		require.ErrorIs(t, err, errdefs.ErrAborted, name)
		left, _, err := r.revisions(ctx, third)
		require.NoError(t, err)
		assert.Equal(t, []place{third.place()}, left, name)
	}

	written := third.next()
	require.NoError(t, r.write(ctx, written, written.place().file()))
	require.NoError(t, r.settle(ctx, third.Revision, written))
	var now document
	for more := range mostAncestors - 1 {
		now = change(written, 100+more)
	}
	require.NoError(t, r.settle(ctx, third.Revision, written), "all that follow were made of it")
	change(written, 99)
	err = r.settle(ctx, third.Revision, written)
	require.ErrorIs(t, err, errdefs.ErrUnknown)
	var own *resource.Error
	require.ErrorAs(t, err, &own)
	assert.Equal(t, resource.OutcomeUnknown, own.Outcome)

	dead := now.next().next()
	require.NoError(t, r.write(ctx, dead, dead.place().file()))
	now = change(now, 3)
	left, _, err := r.revisions(ctx, now)
	require.NoError(t, err)
	assert.Equal(t, []place{now.place()}, left, "what somebody did not live to remove goes with the next change")

	require.NoError(t, r.remove(ctx, now))
	_, err = r.revise(ctx, now)
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	left, _, err = r.revisions(ctx, now)
	require.NoError(t, err)
	assert.Empty(t, left)
}

// A record that is removed while somebody changes it stays removed, also where who changed
// it dies then.
func TestAChangeOfARecordThatIsRemoved(t *testing.T) {
	p := open(t, "revived")
	ctx := t.Context()
	r := records{p, resource.KindVolume}
	volume := newDocument("data")
	spec, err := storage.Encode(storage.Spec{Name: "data", Pool: p.opts.Pool})
	require.NoError(t, err)
	volume.Spec, volume.More = spec, json.RawMessage(`{}`)
	d, err := r.create(ctx, volume)
	require.NoError(t, err)
	require.NoError(t, r.remove(ctx, d))
	late := d.next()
	require.NoError(t, r.write(ctx, late, late.place().file()))
	_, err = r.find(ctx, "data")
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	_, err = r.amend(ctx, d.ID, func(d document) (document, error) { d.More = json.RawMessage("1"); return d, nil })
	require.ErrorIs(t, err, errdefs.ErrNotFound)
	again, err := r.create(ctx, newDocument("data"))
	require.NoError(t, err, "the name is free")
	all, err := r.list(ctx)
	require.NoError(t, err)
	assert.Equal(t, []document{again}, all)
	require.ErrorIs(t, r.settle(ctx, d.Revision, late), errdefs.ErrNotFound)
	require.NoError(t, r.remove(ctx, again))

	require.NoError(t, r.write(ctx, late, late.place().file()))
	left, err := r.claimed(ctx)
	require.NoError(t, err)
	require.Len(t, left, 1)
	assert.Equal(t, removing, left[0].Phase)
	assert.True(t, p.abandoned(left[0]))
	report, err := p.Sweep(ctx, univirt.SweepOptions{})
	require.NoError(t, err)
	require.Empty(t, report.Failed)
	left, err = r.claimed(ctx)
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestRecordsThatCannotBeRead(t *testing.T) {
	p := open(t, "faults")
	ctx := t.Context()
	r := records{p, resource.KindVolume}
	write := func(file, content string) {
		_, err := onPool(ctx, p, p.opts.Pool, func(c *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
			v, err := makeFile(pool, rawFile(file, int64(len(content))), nil)
			if err != nil {
				return struct{}{}, err
			}
			defer v.Free()
			return struct{}{}, put(c, v, []byte(content))
		})
		require.NoError(t, err)
	}
	d, err := r.create(ctx, newDocument("torn"))
	require.NoError(t, err)
	next := d.place()
	next.revision++
	write(next.file(), "univirt.io/record/1 100 abc\n{")
	found, err := r.find(ctx, "torn")
	require.NoError(t, err, "what is not whole does not count")
	assert.Equal(t, d, found)
	_, err = r.amend(ctx, d.ID, func(d document) (document, error) { d.More = json.RawMessage("1"); return d, nil })
	require.NoError(t, err, "what a daemon did not live to finish is in nobody's way")

	newer := place{kind: resource.KindVolume, namespace: "faults", key: "newer", id: resource.NewID(), revision: 1}
	write(newer.claim(), "univirt.io/record/2 something else\n{}")
	write(newer.file(), "univirt.io/record/2 something else\n{}")
	_, err = r.find(ctx, "newer")
	require.ErrorIs(t, err, errdefs.ErrFailedPrecondition)
	require.ErrorContains(t, err, "another release")

	swapped := place{kind: resource.KindVolume, namespace: "faults", key: "swapped", id: resource.NewID(), revision: 1}
	data, err := d.encode()
	require.NoError(t, err)
	write(swapped.claim(), string(data))
	write(swapped.file(), string(data))
	_, err = r.find(ctx, "swapped")
	require.ErrorIs(t, err, errdefs.ErrDataLoss)

	lost := document{Kind: resource.KindVolume, Namespace: "faults", Name: "lost", ID: resource.NewID(), Revision: 1}
	data, err = lost.encode()
	require.NoError(t, err)
	write(lost.place().claim(), string(data))
	claims, err := r.claimed(ctx)
	require.NoError(t, err)
	require.Len(t, claims, 1)
	assert.Equal(t, lost.ID, claims[0].ID)
	require.NoError(t, r.remove(ctx, claims[0]))
	claims, err = r.claimed(ctx)
	require.NoError(t, err)
	assert.Empty(t, claims)

	write("volume.faults.x.y.1", "no record")
	all, err := r.list(ctx)
	require.NoError(t, err)
	assert.Len(t, all, 3)
}

func TestPlacesOfDocuments(t *testing.T) {
	for _, name := range []string{"data", "docker.io/library/x:1", "", "../x", strings.Repeat("a", 64), resource.NewID(), "_a"} {
		d := document{Kind: resource.KindImage, Namespace: "team", Name: name, ID: resource.NewID(), Revision: 12}
		p, ok := parsePlace(d.place().file())
		require.True(t, ok, name)
		assert.Equal(t, d.place(), p)
		assert.NotContains(t, p.file(), "/")
		assert.LessOrEqual(t, len(p.file()), 255)
		p, ok = parsePlace(d.place().claim())
		require.True(t, ok, name)
		assert.Empty(t, p.id)
	}
}

// makeRaw makes a file for a test.
func makeRaw(t *testing.T, p *Provider, size int64) string {
	t.Helper()
	file := resource.NewID() + ".test"
	_, err := onPool(t.Context(), p, p.opts.Pool, func(_ *lv.Connect, pool *lv.StoragePool) (struct{}, error) {
		description := rawFile(file, size)
		description.Allocation.Value = 0
		v, err := makeFile(pool, description, nil)
		if err != nil {
			return struct{}{}, err
		}
		return struct{}{}, v.Free()
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.removeFile(context.Background(), p.opts.Pool, file)) })
	return file
}

func TestStreamsKeepHoles(t *testing.T) {
	p := open(t, "streams")
	ctx := t.Context()
	const size = 256 << 20
	file := makeRaw(t, p, size)
	var data [3 * streamChunk]byte
	_, _ = rand.Read(data[:])
	hole := int64(size - len(data))
	began := time.Now()
	n, err := p.upload(ctx, p.opts.Pool, file, io.MultiReader(bytes.NewReader(data[:streamChunk]), io.LimitReader(zeroes{}, hole), bytes.NewReader(data[streamChunk:])), size, nil)
	require.NoError(t, err)
	assert.Equal(t, int64(size), n)
	t.Logf("upload %s", time.Since(began))
	began = time.Now()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer out.Close()
	var reported int64
	require.NoError(t, p.download(ctx, p.opts.Pool, file, out, func(done int64) { reported = done }))
	t.Logf("download %s", time.Since(began))
	assert.Equal(t, int64(size), reported)
	info, err := out.Stat()
	require.NoError(t, err)
	assert.Equal(t, int64(size), info.Size())
	for _, held := range []string{out.Name(), p.daemon.Outside(filepath.Join("/var/lib/libvirt/images", p.opts.Pool, file))} {
		assert.Less(t, heldBy(t, held), int64(4<<20), held)
	}
	first := make([]byte, streamChunk)
	_, err = out.ReadAt(first, 0)
	require.NoError(t, err)
	assert.Equal(t, data[:streamChunk], first)
	_, err = out.ReadAt(first, size-streamChunk)
	require.NoError(t, err)
	assert.Equal(t, data[2*streamChunk:], first)
}

type zeroes struct{}

func (zeroes) Read(b []byte) (int, error) { clear(b); return len(b), nil }

// heldBy is how many bytes a file has on its disk.
func heldBy(t *testing.T, file string) int64 {
	t.Helper()
	var stat syscall.Stat_t
	require.NoError(t, syscall.Stat(file, &stat))
	return stat.Blocks * 512
}

func TestStreamsThatEndEarly(t *testing.T) {
	p := open(t, "early")
	file := makeRaw(t, p, 1<<20)
	stuck := make(chan struct{})
	defer close(stuck)
	failure := errors.New("the reader fails")
	for name, c := range map[string]struct {
		run  func(ctx context.Context, cancel func()) error
		want error
	}{
		"a reader that never returns": {func(ctx context.Context, cancel func()) error {
			_, err := p.upload(ctx, p.opts.Pool, file, readerFunc(func([]byte) (int, error) { cancel(); <-stuck; return 0, io.EOF }), 1<<20, nil)
			return err
		}, context.Canceled},
		"a reader that fails": {func(ctx context.Context, _ func()) error {
			_, err := p.upload(ctx, p.opts.Pool, file, io.MultiReader(strings.NewReader("x"), readerFunc(func([]byte) (int, error) { return 0, failure })), 1<<20, nil)
			return err
		}, failure},
		"too much": {func(ctx context.Context, _ func()) error {
			_, err := p.upload(ctx, p.opts.Pool, file, zeroes{}, 1<<20, nil)
			return err
		}, errdefs.ErrResourceExhausted},
		"a writer that never returns": {func(ctx context.Context, cancel func()) error {
			return p.download(ctx, p.opts.Pool, file, writerFunc(func([]byte) (int, error) { cancel(); <-stuck; return 0, io.EOF }), nil)
		}, context.Canceled},
		"a writer that fails": {func(ctx context.Context, _ func()) error {
			return p.download(ctx, p.opts.Pool, file, writerFunc(func([]byte) (int, error) { return 0, failure }), nil)
		}, failure},
		"no file": {func(ctx context.Context, _ func()) error {
			return p.download(ctx, p.opts.Pool, "none", io.Discard, nil)
		}, errdefs.ErrNotFound},
	} {
		ctx, cancel := context.WithCancel(t.Context())
		t.Log(name)
		assert.ErrorIs(t, c.run(ctx, cancel), c.want, name)
		cancel()
	}
	var out bytes.Buffer
	_, err := p.upload(t.Context(), p.opts.Pool, file, strings.NewReader("hello"), 1<<20, nil)
	require.NoError(t, err)
	require.NoError(t, p.download(t.Context(), p.opts.Pool, file, &out, nil))
	assert.Equal(t, fmt.Sprintf("%q", "hello"), fmt.Sprintf("%.7q", out.String()[:5]))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(b []byte) (int, error) { return f(b) }

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

func TestAPoolIsMadeByManyAtOnce(t *testing.T) {
	startShared(t)
	for round := range 5 {
		pool := fmt.Sprintf("made-%d", round)
		var values []*Provider
		for range 4 {
			p, err := New(t.Context(), Options{Managed: common.p.opts.Managed, Namespace: "pool", Pool: pool})
			require.NoError(t, err)
			defer func() { require.NoError(t, p.Close()) }()
			values = append(values, p)
		}
		var all sync.WaitGroup
		for _, p := range values {
			all.Go(func() {
				_, err := p.pool(t.Context(), pool)
				assert.NoError(t, err)
				_, err = records{p, resource.KindVolume}.create(t.Context(), newDocument("v-"+p.owner.Generation[:8]))
				assert.NoError(t, err)
			})
		}
		all.Wait()
		_, err := call(t.Context(), common.p, func(c *lv.Connect) (struct{}, error) {
			found, err := c.LookupStoragePoolByName(pool)
			if err != nil {
				return struct{}{}, err
			}
			defer found.Free()
			if err := found.Destroy(); err != nil {
				return struct{}{}, err
			}
			_, err = values[0].filesIn(t.Context(), pool)
			return struct{}{}, errors.Join(err, found.Destroy(), found.Undefine())
		})
		require.NoError(t, err)
	}
}

func TestWhatASupervisorMustKnowIsReadFromTheDomain(t *testing.T) {
	want := facts{
		name: "team.web", run: runRecord{Run: 3, Restarts: 2}, exit: &exitRecord{Run: 2, Known: true, Again: true}, stop: stopRecord{Run: 1},
		reset: resetRecord{Run: 3, Resets: 1},
		found: foundRecord{Run: 3, Resets: 1, Findings: supervise.Findings{Health: compute.HealthHealthy, Ready: true}},
	}
	var all strings.Builder
	for e, v := range map[element]any{metaRun: want.run, metaExit: want.exit, metaStop: want.stop, metaReset: want.reset, metaFound: want.found} {
		text, err := e.whole(v)
		require.NoError(t, err)
		all.WriteString(text)
	}
	have, err := readFacts("<domain><name>team.web</name><metadata>" + all.String() + "</metadata></domain>")
	require.NoError(t, err)
	assert.Equal(t, &want, have)
}
