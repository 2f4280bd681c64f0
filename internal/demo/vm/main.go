//go:build linux

// Command vm runs examples/machine on a private libvirtd, without leaving anything
// behind, with an image made of Debian's packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/univirt/univirt/internal/testguest"
	"github.com/univirt/univirt/providers/libvirt"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := demo(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo-vm:", err)
		os.Exit(1)
	}
}

func demo(ctx context.Context) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("a private libvirtd needs root: run `sudo make demo-vm`")
	}
	guest, err := testguest.Build(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("/tmp", "univirt-demo-")
	if err != nil {
		return err
	}
	daemon := filepath.Join(dir, "d")
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		if _, statErr := os.Stat(daemon); statErr == nil {
			err = errors.Join(err, libvirt.Remove(clean, daemon))
		}
		err = errors.Join(err, os.RemoveAll(dir))
	}()
	fmt.Println("demo-vm: running examples/machine on a private libvirtd in", dir)
	run := exec.CommandContext(ctx, "go", "run", "-tags", "libvirt_dlopen", "./examples/machine",
		"-provider", "libvirt:?private=true&managed="+daemon, "-disk", guest.Disk)
	run.Stdout, run.Stderr = os.Stdout, os.Stderr
	// An interrupted example cleans up by itself.
	run.Cancel = func() error { return run.Process.Signal(os.Interrupt) }
	run.WaitDelay = 40 * time.Second
	return run.Run()
}
