//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deadline is a socket in front of a daemon's. It reads libvirt's protocol as far as it
// takes to have a client killed when a call that changes something was answered, and
// the client not told: each message begins with seven numbers, its length, program,
// version, procedure, type, serial number and status.
type deadline struct {
	socket string

	mu sync.Mutex
	// after is the number of calls after which to kill; 0 is for none.
	after int
	kill  func()
	// procedures are those of the calls since it was armed.
	procedures []uint32
}

const (
	headerSize    = 28
	mostMessage   = 64 << 20
	remoteProgram = 0x20008086
	typeCall      = 0
	typeReply     = 1

	programAt   = 1
	procedureAt = 3
	typeAt      = 4
	serialAt    = 5
)

// reads are the procedures of libvirt's protocol that change nothing, as far as the
// operations under test make use of them. A death in front of one leaves what it leaves
// behind the last call that changes something.
var reads = []uint32{
	1, 2, 60, 66, // to connect
	14, 16, 23, 24, 183, 212, 273, 274, // of domains
	186, 189, 244, 271, 281, // of snapshots
	43, 45, 46, 47, 50, 152, 283, // of networks
	83, 84, 87, 88, 154, 282, // of pools
	95, 98, 99, 100, 209, // of volumes
}

// listen makes the socket, which ends with the test.
func (d *deadline) listen(t *testing.T, daemon string) {
	t.Helper()
	d.socket = relay(t, daemon, d.serve)
}

// relay makes a socket in front of a daemon's, which ends with the test, and has what
// connects to it served.
func relay(t *testing.T, daemon string, serve func(client, server net.Conn)) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	var over sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); over.Wait() })
	over.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("unix", daemon)
			if !assert.NoError(t, err) {
				_ = client.Close()
				return
			}
			over.Go(func() { serve(client, server) })
		}
	})
	return socket
}

// serve joins two connections until one ends.
func (d *deadline) serve(client, server net.Conn) {
	defer client.Close()
	var last atomic.Int64 // the serial number of the call after which to kill
	last.Store(-1)
	var over sync.WaitGroup
	over.Go(func() {
		defer client.Close()
		for {
			message, err := readMessage(server)
			if err == nil && number(message, typeAt) == typeReply && int64(number(message, serialAt)) == last.Load() {
				d.kill()
				return
			}
			if err == nil {
				_, err = client.Write(message)
			}
			if err != nil {
				return
			}
		}
	})
	for {
		message, err := readMessage(client)
		if err == nil && d.count(message) {
			last.Store(int64(number(message, serialAt)))
		}
		if err == nil {
			_, err = server.Write(message)
		}
		if err != nil {
			break
		}
	}
	_ = server.Close()
	over.Wait()
}

// count reports whether a message is the call after which to kill.
func (d *deadline) count(message []byte) bool {
	procedure := number(message, procedureAt)
	if number(message, programAt) != remoteProgram || number(message, typeAt) != typeCall || slices.Contains(reads, procedure) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.after == 0 {
		return false
	}
	d.procedures = append(d.procedures, procedure)
	return len(d.procedures) == d.after
}

func (d *deadline) arm(after int, kill func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.after, d.kill = after, kill
}

func (d *deadline) counted() []uint32 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.procedures
}

func number(message []byte, n int) uint32 { return binary.BigEndian.Uint32(message[4*n:]) }

func readMessage(r io.Reader) ([]byte, error) {
	head := make([]byte, headerSize)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, err
	}
	size := number(head, 0)
	if size < headerSize || size > mostMessage {
		return nil, io.ErrUnexpectedEOF
	}
	message := append(head, make([]byte, size-headerSize)...)
	_, err := io.ReadFull(r, message[headerSize:])
	return message, err
}
