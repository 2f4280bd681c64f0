//go:build linux

package testguest

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// file is a file of a guest, or a link if link is set, or the console's device.
type file struct {
	path    string // without a slash at its beginning
	mode    fs.FileMode
	data    []byte
	link    string
	console bool
}

// program returns a file that can be run.
func program(path string, data []byte) file { return file{path: path, mode: 0o755, data: data} }

// link returns a symbolic link.
func link(path, target string) file { return file{path: path, link: target} }

// folders returns the folders that files lie in, parents first.
func folders(files []file) []string {
	var all []string
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			all = append(all, dir)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// archive returns files as the kernel reads them into its first file system: a
// cpio archive in the format "newc". It is not compressed, since unpacking takes
// longer than reading where the processor is emulated.
func archive(files []file) []byte {
	var b bytes.Buffer
	number := 0
	add := func(name string, mode uint32, data []byte, major, minor int) {
		number++
		// In order: inode, mode, user, group, links, time, size, device of the
		// file system, device of the file, length of the name, checksum.
		fmt.Fprintf(&b, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
			number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name)+1, 0, name)
		pad(&b)
		b.Write(data)
		pad(&b)
	}
	const regular, folder, device, symlink = 0o100000, 0o040000, 0o020000, 0o120000
	for _, dir := range folders(files) {
		add(dir, folder|0o755, nil, 0, 0)
	}
	for _, f := range files {
		switch {
		case f.console:
			add(f.path, device|0o600, nil, 5, 1)
		case f.link != "":
			add(f.path, symlink|0o777, []byte(f.link), 0, 0)
		default:
			add(f.path, regular|uint32(f.mode.Perm()), f.data, 0, 0)
		}
	}
	add("TRAILER!!!", 0, nil, 0, 0)
	return b.Bytes()
}

// pad fills up to a multiple of four bytes.
func pad(b *bytes.Buffer) { b.WriteString(strings.Repeat("\x00", -b.Len()&3)) }

// write writes files below a folder, but for the console, which root alone could.
func write(into string, files []file) error {
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, f := range files {
		if err := root.MkdirAll(path.Dir(f.path), 0o755); err != nil {
			return err
		}
		name := filepath.FromSlash(f.path)
		switch {
		case f.console:
		case f.link != "":
			err = root.Symlink(f.link, name)
		default:
			err = errors.Join(root.WriteFile(name, f.data, f.mode), root.Chmod(name, f.mode))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
