//go:build linux

package main

// System calls that package syscall does not name on every architecture.
const (
	sysOpenByHandleAt = 265
	sysSetns          = 268
	sysBPF            = 280
	sysUserfaultfd    = 282
	sysIOUringSetup   = 425
	sysClone3         = 435
)
