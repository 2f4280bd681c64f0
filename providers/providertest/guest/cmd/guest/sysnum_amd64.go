//go:build linux

package main

// System calls that package syscall does not name on this architecture.
const (
	sysOpenByHandleAt = 304
	sysSetns          = 308
	sysBPF            = 321
	sysUserfaultfd    = 323
	sysIOUringSetup   = 425
	sysClone3         = 435
)
