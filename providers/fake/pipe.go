package fake

import (
	"io"
	"sync"
)

// pipe joins writers with a reader, with a buffer between them. It works with
// channels alone, so that a call that waits can be given up and time stands in a
// synctest bubble meanwhile.
type pipe struct {
	mu sync.Mutex
	// chunks is what was written and not read; the first may be read in part.
	chunks [][]byte
	size   int
	// limit is how many bytes may wait; 0 is no bound, so that writers never do.
	limit int
	// writers counts those who may still write; at 0 the reader sees the end.
	writers int
	// broken says that nobody reads any more.
	broken bool
	// taken says that the reader has something in its hands: it has not come back
	// since it was given it.
	taken bool
	// changed is closed when any of this changes; nil where nobody waits.
	changed chan struct{}
}

// pipeSize is how much a pipe between processes holds, as Linux has it.
const pipeSize = 64 << 10

func newPipe(limit, writers int) *pipe { return &pipe{limit: limit, writers: writers} }

// wait returns a channel that is closed at the next change. The pipe is locked.
func (p *pipe) wait() <-chan struct{} {
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

func (p *pipe) notify() {
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// write writes all of b, unless stop is closed first or nobody reads: then the
// error is io.ErrClosedPipe.
func (p *pipe) write(b []byte, stop <-chan struct{}) (int, error) {
	n := 0
	for {
		p.mu.Lock()
		if p.broken {
			p.mu.Unlock()
			return n, io.ErrClosedPipe
		}
		part := b[n:]
		if p.limit > 0 {
			part = part[:min(len(part), p.limit-p.size)]
		}
		if len(part) > 0 {
			p.chunks = append(p.chunks, append([]byte(nil), part...))
			p.size += len(part)
			n += len(part)
			p.notify()
		}
		if n == len(b) {
			p.mu.Unlock()
			return n, nil
		}
		changed := p.wait()
		p.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return n, io.ErrClosedPipe
		}
	}
}

// read reads what is there, and waits where nothing is. The error is io.EOF at
// the end or where the pipe was broken off, and io.ErrClosedPipe where stop was
// closed.
func (p *pipe) read(b []byte, stop <-chan struct{}) (int, error) {
	if len(b) == 0 {
		return 0, nil
	}
	for {
		p.mu.Lock()
		if p.taken = len(p.chunks) > 0; p.taken {
			n := copy(b, p.chunks[0])
			if n == len(p.chunks[0]) {
				p.chunks[0] = nil
				p.chunks = p.chunks[1:]
			} else {
				p.chunks[0] = p.chunks[0][n:]
			}
			p.size -= n
			p.notify()
			p.mu.Unlock()
			return n, nil
		}
		if p.writers == 0 || p.broken {
			p.mu.Unlock()
			return 0, io.EOF
		}
		changed := p.wait()
		p.mu.Unlock()
		select {
		case <-changed:
		case <-stop:
			return 0, io.ErrClosedPipe
		}
	}
}

// join adds a writer.
func (p *pipe) join() {
	p.mu.Lock()
	p.writers++
	p.mu.Unlock()
}

// leave ends a writer.
func (p *pipe) leave() {
	p.mu.Lock()
	p.writers--
	p.notify()
	p.mu.Unlock()
}

// breakOff ends the reader: what waits is dropped, and writers fail from now on.
func (p *pipe) breakOff() {
	p.mu.Lock()
	p.broken = true
	p.chunks, p.size = nil, 0
	p.notify()
	p.mu.Unlock()
}

// giveUp breaks the pipe off unless its reader has still something to do, and
// reports whether it did so with writers who could have written more.
func (p *pipe) giveUp() (cut bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken || p.taken || len(p.chunks) > 0 {
		return false
	}
	p.broken = true
	p.notify()
	return p.writers > 0
}

// copyTo writes everything to w until the end, and stops where stop is closed.
// After a failed Write nobody reads any more. moved, if not nil, is called when
// something was written.
func (p *pipe) copyTo(w io.Writer, stop <-chan struct{}, moved func()) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := p.read(buf, stop)
		if n > 0 {
			if _, err := w.Write(buf[:n]); err != nil {
				p.breakOff()
				return err
			}
			if moved != nil {
				moved()
			}
		}
		if err != nil {
			return nil
		}
	}
}

// copyFrom reads r to its end, and stops where stop is closed or nobody reads.
func (p *pipe) copyFrom(r io.Reader, stop <-chan struct{}) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, err := p.write(buf[:n], stop); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
