package kvm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/keeper"
)

const device = "/dev/kvm"

// Probe says whether KVM is of use to QEMU. It opens /dev/kvm and runs a small
// loop in a guest, in a process of its own, which takes some milliseconds where
// KVM is usable and at most 3 s where it is not. What it finds is kept in Dir: for
// as long as the host is up and device and user are the same; but at most ten
// minutes if KVM was not usable, since a host can have been too busy.
//
// A KVM that is of no use is no error. It fails with [errors.ErrUnsupported] on
// other systems than Linux on amd64 and arm64, with NotFound if there is no such
// user, and with keeper.ErrUntrusted if others can write to Dir. A context that is
// done ends it. Probes at the same time do not disturb each other.
func Probe(ctx context.Context, opts Options) (Result, error) {
	r, err := probe(ctx, opts, device)
	if err != nil {
		return Result{}, fmt.Errorf("probe KVM: %w", err)
	}
	return r, nil
}

func probe(ctx context.Context, opts Options, device string) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, err
	}
	if !filepath.IsAbs(opts.Dir) {
		return Result{}, fmt.Errorf("options.Dir %q is not an absolute path: %w", opts.Dir, errdefs.ErrInvalidArgument)
	}
	helper, err := keeper.Install(opts.Dir)
	if err != nil {
		return Result{}, err
	}
	who, err := look(opts.User)
	if err != nil {
		return Result{}, err
	}
	info, err := os.Stat(device)
	if errors.Is(err, fs.ErrNotExist) {
		return Result{Reason: "there is no " + device}, nil
	}
	if err != nil {
		return Result{}, err
	}
	c := cache{path: filepath.Join(opts.Dir, "kvm.json"), key: keyOf(info, helper, who)}
	if r, ok := c.get(time.Now()); ok {
		return r, nil
	}
	output, err := ask(ctx, keeper.KVMCommand(helper, who.options()), patience)
	if err != nil {
		return Result{}, err
	}
	r := parse(output).judge(who.name)
	// What cannot be kept is found out again the next time.
	_ = c.put(r, time.Now())
	return r, nil
}

// credentials are the rights of the user to ask for; without a name those of this
// process.
type credentials struct {
	name, uid, gid string
	groups         []string
}

func look(name string) (credentials, error) {
	if name == "" {
		return credentials{}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return credentials{}, fmt.Errorf("options.User %s: %w: %w", name, errdefs.ErrNotFound, err)
	}
	groups, err := u.GroupIds()
	if err != nil {
		return credentials{}, fmt.Errorf("options.User %s: %w", name, err)
	}
	return credentials{name: name, uid: u.Uid, gid: u.Gid, groups: groups}, nil
}

// options make the helper open the device with these rights too. Only root can take
// those of others, and has to take none of its own.
func (c credentials) options() keeper.KVMOptions {
	if c.name == "" || c.uid == strconv.Itoa(os.Geteuid()) || os.Geteuid() != 0 {
		return keeper.KVMOptions{}
	}
	return keeper.KVMOptions{UID: c.uid, GID: c.gid, Groups: c.groups}
}

// ask returns what the helper prints until it ends or its time is up.
func ask(ctx context.Context, argv []string, patience time.Duration) (string, error) {
	type answer struct {
		output string
		err    error
	}
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answered := make(chan answer, 1)
	go func() {
		// The signal at a parent's death is that of the thread that started the child.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var out, failed bytes.Buffer
		cmd := exec.CommandContext(bounded, argv[0], argv[1:]...)
		cmd.Env, cmd.Dir = []string{}, "/"
		cmd.Stdout, cmd.Stderr = &out, &failed
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		cmd.WaitDelay = time.Second
		err := cmd.Run()
		if err != nil && failed.Len() > 0 {
			err = fmt.Errorf("%w: %s", err, bytes.TrimSpace(failed.Bytes()))
		}
		answered <- answer{out.String(), err}
	}()
	// A process that hangs in the kernel may not even be killed.
	timer := time.NewTimer(patience + 2*time.Second)
	defer timer.Stop()
	select {
	case a := <-answered:
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if bounded.Err() != nil {
			return a.output, nil
		}
		return a.output, a.err
	case <-timer.C:
		return "", fmt.Errorf("the helper cannot be killed: %w", errdefs.ErrUnavailable)
	}
}
