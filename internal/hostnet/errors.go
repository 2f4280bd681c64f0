package hostnet

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/resource"
)

// What an endpoint cannot have. Each comes in a *resource.Error that names the field.
var (
	// ErrUsedUp is ResourceExhausted: a subnet has no address left.
	ErrUsedUp = errors.New("no address is left")
	// ErrAddressTaken and ErrMACTaken are AlreadyExists: another endpoint has it.
	ErrAddressTaken = errors.New("the address is taken")
	ErrMACTaken     = errors.New("the MAC is taken")
	// ErrOutside is InvalidArgument: the address is of none of the subnets.
	ErrOutside = errors.New("the address is in no subnet of the network")
	// ErrGateway is InvalidArgument: the address is the gateway's.
	ErrGateway = errors.New("the address is the gateway's")
	// ErrNoHost is InvalidArgument: the address is the subnet's own or its broadcast
	// address.
	ErrNoHost = errors.New("the address is no host's")
	// ErrNewer is FailedPrecondition: a newer version of this library wrote a record.
	ErrNewer = errors.New("the record is of a newer version")
	// ErrForeign is FailedPrecondition: a link or table of the name is somebody else's.
	ErrForeign = errors.New("it is somebody else's")
)

// failed makes an error of a kind at a field.
func failed(kind error, field, format string, args ...any) *resource.Error {
	return &resource.Error{Kind: kind, Field: field, Err: fmt.Errorf(format, args...)}
}

func isAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }
func isThere(err error) bool  { return errors.Is(err, fs.ErrExist) }

// newer refuses a record of a version that this code does not know.
func newer(path string, version int) error {
	return failed(errdefs.ErrFailedPrecondition, "", "%s: %w, %d", path, ErrNewer, version)
}
