package compute

import (
	"context"

	"github.com/univirt/univirt/resource"
)

// Pauser is an instance that can be paused.
type Pauser interface {
	Instance
	// Pause takes processor time away: the instance is Paused when it returns.
	// Pause of a paused instance is nil.
	Pause(ctx context.Context) error
	// Resume gives it back: the instance is Running when it returns. Resume of a
	// running instance is nil.
	Resume(ctx context.Context) error
}

// Pause pauses an instance; errors.ErrUnsupported where it cannot.
func Pause(ctx context.Context, inst Instance) error {
	p, err := extension[Pauser](inst, OpPause)
	if err != nil {
		return err
	}
	return p.Pause(ctx)
}

// Resume ends a pause; errors.ErrUnsupported where the instance cannot pause.
func Resume(ctx context.Context, inst Instance) error {
	p, err := extension[Pauser](inst, OpResume)
	if err != nil {
		return err
	}
	return p.Resume(ctx)
}

// extension finds what a helper needs, through any wrapper.
func extension[T any](inst Instance, op Operation) (T, error) {
	if t, ok := resource.As[T](inst); ok {
		return t, nil
	}
	var none T
	return none, resource.Fail(string(op), instanceRef(inst), resource.Unsupported(string(op), ""))
}

// instanceRef names an instance as far as its handle knows it.
func instanceRef(inst Instance) resource.Ref {
	if known, ok := resource.As[interface{ Ref() resource.Ref }](inst); ok {
		return known.Ref()
	}
	return resource.Ref{Kind: resource.KindInstance, ID: inst.ID()}
}
