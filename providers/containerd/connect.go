package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	introspectionapi "github.com/containerd/containerd/api/services/introspection/v1"
	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/univirt/univirt/internal/daemon"
	managed "github.com/univirt/univirt/internal/daemon/containerd"
	"github.com/univirt/univirt/resource"
)

// streamWindow is how many bytes containerd may send ahead.
const streamWindow = 4 << 20

// connection is a containerd that has answered.
type connection struct {
	client *client.Client
	calls  *calls
	daemon *managed.Daemon // nil: somebody else's
	// address is the socket, version what the daemon calls its release, and uuid
	// what it calls itself.
	address, version, uuid string
	// runcRoot is where runc must keep its state; empty for its own place.
	runcRoot string
}

// connect starts the daemon where it is a managed one, and asks it who it is.
func connect(ctx context.Context, opts Options) (c *connection, err error) {
	c = &connection{address: opts.Address, calls: &calls{timeout: opts.CallTimeout}}
	defer func() {
		if err != nil {
			c.close(context.WithoutCancel(ctx), opts)
		}
	}()
	if m := opts.Managed; m != nil {
		c.daemon, err = managed.Start(ctx, managed.Config{Dir: m.Dir, Binary: m.Binary, StartTimeout: m.StartTimeout})
		if done := ended(ctx); err != nil && done != nil {
			return c, fmt.Errorf("%w: %v", done, err)
		}
		if err != nil {
			return c, atField(managedField(err), err)
		}
		c.address = c.daemon.Address()
	}
	if err := checkSocket(ctx, c.address, opts.ConnectTimeout); err != nil {
		return c, err
	}
	c.runcRoot = managed.RuncRoot(c.address)
	c.client, err = client.New(c.address,
		client.WithDefaultNamespace(spaceOf(opts.Namespace)),
		client.WithDialOpts(append([]grpc.DialOption{
			grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", c.address)
			}),
			// A daemon that was restarted must not be found a second later.
			grpc.WithConnectParams(grpc.ConnectParams{
				Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 500 * time.Millisecond},
				// Later than whoever asks first gives up, so that it is that which is told.
				MinConnectTimeout: opts.ConnectTimeout + time.Second,
			}),
			// Lists come in a burst of megabytes, which should not wait for their reader.
			grpc.WithInitialWindowSize(streamWindow),
			grpc.WithInitialConnWindowSize(streamWindow),
			grpc.WithChainUnaryInterceptor(c.calls.unary),
			grpc.WithChainStreamInterceptor(c.calls.stream),
		}, opts.dial...)))
	if err != nil {
		return c, atField("address", err)
	}
	if err := c.ask(ctx, opts.ConnectTimeout); err != nil {
		return c, err
	}
	return c, nil
}

// managedField is the option at fault where a managed daemon did not start.
func managedField(err error) string {
	var at *daemon.FieldError
	if !errors.As(err, &at) {
		return "managed"
	}
	return "managed." + strings.ToLower(at.Field)
}

// ask reads version and identity. The deadline turns a socket on which nobody
// answers into an error.
func (c *connection) ask(ctx context.Context, timeout time.Duration) error {
	bounded, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	version, err := c.client.Version(bounded)
	if err == nil {
		var server *introspectionapi.ServerResponse
		server, err = c.client.IntrospectionService().Server(bounded)
		c.version, c.uuid = version.Version, server.GetUUID()
	}
	switch {
	case err == nil && c.uuid == "":
		return atField("address", resource.Errorf(errdefs.ErrFailedPrecondition, "%s: containerd does not tell its identity", c.address))
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case bounded.Err() != nil:
		return atField("address", resource.Errorf(errdefs.ErrUnavailable, "%s: no answer within %s", c.address, timeout))
	}
	err = translate(ctx, err)
	if errors.Is(err, errors.ErrUnsupported) {
		err = resource.Errorf(errdefs.ErrInvalidArgument, "%s: what answers is no containerd: %w", c.address, err)
	}
	return atField("address", err)
}

// checkSocket connects once, because gRPC does not tell what is wrong with an
// address. While nobody accepts it waits.
func checkSocket(ctx context.Context, address string, timeout time.Duration) error {
	fail := func(kind error, format string, args ...any) error {
		return atField("address", resource.Errorf(kind, "%s: "+format, append([]any{address}, args...)...))
	}
	info, err := os.Stat(address)
	if err == nil && info.Mode().Type() != fs.ModeSocket {
		return fail(errdefs.ErrInvalidArgument, "is no socket")
	}
	if err == nil {
		if err = dialOnce(ctx, address, timeout); err == nil {
			return nil
		}
	}
	var number syscall.Errno
	errors.As(err, &number)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case number == syscall.EAGAIN:
		return fail(errdefs.ErrUnavailable, "no answer within %s", timeout)
	case errors.Is(err, fs.ErrNotExist):
		return fail(errdefs.ErrUnavailable, "does not exist; is containerd running? (%s:?managed=/dir starts a private one)", Scheme)
	case errors.Is(err, fs.ErrPermission):
		return fail(errdefs.ErrPermissionDenied, "%s", number.Error())
	case number == syscall.ECONNREFUSED:
		return fail(errdefs.ErrUnavailable, "nobody listens; is containerd running?")
	case number == syscall.ENOTDIR || number == syscall.ENAMETOOLONG || number == syscall.EINVAL || number == syscall.ELOOP:
		return fail(errdefs.ErrInvalidArgument, "%w", number)
	}
	return fail(errdefs.ErrUnavailable, "%w", err)
}

// dialOnce connects and hangs up. While as many wait to be accepted as may it tries
// again: nothing tells when there is room.
func dialOnce(ctx context.Context, address string, timeout time.Duration) error {
	for deadline := time.Now().Add(timeout); ; {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", address)
		if err == nil {
			return conn.Close()
		}
		if !errors.Is(err, syscall.EAGAIN) || time.Now().After(deadline) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// close ends the connection, and the use of a managed daemon.
func (c *connection) close(ctx context.Context, opts Options) error {
	var errs []error
	if c.client != nil {
		errs = append(errs, c.client.Close())
	}
	if c.daemon != nil {
		errs = append(errs, c.daemon.Close(ctx, opts.Managed.Leave))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("containerd at %s: %w", c.address, err)
	}
	return nil
}
