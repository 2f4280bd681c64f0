package compute

import "context"

// Suspender is an instance whose memory can be written to disk.
type Suspender interface {
	Instance
	// Suspend writes the memory to disk and ends the processes: the instance is
	// Suspended when it returns, and Start resumes the run. Suspend of a
	// suspended instance is nil.
	Suspend(ctx context.Context, opts SuspendOptions) error
}

// SuspendOptions are the options of Suspend. There are none yet.
type SuspendOptions struct{}

// Suspend suspends an instance to disk; errors.ErrUnsupported where it cannot.
func Suspend(ctx context.Context, inst Instance, opts SuspendOptions) error {
	s, err := extension[Suspender](inst, OpSuspend)
	if err != nil {
		return err
	}
	return s.Suspend(ctx, opts)
}
