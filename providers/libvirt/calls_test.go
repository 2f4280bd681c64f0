//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// procedures are the names of those of libvirt's protocol that operations make use of
// (https://libvirt.org/kbase/internals/rpc.html), but for what it takes to connect.
var procedures = map[uint32]string{
	6: "NodeGetInfo", 12: "DomainDestroy", 14: "DomainGetXMLDesc", 23: "DomainLookupByName", 24: "DomainLookupByUUID",
	28: "DomainResume", 34: "DomainSuspend", 43: "NetworkGetXMLDesc", 47: "NetworkLookupByUUID",
	83: "StoragePoolRefresh", 84: "StoragePoolLookupByName", 87: "StoragePoolGetInfo", 88: "StoragePoolGetXMLDesc", 93: "StorageVolCreateXML",
	94: "StorageVolDelete", 95: "StorageVolLookupByName", 98: "StorageVolGetInfo", 99: "StorageVolGetXMLDesc", 100: "StorageVolGetPath",
	102: "NodeGetFreeMemory", 125: "StorageVolCreateXMLFrom", 152: "NetworkIsActive", 154: "StoragePoolIsActive", 183: "DomainHasManagedSaveImage",
	185: "DomainSnapshotCreateXML", 186: "DomainSnapshotGetXMLDesc", 189: "DomainSnapshotLookupByName", 191: "DomainSnapshotCurrent", 192: "DomainRevertToSnapshot",
	193: "DomainSnapshotDelete", 196: "DomainCreateWithFlags", 200: "DomainGetVcpusFlags", 208: "StorageVolUpload",
	209: "StorageVolDownload", 212: "DomainGetState", 231: "DomainUndefineFlags", 264: "DomainSetMetadata",
	271: "DomainSnapshotIsCurrent", 273: "ConnectListAllDomains", 274: "DomainListAllSnapshots", 282: "StoragePoolListAllVolumes", 291: "NetworkUpdate",
	344: "ConnectGetAllDomainStats", 350: "DomainDefineXMLFlags", 378: "StorageVolGetInfoFlags",
}

// connectors are those of connections, which belong to no operation.
var connectors = []uint32{1, 2, 60, 66}

// tally counts the calls of a provider by procedure.
type tally struct {
	mu     sync.Mutex
	counts map[uint32]int
}

func (c *tally) serve(client, server net.Conn) {
	var over sync.WaitGroup
	over.Go(func() {
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
	for {
		message, err := readMessage(client)
		if err == nil {
			c.add(message)
			_, err = server.Write(message)
		}
		if err != nil {
			break
		}
	}
	_ = server.Close()
	over.Wait()
}

func (c *tally) add(message []byte) {
	procedure := number(message, procedureAt)
	if number(message, programAt) != remoteProgram || number(message, typeAt) != typeCall || slices.Contains(connectors, procedure) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts[procedure]++
}

// take returns what was counted since the last time.
func (c *tally) take() map[uint32]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := c.counts
	c.counts = map[uint32]int{}
	return counts
}

// deafen has a provider hear nothing: what it reads because of events belongs to no
// operation.
func deafen(t *testing.T, p *Provider) {
	t.Helper()
	p.link.mu.Lock()
	s := p.link.current
	p.link.mu.Unlock()
	_, err := call(t.Context(), p, func(*lv.Connect) (struct{}, error) {
		for _, hook := range s.hooks {
			if err := s.conn.DomainEventDeregister(hook); err != nil {
				return struct{}{}, err
			}
		}
		s.hooks = nil
		return struct{}{}, nil
	})
	require.NoError(t, err)
}

// TestCalls holds the number of calls to libvirt that each operation makes. What it
// costs shows here before any clock does.
func TestCalls(t *testing.T) {
	shared := open(t, "calls")
	ctx := t.Context()
	c := &tally{counts: map[uint32]int{}}
	p, err := New(ctx, Options{
		URI: "qemu+unix:///system?socket=" + relay(t, shared.daemon.Socket(), c.serve), Namespace: "calls", StateDir: t.TempDir(), Acceleration: AccelerationNone,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	deafen(t, p)
	importDisk(t, p)
	n, err := p.Networks().Create(ctx, network.Spec{Name: "lan"})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, n.Delete(context.Background(), network.DeleteOptions{}))
		require.NoError(t, p.Images().Delete(context.Background(), diskName, compute.DeleteImageOptions{}))
	})

	var b strings.Builder
	count := func(operation string, do func() error) {
		t.Helper()
		c.take()
		require.NoError(t, do(), operation)
		counts := c.take()
		sum := 0
		for _, n := range counts {
			sum += n
		}
		fmt.Fprintf(&b, "%s: %d\n", operation, sum)
		for _, procedure := range slices.Sorted(maps.Keys(counts)) {
			name, known := procedures[procedure]
			if !known {
				name = fmt.Sprint("procedure ", procedure)
			}
			fmt.Fprintf(&b, "\t%d %s\n", counts[procedure], name)
		}
	}
	halting := newKernels(t).file(halts)
	var inst, clone compute.Instance
	life := func(kind string, adapt func(*compute.Spec)) {
		count("create"+kind, func() (err error) {
			spec := machine("web")
			spec.Boot = &compute.Boot{Kernel: halting}
			adapt(&spec)
			inst, err = p.Instances().Create(ctx, spec)
			return err
		})
	}
	remove := func(kind string) {
		count("delete"+kind, func() error { return inst.Delete(ctx, compute.DeleteOptions{}) })
	}
	for pass := range 2 {
		// What is kept of the first time makes the second one that counts.
		b.Reset()
		count("plan", func() error {
			spec := machine("other")
			spec.Boot = &compute.Boot{Kernel: halting}
			_, err := compute.PlanOf(ctx, p.Instances(), spec)
			return err
		})
		life("", func(*compute.Spec) {})
		count("start", func() error { return inst.Start(ctx, compute.StartOptions{}) })
		count("start of a running instance", func() error { return inst.Start(ctx, compute.StartOptions{}) })
		count("info", func() error { _, err := inst.Info(ctx); return err })
		count("stop by force", func() error { return inst.Stop(ctx, compute.StopOptions{Force: true}) })
		remove("")
		life(" again", func(*compute.Spec) {})
		count("update of resources", func() error {
			return inst.Update(ctx, compute.Change{Resources: &compute.Resources{Memory: 128 * resource.MiB}})
		})
		count("start after an update", func() error { return inst.Start(ctx, compute.StartOptions{}) })
		count("get by name", func() error { _, err := p.Instances().Get(ctx, "web"); return err })
		count("list", func() error { return exhaust(p.Instances().List(ctx, compute.Filter{})) })
		count("stats", func() error { return exhaust(p.Instances().Stats(ctx, compute.Filter{})) })
		count("update of labels", func() error {
			value := fmt.Sprint("web", pass)
			return inst.Update(ctx, compute.Change{Labels: resource.LabelPatch{"tier": &value}})
		})
		count("pause", func() error { return compute.Pause(ctx, inst) })
		count("resume", func() error { return compute.Resume(ctx, inst) })
		// Whether the end of the run is written down before it is asked for varies.
		require.NoError(t, compute.Restart(ctx, inst, compute.StopOptions{Force: true}))
		count("sweep that finds nothing", func() error {
			report, err := p.Sweep(ctx, univirt.SweepOptions{})
			require.Empty(t, report)
			return err
		})
		count("describe", func() error { _, err := p.Describe(ctx); return err })
		count("delete by force of a running instance", func() error { return inst.Delete(ctx, compute.DeleteOptions{Force: true}) })
		life(" on a network", func(s *compute.Spec) { s.Networks = []compute.NetworkAttachment{{Network: "lan"}} })
		remove(" on a network")
		life(" with a disk", func(s *compute.Spec) { s.Image = diskName })
		snapshots, err := compute.Snapshots(inst)
		require.NoError(t, err)
		count("snapshot", func() error {
			_, err := snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one"})
			return err
		})
		count("list of snapshots", func() error { return exhaust(snapshots.Snapshots(ctx)) })
		count("revert", func() error { return snapshots.RevertSnapshot(ctx, "one", compute.RevertOptions{}) })
		count("delete snapshot", func() error { return snapshots.DeleteSnapshot(ctx, "one") })
		count("clone", func() (err error) {
			clone, err = inst.(compute.Cloner).Clone(ctx, compute.CloneOptions{Name: "copy"})
			return err
		})
		count("delete of a clone", func() error { return clone.Delete(ctx, compute.DeleteOptions{}) })
		remove(" with a disk")
		countImages(t, p, count)
	}
	// A value that watches reads more from now on, so this is the last.
	count("watch", func() error {
		for event, err := range p.Watch(ctx, resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}) {
			if err != nil || event.Type == resource.EventSynced {
				return err
			}
		}
		return nil
	})

	golden := filepath.Join("testdata", "calls.golden")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "run with -update where that is meant")
}

// exhaust reads a stream to its end.
func exhaust[T any](all iter.Seq2[T, error]) error {
	_, err := resource.Collect(all)
	return err
}

// countImages counts what is done with images.
func countImages(t *testing.T, p *Provider, count func(operation string, do func() error)) {
	ctx := t.Context()
	const name = "localhost/other:1"
	disk := qcow2(t)
	bring := func() error {
		source := compute.ImageSource{Reader: bytes.NewReader(disk), Format: compute.QCOW2, Size: int64(len(disk))}
		_, err := p.Images().Import(ctx, source, compute.ImportOptions{Name: name})
		return err
	}
	count("import of an image", bring)
	count("import of an image that is there", bring)
	count("get of an image", func() error { _, err := p.Images().Get(ctx, name); return err })
	count("list of images", func() error { return exhaust(p.Images().List(ctx, compute.ImageFilter{})) })
	count("export of an image", func() error {
		return p.Images().Export(ctx, io.Discard, []string{name}, compute.ExportOptions{})
	})
	count("delete of an image", func() error { return p.Images().Delete(ctx, name, compute.DeleteImageOptions{}) })
}
