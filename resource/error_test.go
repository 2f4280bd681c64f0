package resource_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

var web = resource.Ref{Provider: "fake", Kind: resource.KindInstance, Namespace: "default", Name: "web", ID: someID}

func TestErrorMessage(t *testing.T) {
	cause := errors.New("cause")
	for want, err := range map[string]error{
		`start instance "web": cause`:     resource.Fail("start", web, cause),
		`start: cause`:                    resource.Fail("start", resource.Ref{}, cause),
		`start instance: cause`:           resource.Fail("start", resource.Ref{Kind: resource.KindInstance}, cause),
		`instance "web": cause`:           &resource.Error{Ref: web, Err: cause},
		`failed`:                          &resource.Error{},
		`start: not found`:                &resource.Error{Op: "start", Kind: errdefs.ErrNotFound},
		`cause`:                           resource.Errorf(errdefs.ErrNotFound, "cause"),
		`pause is not supported`:          resource.Unsupported("pause", ""),
		`pause is not supported: too old`: resource.Unsupported("pause", "too old"),
		`create instance "web": process.user: no such user`: resource.Fail("create", web,
			&resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "process.user", Err: errors.New("no such user")}),
		`create instance "web": a: is bad; b: is bad`: resource.Fail("create", web,
			resource.Faults{{Field: "a", Reason: "is bad"}, {Field: "b", Reason: "is bad"}}.Err()),
		`start instance "web": cause (outcome unknown)`: resource.Fail("start", web,
			&resource.Error{Err: cause, Outcome: resource.OutcomeUnknown}),
		`create instance "web": cause; left behind: fake:default/instance/web (` + someID + `) volume/data`: resource.Fail("create", web,
			&resource.Error{Err: cause, Left: []resource.Ref{web, {Kind: resource.KindVolume, Name: "data"}}}),
		"wait instance \"web\": cause; last output:\n\t\"one\"\n\t\"two\\x1b[31m\"": resource.Fail("wait", web,
			&resource.Error{Err: cause, Logs: []string{"one", "two\x1b[31m"}}),
		`ensure instance "web": start instance "web": cause`: resource.Fail("ensure", web, resource.Fail("start", web, cause)),
		`get instance "web" in namespace "default": no such instance`: resource.Fail("get", web,
			resource.Errorf(errdefs.ErrNotFound, "no such instance")),
		`create instance "web" in namespace "default": image: there is no "app"`: resource.Fail("create", web,
			&resource.Error{Kind: errdefs.ErrNotFound, Field: "image", Err: errors.New(`there is no "app"`)}),
		`ensure instance "web": get instance "web" in namespace "default": not found`: resource.Fail("ensure", web,
			resource.Fail("get", web, errdefs.ErrNotFound)),
		`sweep in namespace "a\nb": not found`: resource.Fail("sweep", resource.Ref{Namespace: "a\nb"}, errdefs.ErrNotFound),
		`get volume "a\nb": not found`: &resource.Error{
			Op: "get", Ref: resource.Ref{Kind: resource.KindVolume, Name: "a\nb"}, Kind: errdefs.ErrNotFound,
		},
	} {
		assert.EqualError(t, err, want)
	}
}

func TestFail(t *testing.T) {
	assert.NoError(t, resource.Fail("start", web, nil))
	for _, kind := range []error{
		errdefs.ErrNotFound, errdefs.ErrAlreadyExists, errdefs.ErrInvalidArgument, errdefs.ErrFailedPrecondition,
		errdefs.ErrAborted, errdefs.ErrResourceExhausted, errdefs.ErrUnavailable, errdefs.ErrPermissionDenied,
		errdefs.ErrUnauthenticated, errdefs.ErrDataLoss, errdefs.ErrInternal, errors.ErrUnsupported, resource.ErrClosed,
	} {
		t.Run(kind.Error(), func(t *testing.T) {
			wrapped := fmt.Errorf("backend: %w", kind)
			for _, err := range []error{
				resource.Fail("start", web, kind),
				resource.Fail("start", web, wrapped),
				resource.Fail("start", web, resource.Errorf(kind, "text")),
				resource.Fail("start", web, fmt.Errorf("wrapped: %w", resource.Errorf(kind, "text"))),
				resource.Fail("ensure", web, resource.Fail("start", web, kind)),
				resource.Fail("ensure", web, fmt.Errorf("again: %w", resource.Fail("start", web, kind))),
			} {
				var e *resource.Error
				require.ErrorAs(t, err, &e)
				assert.ErrorIs(t, err, kind)
				assert.Equal(t, kind, e.Kind)
				assert.Equal(t, kind, resource.KindOf(err))
				assert.Equal(t, web, e.Ref)
				assert.NotEmpty(t, e.Op)
			}
			assert.ErrorIs(t, resource.Fail("start", web, wrapped), wrapped, "the cause is kept")
		})
	}
}

func TestFailKeepsContextErrors(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded, fmt.Errorf("dial: %w", context.Canceled)} {
		err := resource.Fail("start", web, cause)
		var e *resource.Error
		require.ErrorAs(t, err, &e)
		assert.Nil(t, e.Kind)
		assert.Nil(t, resource.KindOf(err))
		assert.ErrorIs(t, err, cause)
		assert.False(t, resource.Retryable(err))
	}
	// Where both are there, it is the context that ended the call.
	assert.Nil(t, resource.KindOf(errors.Join(errdefs.ErrUnavailable, context.Canceled)))
}

func TestFailOfAnUnknownError(t *testing.T) {
	err := resource.Fail("start", web, io.ErrUnexpectedEOF)
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	assert.Nil(t, e.Kind)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Nil(t, resource.KindOf(nil))
}

func TestFailTakesOverWhatThePartKnows(t *testing.T) {
	inner := &resource.Error{
		Op: "create", Ref: resource.Ref{Kind: resource.KindVolume, Name: "data"},
		Kind: errdefs.ErrResourceExhausted, Field: "size", Err: errors.New("disk full"),
		Outcome: resource.OutcomeUnknown, Left: []resource.Ref{web}, Logs: []string{"line"},
	}
	err := resource.Fail("create", web, fmt.Errorf("mount: %w", inner))
	var e *resource.Error
	require.ErrorAs(t, err, &e)
	require.NotSame(t, inner, e)
	assert.Equal(t, inner.Kind, e.Kind)
	assert.Equal(t, inner.Field, e.Field)
	assert.Equal(t, inner.Outcome, e.Outcome)
	assert.Equal(t, inner.Left, e.Left)
	assert.Equal(t, inner.Logs, e.Logs)
	assert.Equal(t, 1, strings.Count(err.Error(), "left behind"), "the details are told once: %s", err)
	assert.Equal(t, 1, strings.Count(err.Error(), "size: "), "%s", err)
}

func TestFailCompletesACopy(t *testing.T) {
	shared := resource.Unsupported("pause", "")
	first, second := resource.Fail("pause", web, shared), resource.Fail("resume", resource.Ref{}, shared)
	assert.EqualError(t, first, `pause instance "web": pause is not supported`)
	assert.EqualError(t, second, `resume: pause is not supported`)
	assert.Empty(t, shared.Op, "the error that was passed is left alone")
}

func TestFailNamesTheFirstFault(t *testing.T) {
	faults := resource.Faults{{Field: "name", Reason: "must not be empty"}, {Field: "image", Reason: "is bad"}}
	for _, err := range []error{faults.Err(), fmt.Errorf("spec: %w", faults.Err())} {
		var e *resource.Error
		require.ErrorAs(t, resource.Fail("create", web, err), &e)
		assert.Equal(t, "name", e.Field)
		assert.Equal(t, errdefs.ErrInvalidArgument, e.Kind)
		assert.Equal(t, faults, resource.FaultsOf(e))
	}
}

func TestErrorIsAndAs(t *testing.T) {
	cause := &customError{}
	err := fmt.Errorf("outer: %w", resource.Fail("ensure", web, resource.Fail("start", web,
		&resource.Error{Kind: errdefs.ErrUnavailable, Err: cause})))
	var custom *customError
	require.ErrorAs(t, err, &custom)
	assert.Same(t, cause, custom)
	assert.True(t, errdefs.IsUnavailable(err))
	assert.False(t, errdefs.IsNotFound(err))
	assert.NotErrorIs(t, &resource.Error{}, errdefs.ErrNotFound)
	assert.ErrorIs(t, &resource.Error{Kind: errdefs.ErrNotFound}, errdefs.ErrNotFound)
	assert.ErrorIs(t, &resource.Error{Err: cause}, cause)
}

type customError struct{}

func (*customError) Error() string { return "custom" }

func TestRetryable(t *testing.T) {
	assert.True(t, resource.Retryable(resource.Fail("start", web, errdefs.ErrUnavailable)))
	assert.True(t, resource.Retryable(errdefs.ErrAborted))
	assert.False(t, resource.Retryable(errdefs.ErrNotFound))
	assert.False(t, resource.Retryable(nil))
}

func TestOutcomeString(t *testing.T) {
	assert.Equal(t, "not done", resource.NotDone.String())
	assert.Equal(t, "done", resource.Done.String())
	assert.Equal(t, "unknown", resource.OutcomeUnknown.String())
	assert.Equal(t, "unknown", resource.Outcome(99).String())
}
