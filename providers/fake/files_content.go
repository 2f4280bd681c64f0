package fake

import (
	"io"
	"slices"
	"syscall"
)

// content is the bytes of a file or of a block device. What was never written
// reads as zeros and holds no memory, so a large device costs nothing. The lock
// of the backend's files guards it.
type content struct {
	size   int64
	chunks map[int64]*chunk
	// charged is what a quota counts of it. What came with the image, or is shared
	// with a snapshot, is counted elsewhere.
	charged int64
}

// chunk holds the bytes from a multiple of chunkSize on; those behind its end are
// zeros.
type chunk struct {
	data []byte
	// shared chunks belong to copies too: a writer replaces them.
	shared bool
}

const (
	chunkSize = 64 << 10
	// maxContent is the largest size of a file, far beyond any disk.
	maxContent = 1 << 60
)

// newContent returns content that is not counted. It takes data over.
func newContent(data []byte) *content {
	c := &content{size: int64(len(data))}
	if len(data) == 0 {
		return c
	}
	c.chunks = make(map[int64]*chunk)
	var index int64
	for part := range slices.Chunk(data, chunkSize) {
		c.chunks[index] = &chunk{data: part[:len(part):len(part)], shared: true}
		index++
	}
	return c
}

// held returns how many bytes are in memory.
func (c *content) held() int64 {
	var n int64
	for _, k := range c.chunks {
		n += int64(len(k.data))
	}
	return n
}

// copy returns content of the same bytes, which share memory until one is
// written to. It is not counted.
func (c *content) copy() *content {
	out := &content{size: c.size}
	if len(c.chunks) > 0 {
		out.chunks = make(map[int64]*chunk, len(c.chunks))
		for index, k := range c.chunks {
			if !k.shared {
				k.shared = true
			}
			out.chunks[index] = k
		}
	}
	return out
}

// charge counts all that is held; false where there is no room for it.
func (c *content) charge(q *quota) bool {
	if q == nil {
		return true
	}
	held := c.held()
	if !q.take(held - c.charged) {
		return false
	}
	c.charged = held
	return true
}

// release stops counting.
func (c *content) release(q *quota) {
	q.give(c.charged)
	c.charged = 0
}

// readAt is io.ReaderAt's.
func (c *content) readAt(p []byte, off int64) (int, error) {
	if off >= c.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	want := min(int64(len(p)), c.size-off)
	for n := int64(0); n < want; {
		index, at := (off+n)/chunkSize, (off+n)%chunkSize
		part := p[n:min(want, n+chunkSize-at)]
		copied := 0
		if k := c.chunks[index]; k != nil && at < int64(len(k.data)) {
			copied = copy(part, k.data[at:])
		}
		clear(part[copied:])
		n += int64(len(part))
	}
	if want < int64(len(p)) {
		return int(want), io.EOF
	}
	return int(want), nil
}

// writeAt is io.WriterAt's; it grows the content. Where the quota has no more
// room it writes as much as fits.
func (c *content) writeAt(p []byte, off int64, q *quota) (int, error) {
	if off > maxContent-int64(len(p)) {
		return 0, syscall.EFBIG
	}
	for n := 0; n < len(p); {
		index, at := (off+int64(n))/chunkSize, int((off+int64(n))%chunkSize)
		part := p[n:min(len(p), n+chunkSize-at)]
		k := c.chunks[index]
		have := 0
		if k != nil {
			have = len(k.data)
		}
		if grow := int64(at + len(part) - have); grow > 0 {
			if !q.take(grow) {
				return n, syscall.ENOSPC
			}
			if q != nil {
				c.charged += grow
			}
		}
		data := c.own(index, max(have, at+len(part)))
		copy(data[at:], part)
		n += len(part)
		c.size = max(c.size, off+int64(n))
	}
	return len(p), nil
}

// own makes a chunk the content's own, of the length given.
func (c *content) own(index int64, length int) []byte {
	k := c.chunks[index]
	switch {
	case k == nil:
		k = &chunk{data: make([]byte, length)}
	case k.shared:
		data := make([]byte, length)
		copy(data, k.data)
		k = &chunk{data: data}
	case length > len(k.data):
		// What append leaves behind the old end may not be zeros.
		old := len(k.data)
		k.data = slices.Grow(k.data, length-old)[:length]
		clear(k.data[old:])
	}
	if c.chunks == nil {
		c.chunks = make(map[int64]*chunk)
	}
	c.chunks[index] = k
	return k.data
}

// truncate sets the size. What is cut off is no longer counted; what is added
// holds nothing.
func (c *content) truncate(size int64, q *quota) error {
	if size < 0 || size > maxContent {
		return syscall.EINVAL
	}
	if size < c.size {
		var freed int64
		for index, k := range c.chunks {
			keep := max(size-index*chunkSize, 0)
			if keep >= int64(len(k.data)) {
				continue
			}
			freed += int64(len(k.data)) - keep
			if keep == 0 {
				delete(c.chunks, index)
			} else {
				c.chunks[index] = &chunk{data: k.data[:keep:keep], shared: k.shared}
			}
		}
		freed = min(freed, c.charged)
		c.charged -= freed
		q.give(freed)
	}
	c.size = size
	return nil
}

// end returns the offset behind the last byte that is not zero.
func (c *content) end() int64 {
	var end int64
	for index, k := range c.chunks {
		n := len(k.data)
		for n > 0 && k.data[n-1] == 0 {
			n--
		}
		if n > 0 {
			end = max(end, index*chunkSize+int64(n))
		}
	}
	return end
}
