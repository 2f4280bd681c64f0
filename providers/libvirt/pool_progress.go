package libvirt

import (
	"sync"
	"time"

	"github.com/univirt/univirt/resource"
)

// reporter tells of the progress of an operation. A nil one tells nobody. It is not
// heard after the operation's end, whoever goes on.
type reporter struct {
	mu   sync.Mutex
	tell resource.ProgressFunc
	last resource.Progress
	over bool
}

func newReporter(tell resource.ProgressFunc, op string, ref resource.Ref, total int64) *reporter {
	if tell == nil {
		return nil
	}
	return &reporter{tell: tell, last: resource.Progress{Op: op, Ref: ref, Total: total}}
}

// progressPause is how long the next report waits for the one before.
const progressPause = 100 * time.Millisecond

// moved tells how many bytes were moved so far.
func (r *reporter) moved(done int64) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last.Done = max(r.last.Done, done)
	if r.last.Total > 0 {
		r.last.Total = max(r.last.Total, done)
	}
	if now := time.Now(); !r.over && now.Sub(r.last.Time) >= progressPause {
		r.last.Phase, r.last.Time = "copying", now
		r.tell(r.last)
	}
}

// end is called when the operation ends, with its error.
func (r *reporter) end(err error) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err == nil {
		r.last.Phase, r.last.Time, r.last.Total = "done", time.Now(), r.last.Done
		r.tell(r.last)
	}
	r.over = true
}
