//go:build linux

package testguest

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// uncompressed takes the kernel proper out of a bzImage that is compressed with
// LZ4, as Debian's for clouds is. QEMU boots it by the PVH protocol, which saves
// both the BIOS and the decompression.
func uncompressed(image []byte) ([]byte, error) {
	const setupSectors, magic, payloadAt, payloadLen = 0x1f1, 0x202, 0x248, 0x24c
	if len(image) < 1024 || string(image[magic:magic+4]) != "HdrS" {
		return nil, errors.New("the kernel is no bzImage")
	}
	begin := (int(image[setupSectors])+1)*512 + int(binary.LittleEndian.Uint32(image[payloadAt:]))
	length := int(binary.LittleEndian.Uint32(image[payloadLen:]))
	if begin+length > len(image) || length < 8 {
		return nil, errors.New("the kernel's payload lies outside of it")
	}
	// Its last four bytes are the size of what is in it.
	payload, size := image[begin:begin+length-4], binary.LittleEndian.Uint32(image[begin+length-4:])
	kernel, err := unpackLZ4(payload, int(size))
	if err != nil {
		return nil, fmt.Errorf("the kernel's payload: %w", err)
	}
	if !bytes.HasPrefix(kernel, []byte(elf.ELFMAG)) || len(kernel) != int(size) {
		return nil, errors.New("the kernel's payload is no whole ELF file")
	}
	return kernel, nil
}

// unpackLZ4 unpacks LZ4's legacy frame: a magic number, then blocks that are each
// preceded by their length and share no content.
func unpackLZ4(data []byte, size int) ([]byte, error) {
	const magic = 0x184c2102
	if len(data) < 4 || binary.LittleEndian.Uint32(data) != magic {
		return nil, errors.New("not compressed with LZ4")
	}
	data = data[4:]
	out := make([]byte, 0, min(size, 255*len(data))) // More it cannot become.
	for len(data) >= 4 {
		n := int(binary.LittleEndian.Uint32(data))
		data = data[4:]
		if n == magic {
			continue
		}
		if n > len(data) {
			return nil, errors.New("LZ4 block ends too early")
		}
		var err error
		if out, err = unpackLZ4Block(out, data[:n]); err != nil {
			return nil, err
		}
		data = data[n:]
	}
	return out, nil
}

var errLZ4 = errors.New("LZ4 block is damaged")

// unpackLZ4Block appends what is in a block: runs of literal bytes, each followed
// by a reference to what was there before.
func unpackLZ4Block(out, block []byte) ([]byte, error) {
	next := func() int {
		if len(block) == 0 {
			return 0
		}
		b := block[0]
		block = block[1:]
		return int(b)
	}
	length := func(n int) int {
		if n == 15 {
			for {
				b := next()
				n += b
				if b != 255 {
					break
				}
			}
		}
		return n
	}
	start := len(out)
	for len(block) > 0 {
		token := next()
		literals := length(token >> 4)
		if literals > len(block) {
			return nil, errLZ4
		}
		out = append(out, block[:literals]...)
		if block = block[literals:]; len(block) == 0 {
			break // The last run refers to nothing.
		}
		distance := next() | next()<<8
		matched := length(token&15) + 4
		if distance == 0 || distance > len(out)-start {
			return nil, errLZ4
		}
		// The reference may overlap what it makes, so that it repeats.
		for range matched {
			out = append(out, out[len(out)-distance])
		}
	}
	return out, nil
}

// moduleNames are the modules that the guests can load, and those that these need
// come with them. They are loaded for the devices that there are.
var moduleNames = []string{
	"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_net", "virtio_console", "virtio_balloon", "virtio-rng",
	"virtio_scsi", "virtio_mem", "virtio_input", "sd_mod", "sr_mod", "vmw_vsock_virtio_transport",
	"button", "evdev", "pvpanic-pci", "pvpanic-mmio", "isofs", "fuse", "virtiofs", "overlay",
}

// minimalModules are those of the minimal guest: the power button.
var minimalModules = []string{"button", "evdev"}

// diskModules are those that find the root.
var diskModules = []string{"virtio_pci", "virtio_mmio", "virtio_blk", "virtio_scsi", "sd_mod", "button", "evdev"}

// modules returns the modules of these names and what they need, with the index
// that init reads.
func modules(ctx context.Context, unpacked string, names []string) ([]file, error) {
	paths := map[string]string{}
	err := filepath.WalkDir(filepath.Join(unpacked, "lib", "modules"), func(path string, d fs.DirEntry, err error) error {
		if name, _, ok := strings.Cut(filepath.Base(path), ".ko"); ok && err == nil {
			paths[plain(name)] = path
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	var files []file
	var index strings.Builder
	done := map[string]bool{}
	for todo := names; len(todo) > 0; todo = todo[1:] {
		name := plain(todo[0])
		if done[name] {
			continue
		}
		done[name] = true
		if paths[name] == "" {
			return nil, fmt.Errorf("the kernel has no module %s", name)
		}
		content, err := readModule(ctx, paths[name])
		if err != nil {
			return nil, err
		}
		needs, aliases, err := moduleInfo(content)
		if err != nil {
			return nil, fmt.Errorf("module %s: %w", name, err)
		}
		todo = append(todo, needs...)
		fmt.Fprintf(&index, "%s < %s = %s\n", name, strings.Join(needs, " "), strings.Join(aliases, " "))
		files = append(files, file{path: "lib/modules/" + name + ".ko", mode: 0o644, data: content})
	}
	return append(files, file{path: "lib/modules/index", mode: 0o644, data: []byte(index.String())}), nil
}

// plain is the name that the kernel gives a module.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

// readModule reads a module without its signature, which takes an emulated
// processor long to check.
func readModule(ctx context.Context, path string) ([]byte, error) {
	content, err := os.ReadFile(path)
	if strings.HasSuffix(path, ".xz") && err == nil {
		content, err = output(ctx, "", "xz", "-dc", path)
	}
	if err != nil {
		return nil, err
	}
	// It stands between the module and this line: twelve bytes about it, of which
	// the last four are its length.
	const mark = "~Module signature appended~\n"
	if signed, ok := bytes.CutSuffix(content, []byte(mark)); ok && len(signed) > 12 {
		end := len(signed) - 12 - int(binary.BigEndian.Uint32(signed[len(signed)-4:]))
		if end > 0 {
			content = signed[:end]
		}
	}
	return content, nil
}

// moduleInfo returns what a module says it needs and what it is for.
func moduleInfo(content []byte) (needs, aliases []string, err error) {
	object, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return nil, nil, err
	}
	section := object.Section(".modinfo")
	if section == nil {
		return nil, nil, errors.New("it says nothing of itself")
	}
	text, err := section.Data()
	if err != nil {
		return nil, nil, err
	}
	for field := range strings.SplitSeq(string(text), "\x00") {
		switch key, value, _ := strings.Cut(field, "="); key {
		case "depends":
			for need := range strings.SplitSeq(value, ",") {
				if need != "" {
					needs = append(needs, plain(need))
				}
			}
		case "alias":
			aliases = append(aliases, value)
		}
	}
	return needs, aliases, nil
}
