// Command demo runs the quickstart on a real containerd, without leaving
// anything behind: a private daemon in a folder of its own, and an image from
// Docker's registry, or one made here and served on loopback where that cannot
// be reached.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/univirt/univirt/internal/daemon/containerd"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a real containerd needs root: run `sudo make demo`, or `go run ./examples/quickstart -provider fake:` without it")
	}
	// Sockets have short paths, and programs are executed from the folder, which
	// /run often forbids.
	dir, err := os.MkdirTemp("/tmp", "univirt-demo-")
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		daemon := filepath.Join(dir, "daemon")
		if _, statErr := os.Stat(daemon); statErr == nil {
			err = errors.Join(err, containerd.Destroy(clean, daemon))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	image, done, err := findImage(ctx)
	if err != nil {
		return err
	}
	defer done()
	fmt.Println("demo: running examples/quickstart on a private containerd in", dir)
	run := exec.CommandContext(ctx, "go", "run", "./examples/quickstart",
		"-provider", "containerd:?managed="+filepath.Join(dir, "daemon")+"&state="+filepath.Join(dir, "state"), "-image", image)
	run.Stdout, run.Stderr = os.Stdout, os.Stderr
	// An interrupted quickstart cleans up by itself.
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = 15 * time.Second
	return run.Run()
}

// findImage returns an image with a shell, and what ends its being served.
func findImage(ctx context.Context) (string, func(), error) {
	dialer := net.Dialer{Timeout: 2 * time.Second}
	if conn, err := dialer.DialContext(ctx, "tcp", "registry-1.docker.io:443"); err == nil {
		_ = conn.Close()
		return "docker.io/library/busybox:latest", func() {}, nil
	}
	fmt.Println("demo: Docker's registry cannot be reached; making an image here and serving it on loopback")
	image, err := testimage.Busybox(testimage.Options{Layers: 3, LayerSize: 4 << 20, Config: v1.Config{Cmd: []string{"/bin/sh"}}})
	if err != nil {
		return "", nil, err
	}
	registry, err := testregistry.New()
	if err != nil {
		return "", nil, err
	}
	ref, err := registry.Push("demo/busybox:latest", image)
	if err != nil {
		return "", nil, errors.Join(err, registry.Close())
	}
	// Loopback is too fast for a progress bar to be seen.
	registry.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Slow(4 << 20)})
	return ref, func() { _ = registry.Close() }, nil
}
