// Package filelock locks files, so that processes of one host take turns. A lock
// dies with the process that holds it.
package filelock

import "os"

// Mode says who may hold a lock at the same time.
type Mode int

// The modes. An exclusive lock has one holder, a shared one as many as ask for a
// shared one.
const (
	Shared Mode = iota
	Exclusive
)

// Lock is a lock on a file. Its methods do nothing on nil.
type Lock struct{ file *os.File }

// Release gives the lock back; the file stays.
func (l *Lock) Release() {
	if l != nil {
		_ = l.file.Close()
	}
}

// Remove removes the file and gives the lock back. Whoever waits for it makes the
// file anew.
func (l *Lock) Remove() {
	if l != nil {
		_ = os.Remove(l.file.Name())
		_ = l.file.Close()
	}
}
