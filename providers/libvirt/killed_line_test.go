//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// deadline is a socket in front of a daemon's that, at a call that changes something,
// has who makes it die. It reads libvirt's protocol as far as that needs: each message
// has seven numbers in front, of which the length, the program, the procedure, the
// type and the serial number matter.
type deadline struct {
	socket string
	kill   func()

	mu sync.Mutex
	// at is the call, from 1, at which to kill, with that made or not; 0 is none.
	at    int
	made  bool
	calls int
	// procedures are those of the calls that were counted.
	procedures []uint32
}

const (
	headerSize    = 28
	mostMessage   = 64 << 20
	remoteProgram = 0x20008086
	typeCall      = 0
	typeReply     = 1
)

// reads are the procedures that change nothing, as far as the operations under test
// make use of them. Between two of them a death leaves what it leaves before the next.
var reads = map[uint32]bool{
	1: true, 2: true, 14: true, 16: true, 23: true, 24: true, 43: true, 45: true, 46: true, 47: true, 50: true, 60: true, 66: true, 83: true, 84: true, 87: true,
	88: true, 95: true, 98: true, 99: true, 100: true, 152: true, 154: true, 183: true, 186: true, 189: true, 209: true, 212: true,
	244: true, 271: true, 273: true, 274: true, 281: true, 282: true, 283: true,
}

// listen makes the socket, which ends with the test.
func (d *deadline) listen(t *testing.T, daemon string) {
	t.Helper()
	d.socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", d.socket)
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
			over.Go(func() { d.serve(client, server) })
		}
	})
}

// serve joins two connections until one ends.
func (d *deadline) serve(client, server net.Conn) {
	defer client.Close()
	defer server.Close()
	answered := make(chan struct{})
	// last is the call after whose answer the end is.
	var mu sync.Mutex
	var last uint32
	waits := false
	go func() {
		defer close(answered)
		defer client.Close()
		for {
			message, err := readMessage(server)
			if err != nil {
				return
			}
			mu.Lock()
			end := waits && number(message, 4) == typeReply && number(message, 5) == last
			mu.Unlock()
			if end {
				d.kill()
				return
			}
			if _, err := client.Write(message); err != nil {
				return
			}
		}
	}()
	for {
		message, err := readMessage(client)
		if err != nil {
			break
		}
		due := d.count(message)
		if due && !d.made {
			d.kill()
			break
		}
		if due {
			mu.Lock()
			waits, last = true, number(message, 5)
			mu.Unlock()
		}
		if _, err := server.Write(message); err != nil {
			break
		}
	}
	_ = server.Close()
	<-answered
}

// count reports whether the end has come with a message.
func (d *deadline) count(message []byte) bool {
	procedure, kind := number(message, 3), number(message, 4)
	if number(message, 1) != remoteProgram || kind != typeCall || reads[procedure] {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at == 0 {
		return false
	}
	d.calls++
	d.procedures = append(d.procedures, procedure)
	return d.calls == d.at
}

func (d *deadline) arm(at int, made bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.at, d.made = at, made
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
