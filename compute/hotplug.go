package compute

import "context"

// VolumeAttacher is an instance to which volumes can be attached after its
// creation.
type VolumeAttacher interface {
	Instance
	// AttachVolume adds a mount: at once where the instance runs, and for later
	// runs. A path that is taken is AlreadyExists, as it is the second time; a volume
	// that is not there is NotFound. A cancelled call returns after its undo.
	AttachVolume(ctx context.Context, mount Mount) error
	// DetachVolume removes the mount at the path; NotFound where there is none,
	// FailedPrecondition where the instance will not let go.
	DetachVolume(ctx context.Context, path string) error
}

// AttachVolume adds a mount to an instance; errors.ErrUnsupported where that
// cannot be.
func AttachVolume(ctx context.Context, inst Instance, mount Mount) error {
	a, err := extension[VolumeAttacher](inst, "attach volume")
	if err != nil {
		return err
	}
	return a.AttachVolume(ctx, mount)
}

// DetachVolume removes a mount from an instance; errors.ErrUnsupported where
// that cannot be.
func DetachVolume(ctx context.Context, inst Instance, path string) error {
	a, err := extension[VolumeAttacher](inst, "detach volume")
	if err != nil {
		return err
	}
	return a.DetachVolume(ctx, path)
}

// NetworkAttacher is an instance that can be plugged into networks after its
// creation.
type NetworkAttacher interface {
	Instance
	// AttachNetwork adds an attachment: at once where the instance runs, and for
	// later runs. A network or an endpoint that is not there is NotFound. A cancelled
	// call returns after its undo.
	AttachNetwork(ctx context.Context, attachment NetworkAttachment) error
	// DetachNetwork removes the attachment with the endpoint's ID; NotFound where
	// there is none.
	DetachNetwork(ctx context.Context, endpoint string) error
}

// AttachNetwork plugs an instance into a network; errors.ErrUnsupported where
// that cannot be.
func AttachNetwork(ctx context.Context, inst Instance, attachment NetworkAttachment) error {
	a, err := extension[NetworkAttacher](inst, "attach network")
	if err != nil {
		return err
	}
	return a.AttachNetwork(ctx, attachment)
}

// DetachNetwork unplugs an endpoint from an instance; errors.ErrUnsupported
// where that cannot be.
func DetachNetwork(ctx context.Context, inst Instance, endpoint string) error {
	a, err := extension[NetworkAttacher](inst, "detach network")
	if err != nil {
		return err
	}
	return a.DetachNetwork(ctx, endpoint)
}
