package containerd

import (
	"sync"

	"github.com/opencontainers/go-digest"
)

// maxCached bounds the documents, in bytes, whose parsed form is kept.
const maxCached = 16 << 20

// contentCache keeps what was read of images. Content never changes under its
// digest, so nothing in it becomes wrong; what is not used makes room.
type contentCache struct {
	mu     sync.Mutex
	byID   map[digest.Digest]*cached
	size   int64
	clock  int64
	budget int64 // 0 means maxCached
}

type cached struct {
	content *imageContent
	used    int64
}

func (c *contentCache) get(id digest.Digest) *imageContent {
	c.mu.Lock()
	defer c.mu.Unlock()
	entry := c.byID[id]
	if entry == nil {
		return nil
	}
	c.clock++
	entry.used = c.clock
	return entry.content
}

// put keeps the content, unless it alone would take most of the room.
func (c *contentCache) put(id digest.Digest, content *imageContent) {
	budget := c.budget
	if budget == 0 {
		budget = maxCached
	}
	if content.read > budget/2 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byID == nil {
		c.byID = make(map[digest.Digest]*cached)
	}
	if old := c.byID[id]; old != nil {
		c.size -= old.content.read
	}
	c.clock++
	c.byID[id] = &cached{content: content, used: c.clock}
	for c.size += content.read; c.size > budget; {
		c.dropOldest()
	}
}

// dropOldest looks at all entries, which is quick enough for what happens once
// for megabytes of documents.
func (c *contentCache) dropOldest() {
	var oldest digest.Digest
	for id, entry := range c.byID {
		if oldest == "" || entry.used < c.byID[oldest].used {
			oldest = id
		}
	}
	c.size -= c.byID[oldest].content.read
	delete(c.byID, oldest)
}
