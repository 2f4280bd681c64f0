//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// code is what a kernel consists of for which there is little to do: instructions of an
// 80386 with 32 bits that may lie anywhere. What follows goes on where it ends.
type code []byte

// halts stands still. switchesOff ends the run, by the register PM1a_CNT of the chipset's
// power management (ACPI 6.5, 4.8.3.2), where the firmware puts it.
var (
	halts = code{
		0xfa, 0xf4, // cli; hlt
		0xeb, 0xfd, // again
	}
	switchesOff = append(code{
		0x66, 0xba, 0x04, 0x06, // mov dx, 0x604
		0x66, 0xb8, 0x00, 0x20, // mov ax, SLP_EN, of the sleeping type 0
		0x66, 0xef, // out dx, ax
	}, halts...)
)

// prints writes a text without a zero to the first serial port, a 16550, as a terminal
// does.
func prints(text string) code {
	text = strings.ReplaceAll(text, "\n", "\r\n") + "\x00"
	b := binary.LittleEndian.AppendUint32(code{0xe8}, uint32(len(text))) // call over the text, which puts its address onto the stack
	return append(append(b, text...),
		0x5e,                   // pop esi
		0x66, 0xba, 0xfd, 0x03, // next: mov dx, the line's state
		0xec, 0xa8, 0x20, // busy: in al, dx; test al, that it takes a byte
		0x74, 0xfb, // jz busy
		0x66, 0xba, 0xf8, 0x03, // mov dx, the line
		0xac, 0x84, 0xc0, // lodsb; test al, al
		0x74, 0x03, // jz over
		0xee, 0xeb, 0xeb, // out dx, al; jmp next
	)
}

// awaitsButton goes on when the power button is pressed. That is the interrupt request 9
// (SCI), which the firmware's programming of the second controller makes the interrupt
// 0x71: it has the only gate of a table, whose beginning is where it would have to be.
var awaitsButton = code{
	0xe8, 30, 0, 0, 0, // call over these, which puts their address onto the stack:
	15, 0, 0, 0, 0, 0, 0, 0, // the table of segments, whose first entry is free for its own bounds
	0xff, 0xff, 0, 0, 0, 0x9a, 0xcf, 0, // code, all of the memory
	0, 0, 8, 0, 0, 0x8e, 0, 0, // the gate into it
	0x8f, 0x03, 0, 0, 0, 0, // the bounds of the table of gates
	0x5f,             // pop edi
	0x89, 0x7f, 0x02, // mov [edi+2], edi
	0x0f, 0x01, 0x17, // lgdt [edi]
	0x8d, 0x87, 89, 0, 0, 0, // lea eax, what follows
	0x66, 0x89, 0x47, 0x10, // mov [edi+16], ax
	0xc1, 0xe8, 0x10, // shr eax, 16
	0x66, 0x89, 0x47, 0x16, // mov [edi+22], ax
	0x8d, 0x87, 0x88, 0xfc, 0xff, 0xff, // lea eax, [edi+16-8*0x71]
	0x89, 0x47, 0x1a, // mov [edi+26], eax
	0x0f, 0x01, 0x5f, 0x18, // lidt [edi+24]
	0xb0, 0xfb, 0xe6, 0x21, // mov al, all but the second controller; out 0x21, al
	0xb0, 0xfd, 0xe6, 0xa1, // mov al, all but the request 9; out 0xa1, al
	0x66, 0xba, 0x02, 0x06, // mov dx, PM1_EN
	0x66, 0xb8, 0x00, 0x01, // mov ax, PWRBTN_EN
	0x66, 0xef, // out dx, ax
	0xfb,       // sti
	0xf4,       // wait: hlt
	0xeb, 0xfd, // jmp wait
}

// codeOf does what a program of package guest does, for those for which that is enough.
func codeOf(program []string) (c code, able bool) {
	if len(program) == 0 {
		return nil, false
	}
	if slices.Equal(program, inert) {
		return halts, true
	}
	switch program[0] {
	case "exit":
		return switchesOff, true
	case "ignore":
		return slices.Concat(prints("ready\n"), halts), true
	case "signals":
		return slices.Concat(prints("ready\n"), awaitsButton, prints("TERM\n"), switchesOff), true
	case "pid":
		return slices.Concat(prints("1\n"), switchesOff), true
	case "printf":
		return slices.Concat(prints(program[1]), switchesOff), !strings.Contains(program[1], "\x00")
	case "lines":
		n, err := strconv.Atoi(program[1])
		var text strings.Builder
		for i := range n {
			fmt.Fprintf(&text, "line %d\n", i+1)
		}
		return slices.Concat(prints(text.String()), switchesOff), err == nil && program[2] == "0s"
	}
	return nil, false
}

// kernel gives code a header by which QEMU loads it (see the Multiboot Specification
// 0.6.96, 3.1), and a stack.
func kernel(c code) []byte {
	const magic, hasAddresses, loadAt, headerSize = 0x1badb002, 1 << 16, 1 << 20, 32
	var b []byte
	for _, word := range []uint32{
		magic, hasAddresses, 1<<32 - magic - hasAddresses,
		loadAt,       // of the header
		loadAt, 0, 0, // all of the file, and nothing behind it
		loadAt + headerSize, // the first instruction
	} {
		b = binary.LittleEndian.AppendUint32(b, word)
	}
	b = append(b, 0xfc, 0xbc, 0, 0, 8, 0) // cld; mov esp, 0x80000
	return append(b, c...)
}

// kernels is a folder of them that the user whom QEMU runs as can read.
type kernels string

func newKernels(t *testing.T) kernels {
	t.Helper()
	dir, err := os.MkdirTemp("", "univirt-lv-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	return kernels(dir)
}

// file returns the path of the kernel of some code. It may be called at the same time.
func (k kernels) file(c code) string {
	content := kernel(c)
	path := filepath.Join(string(k), fmt.Sprintf("%x", sha256.Sum256(content)))
	made, err := os.CreateTemp(string(k), "new-")
	if err == nil {
		_, err = made.Write(content)
	}
	for _, do := range []func() error{
		func() error { return made.Chmod(0o644) }, func() error { return made.Close() },
		func() error { return os.Rename(made.Name(), path) },
	} {
		if err == nil {
			err = do()
		}
	}
	if err != nil {
		panic(err)
	}
	return path
}
