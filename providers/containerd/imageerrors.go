package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"

	"github.com/containerd/containerd/v2/core/remotes/docker"
	remoteerrors "github.com/containerd/containerd/v2/core/remotes/errors"
	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/univirt/univirt/resource"
)

// statusKinds says what an answer of a registry means
// (https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes).
var statusKinds = map[int]error{
	http.StatusUnauthorized:               errdefs.ErrUnauthenticated,
	http.StatusForbidden:                  errdefs.ErrPermissionDenied,
	http.StatusUnavailableForLegalReasons: errdefs.ErrPermissionDenied,
	http.StatusNotFound:                   errdefs.ErrNotFound,
	http.StatusGone:                       errdefs.ErrNotFound,
	http.StatusTooManyRequests:            errdefs.ErrResourceExhausted,
}

// registryFault gives an error of the client of registries its kind. Its text
// leaves out addresses with parameters, which may hold signatures, and quotes
// what the registry says.
func registryFault(err error) error {
	var own *resource.Error
	if err == nil || errors.As(err, &own) {
		return err
	}
	var status remoteerrors.ErrUnexpectedStatus
	if errors.As(err, &status) {
		kind := statusKinds[status.StatusCode]
		if kind == nil {
			// Broken, or no registry at all.
			kind = errdefs.ErrUnavailable
		}
		return &resource.Error{Kind: kind, Err: quiet{statusText(status, err), err}}
	}
	// Both the client's own and http's error for an address have it in the text.
	var failed *url.Error
	if errors.As(err, &failed) {
		host := failed.URL
		if u, parseErr := url.Parse(failed.URL); parseErr == nil {
			host = u.Host
		}
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: quiet{fmt.Sprintf("registry %s: %v", host, failed.Err), err}}
	}
	var network net.Error
	switch {
	case errors.Is(err, docker.ErrInvalidAuthorization):
		return &resource.Error{Kind: errdefs.ErrUnauthenticated, Err: err}
	case errors.As(err, &network):
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: err}
	case errdefs.IsNotImplemented(err):
		return &resource.Error{Kind: errors.ErrUnsupported, Err: err}
	case oversized.MatchString(err.Error()):
		return malformed("%w", withoutKind{err})
	}
	return err
}

// oversized is what the client says of a manifest that is too large to be read;
// the error's kind is NotFound. Seen with the client's release 2.4.2, which is
// what this module links, whatever daemon it talks to.
var oversized = regexp.MustCompile(`rejecting \d+ byte manifest`)

// statusText describes an answer that a registry gave.
func statusText(status remoteerrors.ErrUnexpectedStatus, err error) string {
	text := "registry"
	if u, parseErr := url.Parse(status.RequestURL); parseErr == nil {
		text += " " + u.Host
	}
	text += fmt.Sprintf(": %.100q", status.Status)
	var told docker.Errors
	if errors.As(err, &told) && len(told) > 0 {
		text += fmt.Sprintf(", %.300q", told[0].Error())
	}
	return text
}

// quiet replaces the text of an error.
type quiet struct {
	text string
	err  error
}

// Error returns the text in the error's place.
func (q quiet) Error() string { return q.text }

// Unwrap returns the error, without which its context would not be found.
func (q quiet) Unwrap() error { return q.err }

// damaged are the messages with which the daemon ends the unpacking of a layer
// whose content is at fault, as opposed to the host. Seen on 1.6.20 and 2.4.2;
// each is provoked for real by a case of TestDamagedLayers.
var damaged = regexp.MustCompile(`unexpected EOF|archive/tar: |gzip: |invalid archive|` +
	`mount callback failed on .* (link|symlink|mkdir|open|unlinkat) .*: (no such file or directory|not a directory|is a directory|file exists|file name too long)`)

// applyFault gives an error of unpacking a layer its kind.
func applyFault(layer digest.Digest, err error) error {
	if err != nil && damaged.MatchString(err.Error()) {
		return malformed("layer %s: %w", layer, err)
	}
	return err
}

// plain leaves out what the client put around an error of ours.
func plain(err error) error {
	var own *resource.Error
	if errors.As(err, &own) {
		return own
	}
	return err
}

// translateImage gives a kind to errors that only images have, or returns nil.
// Most have got theirs where they arose, where more is known of them.
func translateImage(error) error { return nil }

// writeEOF is what the client says where the daemon dies while content is being
// sent to it: the stream's own error is not asked for. Seen with the client's
// release 2.4.2; TestDaemonDiesDuringPull provokes it.
var writeEOF = regexp.MustCompile(`(failed to send write|error getting writer status|commit failed): EOF$`)

// brokenOff gives the end of a stream to the daemon its kind.
func brokenOff(err error) error {
	if err != nil && writeEOF.MatchString(err.Error()) {
		return &resource.Error{Kind: errdefs.ErrUnavailable, Err: errors.New("containerd has broken off the connection")}
	}
	return err
}

// refused makes the error of a hook that refused an image.
func refused(err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	kind := resource.KindOf(err)
	if kind == nil {
		kind = errdefs.ErrPermissionDenied
	}
	return &resource.Error{Kind: kind, Err: fmt.Errorf("verify: %w", err)}
}
