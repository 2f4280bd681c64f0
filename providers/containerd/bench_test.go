package containerd

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	"github.com/univirt/univirt/resource"
)

// The bounds at which a speed test fails: medians of times relative to those of
// the raw client.
const (
	worstLife = 1.25
	worstExec = 1.25
	worstList = 1.2

	pairs = 31
)

// contestant is a way to do something.
type contestant struct {
	name string
	do   func(ctx context.Context) error
	// worst is the bound of its ratio, where it has one.
	worst float64
}

// race lets the contestants do it in turns, each time in another order, and
// reports their medians and those of the ratios to the second one. It returns the
// ratios.
func race(t *testing.T, rounds int, all ...contestant) []float64 {
	t.Helper()
	times := make([][]float64, len(all))
	for round := range rounds + 1 {
		order := make([]int, len(all))
		for i := range order {
			order[i] = (i + round) % len(all)
		}
		for _, i := range order {
			began := time.Now()
			require.NoError(t, all[i].do(t.Context()), all[i].name)
			if round > 0 { // the first one warms up
				times[i] = append(times[i], time.Since(began).Seconds()*1000)
			}
		}
	}
	medians := make([]float64, len(all))
	for i, c := range all {
		ratios := make([]float64, rounds)
		for n := range ratios {
			ratios[n] = times[i][n] / times[1][n]
		}
		median, low, high := medianOf(ratios)
		ms, msLow, msHigh := medianOf(times[i])
		t.Logf("%-12s %7.1f ms [%.1f, %.1f]   ratio %.2f [%.2f, %.2f]", c.name, ms, msLow, msHigh, median, low, high)
		medians[i] = median
	}
	return medians
}

// within requires the ratios to be within the contestants' bounds. Where one is
// not, all is measured once more: a busy host disturbs a whole race at times.
func within(t *testing.T, all ...contestant) {
	t.Helper()
	late := func() (faults []string) {
		for i, ratio := range race(t, pairs, all...) {
			if bound := all[i].worst; bound > 0 && ratio > bound {
				faults = append(faults, fmt.Sprintf("%s: the median of the ratios is %.2f, above %.2f", all[i].name, ratio, bound))
			}
		}
		return faults
	}
	faults := late()
	if len(faults) > 0 {
		t.Log("once more: ", faults)
		faults = late()
	}
	require.Empty(t, faults)
}

// medianOf returns the median and the bounds between which it lies with 95 %
// confidence, which for 31 values are the 10th and the 22nd.
func medianOf(values []float64) (median, low, high float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	from := max(0, n/2-max(1, n*6/pairs))
	return sorted[n/2], sorted[from], sorted[n-1-from]
}

func TestMedian(t *testing.T) {
	values := make([]float64, pairs)
	for i := range values {
		values[i] = float64(pairs - i)
	}
	median, low, high := medianOf(values)
	require.Equal(t, []float64{16, 10, 22}, []float64{median, low, high})
	median, low, high = medianOf([]float64{3})
	require.Equal(t, []float64{3, 3, 3}, []float64{median, low, high})
}

func measured(t *testing.T) {
	t.Helper()
	if raceDetector {
		t.Skip("short: the race detector distorts times")
	}
	if testing.Short() {
		t.Skip("short: measures for a minute")
	}
}

// life is create, start, wait and delete by this module.
func life(ctx context.Context, p *Provider, spec compute.Spec) error {
	inst, err := p.Instances().Create(ctx, spec)
	if err != nil {
		return err
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	if err != nil {
		return err
	}
	if !exit.Success() {
		return fmt.Errorf("%+v", exit)
	}
	return inst.Delete(ctx, compute.DeleteOptions{})
}

func TestSpeedLife(t *testing.T) {
	measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	all := []contestant{
		{"univirt", func(ctx context.Context) error { return life(ctx, p, guestSpec("web", "exit", "0")) }, worstLife},
		{"raw client", func(ctx context.Context) error { return r.life(ctx, "exit", "0") }, 0},
	}
	all = append(all, tools(t, p)...)
	t.Logf("create, start, wait, delete; %d rounds; containerd %s", pairs, p.conn.version)
	within(t, all...)
}

// tools are what a user would call instead, as far as it is there.
func tools(t *testing.T, p *Provider) []contestant {
	var all []contestant
	ctr := "ctr"
	if binary := os.Getenv(binaryVariable); binary != "" {
		ctr = filepath.Join(filepath.Dir(binary), ctr)
	}
	if path, err := exec.LookPath(ctr); err != nil {
		t.Log("ctr run --rm: not measured: ", err)
	} else {
		all = append(all, contestant{"ctr run --rm", func(ctx context.Context) error {
			out, err := exec.CommandContext(ctx, path, "-a", p.opts.Address, "-n", p.space, "run", "--rm", "--snapshotter", p.snapshotter, "--runc-root", p.conn.runcRoot,
				guestName, resource.NewID(), testimage.Path, "exit", "0").CombinedOutput()
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			return nil
		}, 0})
	}
	return append(all, dockerRun(t)...)
}

func firstLine(out []byte) string {
	line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	return line
}

func TestSpeedExec(t *testing.T) {
	measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	inst := start(t, p, guestSpec("web", "sleep", "1h"))
	expect := func(out string, err error) error {
		if err == nil && out != "web\n" {
			err = fmt.Errorf("output %q", out)
		}
		return err
	}
	t.Logf("exec of a command, with its output; %d rounds; containerd %s", pairs, p.conn.version)
	within(t,
		contestant{"univirt", func(ctx context.Context) error {
			out, err := compute.Output(ctx, inst, testimage.Path, "hostname")
			return expect(string(out), err)
		}, worstExec},
		contestant{"raw client", func(ctx context.Context) error { return expect(r.exec(ctx, inst.ID(), "hostname")) }, 0},
	)
}

const many = 1000

// plant makes instances that are containers of containerd and nothing else.
func plant(t testing.TB, p *Provider, n int) {
	t.Helper()
	ctx := p.dress(t.Context())
	first := create(t, p, guestSpec("first", "exit", "0"))
	c, err := p.client.ContainerService().Get(ctx, first.ID())
	require.NoError(t, err)
	r, err := readRecord(c)
	require.NoError(t, err)
	for i := range n - 1 {
		r.Name = fmt.Sprintf("many-%d", i)
		extended, err := r.encode()
		require.NoError(t, err)
		next := containers.Container{
			ID: resource.NewID(), Labels: map[string]string{labelName: r.Name, labelImage: c.Labels[labelImage], "tier": "web"},
			Image: c.Image, Runtime: c.Runtime, Spec: c.Spec, Snapshotter: c.Snapshotter,
			Extensions: map[string]typeurl.Any{extension: extended},
		}
		_, err = p.client.ContainerService().Create(ctx, next)
		require.NoError(t, err)
	}
}

func listAll(ctx context.Context, p *Provider) (int, error) {
	n := 0
	for _, err := range p.Instances().List(ctx, compute.Filter{}) {
		if err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// firstList is listAll as a provider value does it that has listed nothing before.
func firstList(ctx context.Context, p *Provider) (int, error) {
	p.records.mu.Lock()
	p.records.byID = nil
	p.records.mu.Unlock()
	return listAll(ctx, p)
}

func TestSpeedList(t *testing.T) {
	measured(t)
	p := openGuest(t, Options{})
	r := newReference(t, p)
	plant(t, p, many)
	count := func(n int, err error) error {
		if err == nil && n != many {
			err = fmt.Errorf("%d instances", n)
		}
		return err
	}
	t.Logf("list of %d instances; %d rounds; containerd %s", many, pairs, p.conn.version)
	within(t,
		contestant{"univirt", func(ctx context.Context) error { return count(listAll(ctx, p)) }, worstList},
		contestant{"raw client", func(ctx context.Context) error { return count(r.list(ctx)) }, 0},
		contestant{"first list", func(ctx context.Context) error { return count(firstList(ctx, p)) }, worstList},
	)
}

func BenchmarkLife(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	b.Run("univirt", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, life(b.Context(), p, guestSpec("web", "exit", "0")))
		}
	})
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			require.NoError(b, r.life(b.Context(), "exit", "0"))
		}
	})
}

func BenchmarkExec(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	inst := start(b, p, guestSpec("web", "sleep", "1h"))
	b.Run("univirt", func(b *testing.B) {
		for b.Loop() {
			_, err := compute.Output(b.Context(), inst, testimage.Path, "hostname")
			require.NoError(b, err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			_, err := r.exec(b.Context(), inst.ID(), "hostname")
			require.NoError(b, err)
		}
	})
}

func BenchmarkList(b *testing.B) {
	p := openGuest(b, Options{})
	r := newReference(b, p)
	plant(b, p, many)
	b.Run("univirt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := listAll(b.Context(), p)
			require.NoError(b, err)
		}
	})
	b.Run("first", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := firstList(b.Context(), p)
			require.NoError(b, err)
		}
	})
	b.Run("raw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, err := r.list(b.Context())
			require.NoError(b, err)
		}
	})
}
