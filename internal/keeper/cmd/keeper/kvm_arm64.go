//go:build linux

package main

import (
	"encoding/binary"
	"fmt"
	"unsafe"
)

const (
	kvmSetOneReg       = 0x4010AEAC
	kvmVCPUInit        = 0x4020AEAE
	kvmPreferredTarget = 0x8020AEAF

	capIPASize = 165
	usualIPA   = 40

	programCounter = 0x6030000000100040

	guestExit = 6 // KVM_EXIT_MMIO
)

// guestCode counts without translation, interrupts or devices. It turns the
// instruction cache on, without which every instruction would come from memory.
func guestCode() []byte {
	var code []byte
	for _, instruction := range []uint32{
		0xD5381001, // mrs x1, sctlr_el1
		0xB2740021, // orr x1, x1, #0x1000
		0xD5181001, // msr sctlr_el1, x1
		0xD5033FDF, // isb
		0x52A00020, // again: mov w0, #65536
		0x71000400, // down: subs w0, w0, #1
		0x54FFFFE1, // b.ne down
		0xD2A00402, // mov x2, #0x200000, where there is no memory
		0xB9000040, // str w0, [x2]
		0x17FFFFFB, // b again
	} {
		code = binary.LittleEndian.AppendUint32(code, instruction)
	}
	return code
}

// machineType is how many bits a physical address has: zero stands for 40, which
// small CPUs refuse.
func machineType(device uintptr) uintptr {
	if bits, err := control(device, kvmCheckExtension, capIPASize); err == nil && bits > 0 && bits < usualIPA {
		return bits
	}
	return 0
}

// prepare puts the CPU to the code.
func prepare(vm, vcpu uintptr) error {
	var target [8]uint32 // struct kvm_vcpu_init
	if _, err := control(vm, kvmPreferredTarget, uintptr(unsafe.Pointer(&target))); err != nil {
		return fmt.Errorf("choose its CPU: %w", err)
	}
	if _, err := control(vcpu, kvmVCPUInit, uintptr(unsafe.Pointer(&target))); err != nil {
		return fmt.Errorf("set its CPU up: %w", err)
	}
	entry := uint64(guestEntry)
	register := struct{ id, address uint64 }{programCounter, uint64(uintptr(unsafe.Pointer(&entry)))}
	if _, err := control(vcpu, kvmSetOneReg, uintptr(unsafe.Pointer(&register))); err != nil {
		return fmt.Errorf("set its registers: %w", err)
	}
	return nil
}
