package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/univirt/univirt/internal/daemon"
)

// Daemon is one use of a private containerd. Beside its own methods it has
// Close, Stop, Status and Health of the embedded value.
type Daemon struct {
	*daemon.Daemon
	layout  layout
	version *atomic.Value
}

// Start returns a containerd that answers on the socket in config.Dir: the one
// that runs there, else a new one. Beside the errors of daemon.Start it fails
// with PermissionDenied if the caller is not root, and with NotFound, which
// says what to install, if a program is missing.
//
// Containers belong to their shims and go on while containerd is restarted or
// shut down; [Destroy] ends them.
func Start(ctx context.Context, config Config) (*Daemon, error) {
	d, err := start(ctx, config)
	return d, daemon.Starting(Name, config.Dir, err)
}

// forbidden would separate one path from the next in the options of an overlay
// mount, or mean something else in the address that a client dials.
const forbidden = `:,\` + "%?#"

func start(ctx context.Context, config Config) (*Daemon, error) {
	if uid := os.Geteuid(); uid != 0 {
		return nil, fmt.Errorf("only root can start containerd, this is uid %d; run as root or connect to a containerd that runs: %w",
			uid, errdefs.ErrPermissionDenied)
	}
	l := layout{dir: config.Dir}
	if err := daemon.CheckSocketPath("Dir", l.ttrpc()); err != nil {
		return nil, err
	}
	if i := strings.IndexAny(config.Dir, forbidden); i >= 0 {
		return nil, daemon.AtField("Dir", "Dir holds %q, which containerd's mounts and addresses cannot have: %w",
			config.Dir[i], errdefs.ErrInvalidArgument)
	}
	found, err := find(config.Binary, os.Getenv("PATH"))
	if err != nil {
		return nil, err
	}
	d := &Daemon{layout: l, version: new(atomic.Value)}
	d.Daemon, err = daemon.Start(ctx, daemon.Config{
		Dir:  config.Dir,
		Name: Name,
		Command: func(ctx context.Context) ([]string, error) {
			if err := prepare(ctx, l, found); err != nil {
				return nil, err
			}
			return []string{found.containerd, "--config", l.config()}, nil
		},
		Env:          []string{"PATH=" + found.path},
		Ready:        d.probe,
		StartTimeout: config.StartTimeout,
		Grace:        config.Grace,
		Restarts:     config.Restarts,
	})
	if err != nil {
		return nil, err
	}
	return d, nil
}

// prepare writes the configuration for the release that is about to start.
func prepare(ctx context.Context, l layout, found programs) error {
	// Warnings go to the other stream and would spoil the line.
	cmd := exec.CommandContext(ctx, found.containerd, "--version")
	cmd.Env = []string{"PATH=" + found.path}
	cmd.WaitDelay = time.Second
	output, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", found.containerd, err)
	}
	_, major, err := parseVersion(string(output))
	if err != nil {
		return err
	}
	if err := daemon.DropAfterBoot(l.boot(), l.state()); err != nil {
		return err
	}
	return os.WriteFile(l.config(), []byte(settings(l, major)), 0o600)
}

// probe asks the daemon for its version. It dials once by itself, because a gRPC
// connection would wait a second before it tries a missing socket again.
func (d *Daemon) probe(ctx context.Context) error {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", d.layout.socket())
	}
	conn, err := dial(ctx, "")
	if err != nil {
		return err
	}
	conn.Close()
	// The path may hold what a URL would not mean as itself.
	client, err := grpc.NewClient("passthrough:///containerd",
		grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer client.Close()
	answer, err := versionapi.NewVersionClient(client).Version(ctx, new(emptypb.Empty))
	if err != nil {
		return errgrpc.ToNative(err)
	}
	d.version.Store(answer.Version)
	return nil
}

// Address is the path of the daemon's socket.
func (d *Daemon) Address() string { return d.layout.socket() }

// Version is the version that the daemon reported when it was last found ready,
// such as "1.6.20~ds1" or "v2.4.2".
func (d *Daemon) Version() string { return d.version.Load().(string) }

// Destroy closes this value and then does what the function [Destroy] does.
func (d *Daemon) Destroy(ctx context.Context) error {
	if err := d.Close(ctx, false); err != nil {
		return err
	}
	return Destroy(ctx, d.layout.dir)
}

// Destroy ends everything that a private containerd of dir runs and removes
// everything that it keeps: daemon, containers, shims, programs that lie in the
// folder, mounts and files. It
// works after a crash as well, and may be repeated. The error is
// FailedPrecondition if a value is open on dir, or if dir was not made by
// [Start].
func Destroy(ctx context.Context, dir string) error {
	l := layout{dir: dir}
	return daemon.Remove(ctx, daemon.RemoveOptions{
		Dir:   dir,
		Name:  Name,
		Clean: func(ctx context.Context) error { return endContainers(ctx, l) },
	})
}
