package containerd

import (
	"bytes"
	"sync"

	"github.com/containerd/containerd/v2/core/containers"
)

// mostRecords bounds the records that are kept.
const mostRecords = 10_000

// recordCache keeps records that were decoded, which is most of the work of a
// list. Each is kept with the bytes it was decoded from, so that nothing can be
// out of date. The zero value is ready.
type recordCache struct {
	mu   sync.Mutex
	byID map[string]cachedRecord
}

type cachedRecord struct {
	text   []byte
	record *record
}

// read is readRecord, for which it need not be decoded again.
func (k *recordCache) read(c containers.Container) (*record, error) {
	any := c.Extensions[extension]
	if any == nil || any.GetTypeUrl() != recordType {
		return readRecord(c)
	}
	k.mu.Lock()
	have, ok := k.byID[c.ID]
	k.mu.Unlock()
	if ok && bytes.Equal(have.text, any.GetValue()) {
		out := *have.record
		out.takeLabels(c.Labels)
		return &out, nil
	}
	r, err := readRecord(c)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.byID == nil || len(k.byID) >= mostRecords {
		// So many live at once, or died since, that beginning anew costs little.
		k.byID = make(map[string]cachedRecord)
	}
	k.byID[c.ID] = cachedRecord{any.GetValue(), r}
	return r, nil
}

// drop forgets an instance that is gone.
func (k *recordCache) drop(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.byID, id)
}
