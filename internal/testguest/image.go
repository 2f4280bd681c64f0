//go:build linux

package testguest

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// assemble fills a folder with all that [Guest] names.
func assemble(ctx context.Context, into string, packages []debianPackage, programs programs) error {
	unpacked := filepath.Join(into, "unpacked")
	if err := os.Mkdir(unpacked, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(unpacked)
	if err := unpack(ctx, unpacked, packages); err != nil {
		return err
	}
	g := at(into)
	images, err := filepath.Glob(filepath.Join(unpacked, "boot", "vmlinuz-*"))
	if err != nil || len(images) != 1 {
		return fmt.Errorf("the packages hold %d kernels: %w", len(images), err)
	}
	compressed, err := os.ReadFile(images[0])
	if err != nil {
		return err
	}
	kernel, err := uncompressed(compressed)
	if err != nil {
		return err
	}
	minimal, err := system(ctx, unpacked, programs, minimalModules)
	if err != nil {
		return err
	}
	whole, err := wholeSystem(ctx, unpacked, programs)
	if err != nil {
		return err
	}
	starter, err := system(ctx, unpacked, programs, diskModules)
	if err != nil {
		return err
	}
	disk := append(slices.Clone(whole),
		file{path: "boot/vmlinuz", mode: 0o644, data: compressed},
		file{path: "boot/initrd", mode: 0o644, data: archive(starter)})
	return errors.Join(
		os.WriteFile(g.CompressedKernel, compressed, 0o644),
		os.WriteFile(g.Kernel, kernel, 0o644),
		os.WriteFile(g.MinimalInitrd, archive(minimal), 0o644),
		os.WriteFile(g.Initrd, archive(whole), 0o644),
		makeDisk(ctx, g.Disk, unpacked, disk))
}

// system returns init, and modules for it.
func system(ctx context.Context, unpacked string, programs programs, names []string) ([]file, error) {
	files, err := modules(ctx, unpacked, names)
	return append(files, program("init", programs.init), file{path: "dev/console", console: true}), err
}

// wholeSystem returns all that a guest holds that is more than init.
func wholeSystem(ctx context.Context, unpacked string, programs programs) ([]file, error) {
	files, err := system(ctx, unpacked, programs, moduleNames)
	if err != nil {
		return nil, err
	}
	files = append(files, program(strings.TrimPrefix(Program, "/"), programs.guest), program("sbin/seed", programs.seed),
		file{path: "root/.profile", mode: 0o644})
	ours := []string{"modprobe", "poweroff", "shutdown", "halt", "reboot", "init"}
	for _, name := range ours {
		files = append(files, link("sbin/"+name, "../init"))
	}
	busybox, err := find(unpacked, "bin/busybox")
	if err != nil {
		return nil, err
	}
	applets, err := output(ctx, "", busybox, "--list")
	if err != nil {
		return nil, err
	}
	for name := range strings.FieldsSeq(string(applets)) {
		if name != "busybox" && !slices.Contains(ours, name) {
			files = append(files, link("bin/"+name, "busybox"))
		}
	}
	content, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	files = append(files, program("bin/busybox", content))
	agent, err := withLibraries(unpacked, "usr/sbin/qemu-ga")
	if err != nil {
		return nil, err
	}
	files = append(files, agent...)
	err = fs.WalkDir(sources, "rootfs", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := sources.ReadFile(path)
		f := file{path: strings.TrimPrefix(path, "rootfs/"), mode: 0o644, data: text}
		if strings.HasPrefix(string(text), "#!") {
			f.mode = 0o755
		}
		files = append(files, f)
		return err
	})
	return files, err
}

// find returns the path of a file of the packages, which have /bin, /sbin and
// /lib in /usr or not, depending on their age.
func find(unpacked, name string) (string, error) {
	for _, dir := range []string{"", "usr"} {
		p := filepath.Join(unpacked, dir, strings.TrimPrefix(name, "usr/"))
		if _, err := os.Stat(p); err == nil {
			return p, nil
		}
	}
	return "", fmt.Errorf("no package holds %s", name)
}

// withLibraries returns a program with the libraries that it needs.
func withLibraries(unpacked, name string) ([]file, error) {
	const libraries = "lib/x86_64-linux-gnu"
	var files []file
	done := map[string]bool{}
	for todo := []string{name, "lib64/ld-linux-x86-64.so.2"}; len(todo) > 0; todo = todo[1:] {
		if done[todo[0]] {
			continue
		}
		done[todo[0]] = true
		p, err := find(unpacked, todo[0])
		if err != nil {
			return nil, err
		}
		content, err := os.ReadFile(p)
		if err != nil {
			return nil, err
		}
		files = append(files, program(todo[0], content))
		object, err := elf.Open(p)
		if err != nil {
			return nil, err
		}
		needs, err := object.ImportedLibraries()
		object.Close()
		if err != nil {
			return nil, err
		}
		for _, need := range needs {
			if need != "ld-linux-x86-64.so.2" {
				todo = append(todo, path.Join(libraries, need))
			}
		}
	}
	return files, nil
}
