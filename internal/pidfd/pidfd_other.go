//go:build !linux

package pidfd

import (
	"errors"
	"os"
)

// Open is not there on this system.
func Open(int, func(int) bool) (*os.File, error) { return nil, errors.ErrUnsupported }

// Find is not there on this system.
func Find(func(int) bool) int { return 0 }

// Wait is not there on this system.
func Wait(*os.File) bool { return false }
