//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"fmt"
	"io"
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

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
)

// procedures are the names of those of libvirt's protocol that operations make use of
// (https://libvirt.org/kbase/internals/rpc.html), but for what it takes to connect.
var procedures = map[uint32]string{
	12: "DomainDestroy", 14: "DomainGetXMLDesc", 24: "DomainLookupByUUID", 43: "NetworkGetXMLDesc", 47: "NetworkLookupByUUID",
	84: "StoragePoolLookupByName", 87: "StoragePoolGetInfo", 88: "StoragePoolGetXMLDesc", 93: "StorageVolCreateXML",
	94: "StorageVolDelete", 95: "StorageVolLookupByName", 99: "StorageVolGetXMLDesc", 100: "StorageVolGetPath",
	125: "StorageVolCreateXMLFrom", 152: "NetworkIsActive", 154: "StoragePoolIsActive", 183: "DomainHasManagedSaveImage",
	185: "DomainSnapshotCreateXML", 186: "DomainSnapshotGetXMLDesc", 189: "DomainSnapshotLookupByName", 191: "DomainSnapshotCurrent", 192: "DomainRevertToSnapshot",
	193: "DomainSnapshotDelete", 196: "DomainCreateWithFlags", 208: "StorageVolUpload", 209: "StorageVolDownload",
	212: "DomainGetState", 231: "DomainUndefineFlags", 264: "DomainSetMetadata",
	271: "DomainSnapshotIsCurrent", 274: "DomainListAllSnapshots", 282: "StoragePoolListAllVolumes", 291: "NetworkUpdate",
	350: "DomainDefineXMLFlags",
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
	for range 2 {
		// What is kept of the first time makes the second one that counts.
		b.Reset()
		life("", func(*compute.Spec) {})
		count("start", func() error { return inst.Start(ctx, compute.StartOptions{}) })
		count("start of a running instance", func() error { return inst.Start(ctx, compute.StartOptions{}) })
		count("info", func() error { _, err := inst.Info(ctx); return err })
		count("stop by force", func() error { return inst.Stop(ctx, compute.StopOptions{Force: true}) })
		remove("")
		life(" on a network", func(s *compute.Spec) { s.Networks = []compute.NetworkAttachment{{Network: "lan"}} })
		remove(" on a network")
		life(" with a disk", func(s *compute.Spec) { s.Image = diskName })
		snapshots, err := compute.Snapshots(inst)
		require.NoError(t, err)
		count("snapshot", func() error {
			_, err := snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "one"})
			return err
		})
		count("list of snapshots", func() error {
			for _, err := range snapshots.Snapshots(ctx) {
				if err != nil {
					return err
				}
			}
			return nil
		})
		count("revert", func() error { return snapshots.RevertSnapshot(ctx, "one", compute.RevertOptions{}) })
		count("delete snapshot", func() error { return snapshots.DeleteSnapshot(ctx, "one") })
		count("clone", func() (err error) {
			clone, err = inst.(compute.Cloner).Clone(ctx, compute.CloneOptions{Name: "copy"})
			return err
		})
		count("delete of a clone", func() error { return clone.Delete(ctx, compute.DeleteOptions{}) })
		remove(" with a disk")
	}

	golden := filepath.Join("testdata", "calls.golden")
	if *update {
		require.NoError(t, os.WriteFile(golden, []byte(b.String()), 0o644))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String(), "run with -update where that is meant")
}
