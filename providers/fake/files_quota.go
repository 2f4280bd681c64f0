package fake

import (
	"math"
	"sync/atomic"
)

// quota counts the bytes that something holds, and bounds them. What it is taken
// from, such as a volume's pool, counts them too. Its methods may be called
// concurrently, with or without the backend's lock. The zero value has no bound.
type quota struct {
	// limit is 0 where there is no bound.
	limit atomic.Int64
	used  atomic.Int64
	from  *quota
}

// take counts n bytes more, or reports that there is no room for them.
func (q *quota) take(n int64) bool {
	if q == nil || n == 0 {
		return true
	}
	for {
		used, limit := q.used.Load(), q.limit.Load()
		if limit > 0 && n > limit-used {
			return false
		}
		if q.used.CompareAndSwap(used, used+n) {
			break
		}
	}
	if !q.from.take(n) {
		q.used.Add(-n)
		return false
	}
	return true
}

// give counts n bytes less.
func (q *quota) give(n int64) {
	if q != nil && n != 0 {
		q.used.Add(-n)
		q.from.give(n)
	}
}

// room returns how many bytes there is room for.
func (q *quota) room() int64 {
	if q == nil {
		return math.MaxInt64
	}
	room := q.from.room()
	if limit := q.limit.Load(); limit > 0 {
		room = min(room, limit-q.used.Load())
	}
	return max(room, 0)
}
