//go:build linux

package main

import (
	"fmt"
	"unsafe"
)

const (
	kvmSetTSSAddress = 0xAE47
	kvmSetRegisters  = 0x4090AE82
	kvmGetSpecial    = 0x8138AE83
	kvmSetSpecial    = 0x4138AE84

	guestExit = 2 // KVM_EXIT_IO
)

// guestCode counts in real mode, without memory, interrupts or devices.
func guestCode() []byte {
	return []byte{
		0x66, 0xB9, 0x00, 0x00, 0x01, 0x00, // again: mov ecx, 65536
		0x66, 0x49, // down: dec ecx
		0x75, 0xFC, // jnz down
		0xE6, 0x10, // out 0x10, al
		0xEB, 0xF2, // jmp again
	}
}

func machineType(uintptr) uintptr { return 0 }

// prepare puts the CPU, which is in real mode after its reset, to the code.
func prepare(vm, vcpu uintptr) error {
	// Old Intel CPUs need a place for the state of their real mode; who does not
	// need one may refuse it.
	_, _ = control(vm, kvmSetTSSAddress, 0xFFFBD000)
	var special struct {
		codeBase     uint64
		codeLimit    uint32
		codeSelector uint16
		_            [298]byte
	}
	if _, err := control(vcpu, kvmGetSpecial, uintptr(unsafe.Pointer(&special))); err != nil {
		return fmt.Errorf("read its segments: %w", err)
	}
	special.codeBase, special.codeSelector = 0, 0
	if _, err := control(vcpu, kvmSetSpecial, uintptr(unsafe.Pointer(&special))); err != nil {
		return fmt.Errorf("set its segments: %w", err)
	}
	registers := struct {
		general    [16]uint64
		ip, rflags uint64
	}{ip: guestEntry, rflags: 2} // the bit of rflags that is always set
	if _, err := control(vcpu, kvmSetRegisters, uintptr(unsafe.Pointer(&registers))); err != nil {
		return fmt.Errorf("set its registers: %w", err)
	}
	return nil
}
