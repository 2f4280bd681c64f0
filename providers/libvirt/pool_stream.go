//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"bytes"
	"errors"
	"io"

	lv "libvirt.org/go/libvirt"
)

// streaming runs a stream between libvirt and this process. Each stream is freed by
// one of Finish and Abort, whatever comes of it.
func streaming(c *lv.Connect, begin func(*lv.Stream) error, move func(*lv.Stream) error) error {
	s, err := c.NewStream(0)
	if err != nil {
		return err
	}
	defer s.Free()
	if err := begin(s); err != nil {
		return err
	}
	if err := move(s); err != nil {
		_ = s.Abort()
		return err
	}
	return s.Finish()
}

// sendAll sends bytes.
func sendAll(s *lv.Stream, data []byte) error {
	for len(data) > 0 {
		n, err := s.Send(data[:min(len(data), streamChunk)])
		if err != nil {
			return err
		}
		if n <= 0 {
			return io.ErrShortWrite
		}
		data = data[n:]
	}
	return nil
}

// put writes the beginning of a file. It is for what is small: it ends with no
// context.
func put(c *lv.Connect, v *lv.StorageVol, data []byte) error {
	return streaming(c, func(s *lv.Stream) error { return v.Upload(s, 0, uint64(len(data)), 0) },
		func(s *lv.Stream) error { return sendAll(s, data) })
}

// get reads a file, of which so many bytes at most. It is for what is small, too.
func get(c *lv.Connect, v *lv.StorageVol, most int) ([]byte, error) {
	var out bytes.Buffer
	err := streaming(c, func(s *lv.Stream) error { return v.Download(s, 0, uint64(most), 0) },
		func(s *lv.Stream) error {
			for chunk := make([]byte, streamChunk); ; {
				n, err := s.Recv(chunk)
				if errors.Is(err, io.EOF) {
					return nil
				}
				if err != nil {
					return err
				}
				out.Write(chunk[:n])
			}
		})
	return out.Bytes(), err
}
