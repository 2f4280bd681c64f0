package libvirtd

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// words is a message of words, the first of which, the length, is put before them.
func words(values ...uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(4*len(values)+4))
	for _, v := range values {
		b = binary.BigEndian.AppendUint32(b, v)
	}
	return b
}

func TestAskVersion(t *testing.T) {
	opened := words(programRemote, 1, procedureOpen, 1, procedureOpen, 0)
	version := words(programRemote, 1, procedureLib, 1, procedureLib, 0, 0, 9_010_002)
	keepalive := words(0x6b656570, 1, 1, 2, 0, 0)
	for name, tt := range map[string]struct {
		replies []byte
		want    string
		kind    error
		says    string
	}{
		"answers":             {replies: append(opened, version...), want: "9.10.2"},
		"with a question":     {replies: bytes.Join([][]byte{keepalive, opened, keepalive, version}, nil), want: "9.10.2"},
		"refuses":             {replies: words(programRemote, 1, 1, 1, 1, 1, 38, 7, 1, 4, 0x6e6f2121), says: `"no!!"`},
		"refuses in silence":  {replies: words(programRemote, 1, 1, 1, 1, 1, 38, 7, 0), says: "does not say why"},
		"refuses and lies":    {replies: words(programRemote, 1, 1, 1, 1, 1, 38, 7, 1, 0xffffffff), says: "does not say why"},
		"hangs up":            {replies: opened, kind: io.EOF},
		"is another protocol": {replies: []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), kind: errdefs.ErrFailedPrecondition},
		"version is cut":      {replies: append(opened, words(programRemote, 1, procedureLib, 1, procedureLib, 0, 0)...), kind: errdefs.ErrFailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(t.TempDir(), "s")
			listener, err := net.Listen("unix", socket)
			require.NoError(t, err)
			defer listener.Close()
			go func() {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				defer conn.Close()
				_, _ = conn.Write(tt.replies)
				// Both calls are read, so that the end is no reset.
				for range 2 {
					if _, err := readMessage(conn); err != nil {
						return
					}
				}
			}()
			got, err := AskVersion(context.Background(), socket)
			if tt.kind != nil {
				require.ErrorIs(t, err, tt.kind)
			}
			if tt.says != "" {
				require.ErrorContains(t, err, tt.says)
			}
			assert.Equal(t, tt.want, got)
		})
	}
}

func TestAppendString(t *testing.T) {
	assert.Equal(t, []byte("\x00\x00\x00\x00"), appendString(nil, ""))
	assert.Equal(t, []byte("\x00\x00\x00\x01a\x00\x00\x00"), appendString(nil, "a"))
	assert.Equal(t, []byte("\x00\x00\x00\x04abcd"), appendString(nil, "abcd"))
}

func FuzzReadMessage(f *testing.F) {
	f.Add(words(programRemote, 1, procedureOpen, 1, procedureOpen, 0))
	f.Add(words(programRemote, 1, 1, 1, 1, 1, 38, 7, 1, 4, 0x6e6f2121))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := readMessage(bytes.NewReader(data))
		if err == nil {
			assert.LessOrEqual(t, headerSize+len(m.body), len(data))
			assert.Error(t, errorText(m.body))
		}
	})
}
