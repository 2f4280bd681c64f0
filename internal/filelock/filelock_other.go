//go:build !unix || solaris || aix

package filelock

import (
	"context"
	"errors"
)

// Acquire says that there are no such locks on this system.
func Acquire(context.Context, string, Mode) (*Lock, error) { return nil, errors.ErrUnsupported }

// Await says that there are no such locks on this system.
func Await(context.Context, string) (*Lock, error) { return nil, errors.ErrUnsupported }

// Held says that there are no such locks on this system.
func Held(string) (bool, error) { return false, errors.ErrUnsupported }
