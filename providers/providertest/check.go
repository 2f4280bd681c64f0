package providertest

import (
	"context"
	"errors"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// kinds are the kinds that an error of a provider may have.
var kinds = []error{
	errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition,
	errdefs.ErrAborted, errdefs.ErrResourceExhausted, errdefs.ErrUnavailable, errdefs.ErrPermissionDenied,
	errdefs.ErrUnauthenticated, errdefs.ErrDataLoss, errdefs.ErrInternal, errors.ErrUnsupported, resource.ErrClosed,
}

func isNotFound(err error) bool { return errdefs.IsNotFound(err) }

// fails requires an error of a kind, made as the contract has it, and returns
// it.
func (e *env) fails(err error, kind error) *resource.Error {
	e.Helper()
	require.Error(e, err)
	re := e.wellFormed(err)
	require.ErrorIs(e, err, kind)
	require.NotNil(e, re, "the error is a %T and no *resource.Error: %v", err, err)
	require.Equal(e, kind, re.Kind, "the kind of: %v", err)
	return re
}

// failsField is fails for an error that names the field at fault.
func (e *env) failsField(err error, kind error, field string) *resource.Error {
	e.Helper()
	re := e.fails(err, kind)
	require.Equal(e, field, re.Field, "the field at fault in: %v", err)
	return re
}

// cancelled requires an error of a context.
func (e *env) cancelled(err error, want error) {
	e.Helper()
	require.Error(e, err)
	e.wellFormed(err)
	require.ErrorIs(e, err, want)
}

// wellFormed requires an error to be made as the contract has it: an
// *resource.Error with operation and resource and a known kind, or that of a
// context.
func (e *env) wellFormed(err error) *resource.Error {
	e.Helper()
	re, ok := err.(*resource.Error)
	if !ok {
		require.True(e, errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded),
			"the error is a %T and neither a *resource.Error nor that of a context: %v", err, err)
		return nil
	}
	assert.NotEmpty(e, re.Op, "the operation of: %v", err)
	if re.Kind == nil {
		assert.True(e, contextError(re.Err), "the error has no kind: %v", err)
		return re
	}
	assert.True(e, slices.Contains(kinds, re.Kind), "the kind %v is not of the contract: %v", re.Kind, err)
	assert.False(e, contextError(re.Err), "the cause is a context's error, so there is no kind: %v", err)
	return re
}

// wellFormedRef requires a reference to be complete.
func (e *env) wellFormedRef(ref resource.Ref, kind resource.Kind) {
	e.Helper()
	require.Equal(e, e.s.offer.desc.Provider, ref.Provider, "the reference's provider")
	require.Equal(e, kind, ref.Kind, "the reference's kind")
	require.NotEmpty(e, ref.Namespace, "the reference's namespace")
	require.NotEmpty(e, ref.ID, "the reference's ID")
}
