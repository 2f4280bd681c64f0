//go:build linux

package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The requests of /dev/kvm that are the same on every architecture.
const (
	kvmCreateVM            = 0xAE01
	kvmCheckExtension      = 0xAE03
	kvmGetVCPUMapSize      = 0xAE04
	kvmCreateVCPU          = 0xAE41
	kvmSetUserMemoryRegion = 0x4020AE46
	kvmRun                 = 0xAE80
)

const (
	guestMemory = 1 << 20
	guestEntry  = 0x1000
	// exitReasonAt is where struct kvm_run says why the guest stopped.
	exitReasonAt = 8
	rounds       = 3
)

// runKVM prints lines of a key and a value: open and user say whether the caller,
// and a user of other rights, may open the device; loop is the shortest time that
// a guest took to count down from 65,536, in nanoseconds; fail is what prevented
// that. It may hang in the kernel, whence it has to be killed.
func runKVM(args map[string]string) error {
	device, err := openKVM()
	say("open", err)
	if err != nil {
		return nil
	}
	if args["uid"] != "" {
		if err := become(args); err != nil {
			return err
		}
		other, err := openKVM()
		if err == nil {
			_ = unix.Close(other)
		}
		say("user", err)
	}
	best, err := count(uintptr(device))
	if err != nil {
		say("fail", err)
		return nil
	}
	fmt.Println("loop", best.Nanoseconds())
	return nil
}

func openKVM() (int, error) { return unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0) }

func say(key string, err error) {
	if err == nil {
		fmt.Println(key, "ok")
		return
	}
	fmt.Println(key, err)
}

// become takes the rights of another user for good.
func become(args map[string]string) error {
	uid, err1 := strconv.Atoi(args["uid"])
	gid, err2 := strconv.Atoi(args["gid"])
	if err1 != nil || err2 != nil {
		return errUsage
	}
	var groups []int
	for group := range strings.FieldsFuncSeq(args["groups"], func(r rune) bool { return r == ',' }) {
		id, err := strconv.Atoi(group)
		if err != nil {
			return errUsage
		}
		groups = append(groups, id)
	}
	if err := syscall.Setgroups(groups); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	return errors.Join(syscall.Setresgid(gid, gid, gid), syscall.Setresuid(uid, uid, uid))
}

// count runs the guest some rounds and returns the shortest.
func count(device uintptr) (time.Duration, error) {
	vm, err := control(device, kvmCreateVM, machineType(device))
	if err != nil {
		return 0, fmt.Errorf("create the VM: %w", err)
	}
	memory, err := unix.Mmap(-1, 0, guestMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		return 0, err
	}
	copy(memory[guestEntry:], guestCode())
	region := struct {
		slot, flags       uint32
		guest, size, user uint64
	}{size: guestMemory, user: uint64(uintptr(unsafe.Pointer(&memory[0])))}
	if _, err := control(vm, kvmSetUserMemoryRegion, uintptr(unsafe.Pointer(&region))); err != nil {
		return 0, fmt.Errorf("give it memory: %w", err)
	}
	vcpu, err := control(vm, kvmCreateVCPU, 0)
	if err != nil {
		return 0, fmt.Errorf("create its CPU: %w", err)
	}
	size, err := control(device, kvmGetVCPUMapSize, 0)
	if err != nil {
		return 0, err
	}
	state, err := unix.Mmap(int(vcpu), 0, int(size), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, err
	}
	if err := prepare(vm, vcpu); err != nil {
		return 0, err
	}
	var best time.Duration
	for i := range rounds {
		took, err := round(vcpu, state)
		if err != nil {
			return 0, err
		}
		if i == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// round lets the guest run until it has counted down once more.
func round(vcpu uintptr, state []byte) (time.Duration, error) {
	began := time.Now()
	_, err := control(vcpu, kvmRun, 0)
	for errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN) {
		_, err = control(vcpu, kvmRun, 0)
	}
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("run it: %w", err)
	}
	if reason := *(*uint32)(unsafe.Pointer(&state[exitReasonAt])); reason != guestExit {
		return 0, fmt.Errorf("run it: it stopped for reason %d", reason)
	}
	return took, nil
}

func control(fd, request, arg uintptr) (uintptr, error) {
	got, _, errno := unix.Syscall(unix.SYS_IOCTL, fd, request, arg)
	if errno != 0 {
		return 0, errno
	}
	return got, nil
}
