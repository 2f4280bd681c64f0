//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/daemon"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/providertest"
	"github.com/univirt/univirt/resource"
)

// brittle is a line that can be cut.
type brittle struct{ providertest.Line }

func (b *brittle) do(call func()) (answered bool) { return b.Do(context.Background(), call) == nil }

// harness connects the suite with a hypervisor, whose machines run a program or,
// without a kernel, nothing.
func harness(t *testing.T, options Options, adapt func(spec compute.Spec, program []string) (compute.Spec, bool)) providertest.Harness {
	raw, err := lv.NewConnect(options.URI)
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = raw.Close() })
	beside := func(ctx context.Context, opts providertest.OpenOptions, others ...network.Networks) (univirt.Provider, error) {
		own := options
		own.Namespace, own.Owner, own.OtherNetworks = opts.Namespace, opts.Owner, others
		if own.Managed != nil {
			own.URI = ""
		}
		return newProvider(ctx, own, new(brittle))
	}
	return providertest.Harness{
		Open: func(ctx context.Context, opts providertest.OpenOptions) (univirt.Provider, error) {
			return beside(ctx, opts)
		},
		OpenBeside: beside,
		Adapt: func(spec compute.Spec) (compute.Spec, bool) {
			program := spec.Process.Command[1:]
			spec.Process = compute.Process{}
			return adapt(spec, program)
		},
		Crash: func(_ context.Context, p univirt.Provider) error { return crash(p.(*Provider)) },
		Sever: func(p univirt.Provider, o providertest.Outage) (<-chan struct{}, func(), error) {
			struck, mend := p.(*Provider).line.(*brittle).Sever(o)
			return struck, mend, nil
		},
		Inventory: func(_ context.Context, namespace string) ([]string, error) {
			all, err := raw.ListAllDomains(0)
			if err != nil {
				return nil, err
			}
			var found []string
			for i := range all {
				name, err := all[i].GetName()
				if err == nil && strings.HasPrefix(name, namespace+".") {
					found = append(found, "domain:"+strings.TrimPrefix(name, namespace+"."))
				}
				_ = all[i].Free()
			}
			records, err := recordsOf(raw, namespace)
			found = append(found, records...)
			forwarders, err2 := forwardersOf(namespace)
			found = append(found, forwarders...)
			slices.Sort(found)
			return found, errors.Join(err, err2)
		},
		Lanes: 3,
	}
}

// forwardersOf lists the helpers that forward ports of a namespace.
func forwardersOf(namespace string) (found []string, err error) {
	_, err = daemon.Processes(func(pid int) bool {
		line, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
		words := strings.Split(string(line), "\x00")
		at := slices.Index(words, "name")
		if err != nil || !slices.Contains(words, "forward") || at < 0 || at+1 == len(words) {
			return false
		}
		name, ours := strings.CutPrefix(words[at+1], namespace+".")
		if ours {
			found = append(found, "forwarder:"+name)
		}
		return ours
	})
	return found, err
}

// recordsOf lists the records of a namespace in the pool, and the names that they have.
func recordsOf(c *lv.Connect, namespace string) ([]string, error) {
	pool, err := c.LookupStoragePoolByName(defaultPool)
	if errors.Is(err, lv.ERR_NO_STORAGE_POOL) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer pool.Free()
	files, err := listFiles(pool)
	var found []string
	for _, file := range files {
		switch at, ok := parsePlace(file); {
		case !ok || at.namespace != namespace:
		case at.id == "":
			found = append(found, "name:"+string(at.kind)+" "+at.key)
		default:
			found = append(found, "record:"+string(at.kind)+" "+at.id)
		}
	}
	return found, err
}

// requireEmpty holds that the pool has nothing in it any more, but for locks that
// nobody holds.
func requireEmpty(t *testing.T, p *Provider) {
	t.Helper()
	files, err := p.filesIn(t.Context(), p.opts.Pool)
	require.NoError(t, err)
	require.Empty(t, files)
}

// crash leaves a provider value as a kill of its process would.
func crash(p *Provider) error {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.end()
	p.operations.Wait()
	p.supervising.Wait()
	p.feed.wait()
	p.detached.Wait()
	p.leases.watched.Wait()
	p.unlink()
	p.link.over.Wait()
	p.generation.Release()
	if p.daemon == nil {
		return nil
	}
	return p.daemon.Close(context.Background(), false)
}

// mostParameters bounds the command line of a kernel for x86.
const mostParameters = 2048

// runnable reports whether a program can be told to a kernel, which has no empty
// words, and does what it does where it has the console: a slow terminal.
func runnable(program []string) bool {
	return len(program) > 0 && !slices.Contains(program, "") && !slices.Equal(program, []string{"tty"}) && !slices.Contains(program, "4194304")
}

var inert = []string{"sleep", "1h"}

// TestConformanceInProcess runs the suite on libvirt's own hypervisor for tests,
// whose machines run nothing.
func TestConformanceInProcess(t *testing.T) {
	h := harness(t, Options{URI: "test:///default", StateDir: t.TempDir()}, func(spec compute.Spec, program []string) (compute.Spec, bool) {
		spec.Image, spec.Pull = "", ""
		spec.Boot = &compute.Boot{Kernel: "/vmlinuz"}
		return spec, slices.Equal(program, inert)
	})
	h.Lanes = 0
	providertest.Run(t, h)
}

// TestConformance runs the suite on real machines, of a private libvirtd. They have a
// disk of an image, and the kernel beside it, which boots in half the time.
func TestConformance(t *testing.T) {
	p := startShared(t)
	options := Options{Managed: p.opts.Managed, URI: p.opts.URI, Supervise: true}
	h := harness(t, options, func(spec compute.Spec, program []string) (compute.Spec, bool) {
		able := runnable(program)
		if slices.Equal(program, inert) {
			program = nil
		}
		like := machine(spec.Name, program...)
		like.Boot.CommandLine = strings.Replace(like.Boot.CommandLine, " quiet ", " loglevel=0 univirt.silent univirt.root=/dev/vda1 ", 1)
		spec.Boot, spec.Resources = like.Boot, like.Resources
		return spec, able && len(like.Boot.CommandLine) < mostParameters
	})
	whole := h.Adapt
	h.AdaptFleeting = func(spec compute.Spec) (compute.Spec, bool) {
		spec, able := whole(spec)
		spec.Image, spec.Pull = "", ""
		spec.Boot.CommandLine = strings.Replace(spec.Boot.CommandLine, " univirt.root=/dev/vda1 ", " ", 1)
		return spec, able
	}
	kernels := newKernels(t)
	h.AdaptIdle = func(spec compute.Spec) (compute.Spec, bool) {
		code, able := codeOf(spec.Process.Command[1:])
		if !able {
			return spec, false
		}
		spec.Process, spec.Boot, spec.Resources = compute.Process{}, &compute.Boot{Kernel: kernels.file(code)}, machine(spec.Name).Resources
		return spec, true
	}
	h.Image = diskName
	h.Prepare = func(ctx context.Context, p univirt.Provider) error {
		_, err := compute.ImportFile(ctx, p.Images(), common.guest.Disk, compute.QCOW2, compute.ImportOptions{Name: h.Image})
		return err
	}
	disk := qcow2(t)
	h.Archive = func(w io.Writer, _ compute.ImageFormat) (string, error) {
		_, err := w.Write(disk)
		return "localhost/archived:1", err
	}
	h.Shared, h.Patience, h.SmallPool = true, time.Minute, smallPool(t, p)
	boots := countBoots(t, p)
	providertest.Run(t, h)
	requireEmpty(t, p)
	n := boots()
	t.Logf("%d boots of a whole system", n)
	require.LessOrEqual(t, n, mostBoots, "boots of a whole system")
}

// smallPool makes a pool for tests that has little room: a file system of its own in a
// file, which libvirt mounts.
func smallPool(t *testing.T, p *Provider) string {
	t.Helper()
	name, dir := "small-"+resource.NewID()[:8], t.TempDir()
	file, folder := filepath.Join(dir, "image"), filepath.Join(dir, "mounted")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.NoError(t, os.Truncate(file, 24*resource.MiB))
	out, err := exec.CommandContext(t.Context(), "mkfs.ext4", "-q", "-m", "0", file).CombinedOutput()
	require.NoError(t, err, "%s", out)
	description, err := (&libvirtxml.StoragePool{
		Type: "fs", Name: name,
		Source: &libvirtxml.StoragePoolSource{
			Device: []libvirtxml.StoragePoolSourceDevice{{Path: file}}, Format: &libvirtxml.StoragePoolSourceFormat{Type: "ext4"},
		},
		Target: &libvirtxml.StoragePoolTarget{Path: folder},
	}).Marshal()
	require.NoError(t, err)
	conn, err := lv.NewConnect(p.opts.URI)
	require.NoError(t, err)
	pool, err := conn.StoragePoolCreateXML(description, 0)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, pool.Destroy())
		require.NoError(t, pool.Free())
		_, err := conn.Close()
		require.NoError(t, err)
	})
	return name
}

// mostBoots is how often the suite may boot a whole system, each time some seconds of a
// processor. Cases that need none use a kernel of a few instructions, see codeOf, and
// those that only ask something of one share it.
const mostBoots = 40

// countBoots counts from now on the runs of a provider's daemon that begin with the
// kernel of the test guest. One that ends before it can be looked at boots nothing whole.
func countBoots(t *testing.T, p *Provider) (boots func() int) {
	t.Helper()
	conn, err := lv.NewConnect(p.opts.URI)
	require.NoError(t, err)
	var n atomic.Int32
	var looks sync.WaitGroup
	id, err := conn.DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventLifecycle) {
		if e.Event != lv.DOMAIN_EVENT_STARTED || lv.DomainEventStartedDetailType(e.Detail) != lv.DOMAIN_EVENT_STARTED_BOOTED || d.Ref() != nil {
			return
		}
		looks.Go(func() {
			defer func() { _ = d.Free() }()
			if text, err := d.GetXMLDesc(0); err == nil && strings.Contains(text, "<kernel>"+common.guest.Kernel+"</kernel>") {
				n.Add(1)
			}
		})
	})
	require.NoError(t, err)
	return func() int {
		require.NoError(t, conn.DomainEventDeregister(id))
		looks.Wait()
		_, err := conn.Close()
		require.NoError(t, err)
		return int(n.Load())
	}
}

// qcow2 returns a disk image with something on it.
func qcow2(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	raw, image := filepath.Join(dir, "raw"), filepath.Join(dir, "image")
	require.NoError(t, os.WriteFile(raw, bytes.Repeat([]byte("content "), 1<<17), 0o600))
	out, err := exec.CommandContext(t.Context(), "qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, image).CombinedOutput()
	require.NoError(t, err, "%s", out)
	b, err := os.ReadFile(image)
	require.NoError(t, err)
	return b
}
