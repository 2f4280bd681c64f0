//go:build !linux

package kvm

import (
	"context"
	"errors"
	"fmt"
	"runtime"
)

// Probe returns [errors.ErrUnsupported].
func Probe(context.Context, Options) (Result, error) {
	return Result{}, fmt.Errorf("probe KVM: %s has none: %w", runtime.GOOS, errors.ErrUnsupported)
}
