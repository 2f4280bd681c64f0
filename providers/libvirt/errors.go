//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"strings"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// errLost is the cause of what failed because the connection was lost.
var errLost = errors.New("the connection to libvirt is lost")

// kinds translates libvirt's codes.
var kinds = map[lv.ErrorNumber]error{
	lv.ERR_NO_SUPPORT:            errors.ErrUnsupported,
	lv.ERR_ARGUMENT_UNSUPPORTED:  errors.ErrUnsupported,
	lv.ERR_CONFIG_UNSUPPORTED:    errors.ErrUnsupported,
	lv.ERR_OPERATION_UNSUPPORTED: errors.ErrUnsupported,
	lv.ERR_NO_CONNECT:            errdefs.ErrInvalidArgument,
	lv.ERR_INVALID_ARG:           errdefs.ErrInvalidArgument,
	lv.ERR_XML_ERROR:             errdefs.ErrInvalidArgument,
	lv.ERR_XML_DETAIL:            errdefs.ErrInvalidArgument,
	lv.ERR_XML_INVALID_SCHEMA:    errdefs.ErrInvalidArgument,
	lv.ERR_NO_DOMAIN:             errdefs.ErrNotFound,
	lv.ERR_NO_NETWORK:            errdefs.ErrNotFound,
	lv.ERR_NO_STORAGE_POOL:       errdefs.ErrNotFound,
	lv.ERR_NO_STORAGE_VOL:        errdefs.ErrNotFound,
	lv.ERR_NO_DOMAIN_SNAPSHOT:    errdefs.ErrNotFound,
	lv.ERR_NO_DOMAIN_METADATA:    errdefs.ErrNotFound,
	lv.ERR_DOM_EXIST:             errdefs.ErrAlreadyExists,
	lv.ERR_NETWORK_EXIST:         errdefs.ErrAlreadyExists,
	lv.ERR_STORAGE_VOL_EXIST:     errdefs.ErrAlreadyExists,
	lv.ERR_OPERATION_INVALID:     errdefs.ErrFailedPrecondition,
	lv.ERR_RESOURCE_BUSY:         errdefs.ErrFailedPrecondition,
	lv.ERR_AUTH_FAILED:           errdefs.ErrUnauthenticated,
	lv.ERR_AUTH_CANCELLED:        errdefs.ErrUnauthenticated,
	lv.ERR_AUTH_UNAVAILABLE:      errdefs.ErrPermissionDenied,
	lv.ERR_ACCESS_DENIED:         errdefs.ErrPermissionDenied,
	lv.ERR_OPERATION_DENIED:      errdefs.ErrPermissionDenied,
	lv.ERR_OPERATION_TIMEOUT:     errdefs.ErrUnavailable,
	lv.ERR_AGENT_UNRESPONSIVE:    errdefs.ErrUnavailable,
	lv.ERR_AGENT_UNSYNCED:        errdefs.ErrUnavailable,
	lv.ERR_NO_MEMORY:             errdefs.ErrResourceExhausted,
	lv.ERR_CPU_INCOMPATIBLE:      errdefs.ErrInvalidArgument,
	lv.ERR_RPC:                   errdefs.ErrUnavailable,
}

// texts are messages that say more than their code, as seen on libvirt 9.0.0 with
// QEMU 7.2. The first that matches counts.
var texts = []struct {
	text  string
	kind  error
	field string
}{
	// Of any operation on a machine that ends meanwhile. What follows is no word of the
	// daemon's own connection.
	{"Unable to read from monitor", errdefs.ErrAborted, ""},
	{"Unable to write to monitor", errdefs.ErrAborted, ""},
	{"End of file from qemu monitor", errdefs.ErrAborted, ""},
	{"Active console session exists", errdefs.ErrFailedPrecondition, ""},
	{"client socket is closed", errdefs.ErrUnavailable, ""},
	{"Failed to connect socket", errdefs.ErrUnavailable, ""},
	{"Connection reset by peer", errdefs.ErrUnavailable, ""},
	{"End of file while reading data", errdefs.ErrUnavailable, ""},
	{"Cannot allocate memory", errdefs.ErrResourceExhausted, "resources.memory"},
	{"cannot set up guest memory", errdefs.ErrResourceExhausted, "resources.memory"},
	{"No space left on device", errdefs.ErrResourceExhausted, ""},
	{"Not enough space left in storage pool", errdefs.ErrResourceExhausted, ""},
	{"File too large", errdefs.ErrResourceExhausted, "size"},
	// Of a file that is being made; of a copy where there is one, with the code of an
	// internal error; of a file that another host has made.
	{"is still being allocated", errdefs.ErrAborted, ""},
	{"already in use.", errdefs.ErrAlreadyExists, ""},
	{"File exists", errdefs.ErrAlreadyExists, ""},
	// Of the hypervisor for tests, with the code of an internal error.
	{"is already running", errdefs.ErrFailedPrecondition, ""},
	{"not paused", errdefs.ErrFailedPrecondition, ""},
	{"not running", errdefs.ErrFailedPrecondition, ""},
	{"already in use by interface", errdefs.ErrAlreadyExists, "subnets"},
	{"already exists with uuid", errdefs.ErrAlreadyExists, ""},
	{"is already defined with uuid", errdefs.ErrAlreadyExists, ""},
	{"could not open kernel file", errdefs.ErrInvalidArgument, "boot.kernel"},
	{"could not load initrd", errdefs.ErrInvalidArgument, "boot.initrd"},
	{"invalid kernel header", errdefs.ErrInvalidArgument, "boot.kernel"},
	{"does not support machine type", errdefs.ErrInvalidArgument, "boot.machine"},
	{"unsupported machine type", errdefs.ErrInvalidArgument, "boot.machine"},
	// Of a bridge that is gone.
	{"Cannot get interface MTU on", errdefs.ErrFailedPrecondition, "networks"},
	{"Unable to set XATTR", errdefs.ErrPermissionDenied, ""},
}

// complaintKind is the kind of what a program of the guest complains of, as busybox
// 1.35 and GNU tar 1.34 have it from the kernel.
func complaintKind(text string) error {
	switch {
	case strings.Contains(text, "No space left on device"), strings.Contains(text, "Disk quota exceeded"):
		return errdefs.ErrResourceExhausted
	case strings.Contains(text, "Permission denied"), strings.Contains(text, "Operation not permitted"):
		return errdefs.ErrPermissionDenied
	}
	return errdefs.ErrFailedPrecondition
}

// overfull returns what mke2fs (1.47.0) says where a tree has more than the filesystem has
// room for: blocks, inodes, or attributes of one file. It is empty for other errors.
func overfull(err error) string {
	for line := range strings.Lines(err.Error()) {
		if strings.Contains(line, "Could not allocate") || strings.Contains(line, "Insufficient space to store extended attribute") {
			_, said, _ := strings.Cut(strings.TrimSpace(line), ": ")
			return said
		}
	}
	return ""
}

// endedAtStart is said of a start, as a whole, when somebody else ends the machine
// meanwhile; where QEMU has a reason of its own it follows (libvirt 9.0.0).
const endedAtStart = "process exited while connecting to monitor"

// translate gives an error of libvirt its kind.
func translate(err error) error {
	var own lv.Error
	if err == nil || !errors.As(err, &own) {
		return err
	}
	out := &resource.Error{Kind: kinds[own.Code], Err: errors.New(strings.TrimSpace(own.Message))}
	if own.Code == lv.ERR_AGENT_UNRESPONSIVE || own.Code == lv.ERR_AGENT_UNSYNCED {
		out.Err = agentError(out.Err.Error())
	}
	if strings.HasSuffix(out.Err.Error(), endedAtStart) {
		out.Kind = errdefs.ErrAborted
	}
	for _, t := range texts {
		if strings.Contains(own.Message, t.text) {
			out.Kind, out.Field = t.kind, t.field
			break
		}
	}
	return out
}

// agentError is what libvirt says of a guest's agent that does not answer.
type agentError string

func (e agentError) Error() string { return string(e) }

// unconnected reports whether a command was not sent to a guest's agent, as libvirt is
// not connected with it.
func unconnected(err error) bool {
	var own lv.Error
	return errors.As(err, &own) && own.Code == lv.ERR_AGENT_UNRESPONSIVE && strings.Contains(own.Message, "agent is not connected")
}

// ended returns what the context ended with, as callers should see it.
func ended(ctx context.Context) error {
	if ctx.Err() == nil {
		return nil
	}
	if errors.Is(context.Cause(ctx), resource.ErrClosed) {
		return errClosed()
	}
	return outlive.Err(ctx)
}

func errClosed() error { return resource.Errorf(resource.ErrClosed, "provider is closed") }

// atField names the field at fault, where the error does not already.
func atField(field string, err error) error {
	var own *resource.Error
	switch {
	case err == nil, resource.KindOf(err) == nil:
		return err
	case errors.As(err, &own) && own.Field != "":
		return err
	}
	out := &resource.Error{Kind: resource.KindOf(err), Field: field, Err: err}
	if own, ok := err.(*resource.Error); ok {
		out.Err, out.Outcome = own.Err, own.Outcome
	}
	return out
}

// errRefused says that the agent has understood a command and not done it.
var errRefused = errors.New("the guest's agent refuses")

// refused tells what the agent says against a command from what libvirt says, which
// has it in an internal error (seen on 9.0.0).
func refused(err error) error {
	_, said, found := strings.Cut(err.Error(), "unable to execute QEMU agent command ")
	if !found || resource.KindOf(err) != nil {
		return err
	}
	if _, text, ok := strings.Cut(said, "': "); ok {
		said = text
	}
	kind := error(nil)
	if strings.Contains(said, "has not been found") || strings.Contains(said, "has been disabled") {
		kind = errors.ErrUnsupported
	}
	return &resource.Error{Kind: kind, Err: errors.Join(errRefused, errors.New(resource.Quote(said)))}
}
