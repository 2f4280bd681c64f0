package libvirtd

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/containerd/errdefs"
)

// What is needed of libvirt's protocol to tell that a daemon can be used; see its
// remote_protocol.x and virnetprotocol.x.
const (
	programRemote  = 0x20008086
	versionRemote  = 1
	procedureOpen  = 1
	procedureLib   = 157
	typeReply      = 1
	statusOK       = 0
	headerSize     = 7 * 4
	maxMessageSize = 64 << 10
)

// AskVersion opens a connection to the QEMU driver of the daemon that listens on
// socket and returns the release of libvirt, such as "9.0.0".
func AskVersion(ctx context.Context, socket string) (string, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()

	open := appendString(binary.BigEndian.AppendUint32(nil, 1), "qemu:///system")
	open = binary.BigEndian.AppendUint32(open, 0) // no flags
	if _, err := call(conn, procedureOpen, open); err != nil {
		return "", err
	}
	body, err := call(conn, procedureLib, nil)
	if err != nil {
		return "", err
	}
	if len(body) < 8 {
		return "", malformed("a version of %d bytes", len(body))
	}
	v := binary.BigEndian.Uint64(body)
	return fmt.Sprintf("%d.%d.%d", v/1_000_000, v/1_000%1_000, v%1_000), nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("what answers is no libvirtd: "+format+": %w", append(args, errdefs.ErrFailedPrecondition)...)
}

// call sends one call and returns the body of its reply. The number of the
// procedure is also that of the call.
func call(conn io.ReadWriter, procedure uint32, body []byte) ([]byte, error) {
	var message []byte
	for _, word := range []uint32{
		uint32(headerSize + len(body)), programRemote, versionRemote, procedure,
		0 /* a call */, procedure, statusOK,
	} {
		message = binary.BigEndian.AppendUint32(message, word)
	}
	if _, err := conn.Write(append(message, body...)); err != nil {
		return nil, err
	}
	for {
		reply, err := readMessage(conn)
		if err != nil {
			return nil, err
		}
		// Anything else is an event or a question whether we live.
		if reply.program != programRemote || reply.kind != typeReply || reply.serial != procedure {
			continue
		}
		if reply.status != statusOK {
			return nil, fmt.Errorf("libvirtd refuses: %s", errorText(reply.body))
		}
		return reply.body, nil
	}
}

type message struct {
	program, kind, serial, status uint32
	body                          []byte
}

func readMessage(r io.Reader) (message, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(r, header[:]); err != nil {
		return message{}, err
	}
	word := func(i int) uint32 { return binary.BigEndian.Uint32(header[4*i:]) }
	size := word(0)
	if size < headerSize || size > maxMessageSize {
		return message{}, malformed("a message of %d bytes", size)
	}
	body := make([]byte, size-headerSize)
	if _, err := io.ReadFull(r, body); err != nil {
		return message{}, err
	}
	return message{program: word(1), kind: word(4), serial: word(5), status: word(6), body: body}, nil
}

// appendString appends a string as XDR has it: its length, and zeros up to a
// multiple of four.
func appendString(b []byte, s string) []byte {
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(s))), s...)
	return append(b, make([]byte, (4-len(s)%4)%4)...)
}

var errText = errors.New("it does not say why")

// errorText takes the message out of an error: code, domain, and a string that may
// be absent.
func errorText(body []byte) error {
	const present, length, text = 8, 12, 16
	if len(body) < text || binary.BigEndian.Uint32(body[present:]) != 1 {
		return errText
	}
	n := binary.BigEndian.Uint32(body[length:])
	if uint64(n) > uint64(len(body)-text) {
		return errText
	}
	return fmt.Errorf("%q", body[text:text+int(n)])
}
