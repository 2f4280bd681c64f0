// Package pidfd waits for the end of processes that are nobody's children.
package pidfd
