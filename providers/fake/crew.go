package fake

import (
	"sync"
	"time"
)

// crew counts goroutines, so that who closes can wait for them, but not for ever:
// one may be in a caller's Write that never returns.
type crew struct {
	mu sync.Mutex
	n  int
	// none is closed when there are none; nil where nobody waits.
	none chan struct{}
}

func (c *crew) join() {
	c.mu.Lock()
	c.n++
	c.mu.Unlock()
}

func (c *crew) leave() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 && c.none != nil {
		close(c.none)
		c.none = nil
	}
}

// run starts a goroutine of the crew.
func (c *crew) run(f func()) {
	c.join()
	go func() {
		defer c.leave()
		f()
	}()
}

// wait waits until there are none, at most so long.
func (c *crew) wait(most time.Duration) {
	c.mu.Lock()
	if c.n == 0 {
		c.mu.Unlock()
		return
	}
	if c.none == nil {
		c.none = make(chan struct{})
	}
	none := c.none
	c.mu.Unlock()
	t := time.NewTimer(most)
	defer t.Stop()
	select {
	case <-none:
	case <-t.C:
	}
}
