//go:build linux

package testguest

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// debianPackage is a package of one version.
type debianPackage struct{ Name, Version string }

// wanted are the packages that the guests are made of, beside the libraries that
// these need. The first one stands for the kernel of today.
var wanted = []string{"linux-image-cloud-amd64", "qemu-guest-agent", "busybox-static", "grub-common", "grub-pc-bin"}

var (
	kernelName  = regexp.MustCompile(`^linux-image-[0-9].*-cloud-amd64$`)
	libraryName = regexp.MustCompile(`^(lib|zlib)`)
)

// updateLists has the package lists fetched anew, which root alone may do.
func updateLists(ctx context.Context) error {
	_, err := output(ctx, "", "apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "update")
	return err
}

// findPackages asks the package lists what there is.
func findPackages(ctx context.Context) ([]debianPackage, error) {
	ask := append([]string{"depends", "--recurse", "--no-recommends", "--no-suggests", "--no-conflicts",
		"--no-breaks", "--no-replaces", "--no-enhances", "--no-pre-depends"}, wanted...)
	tree, err := output(ctx, "", "apt-cache", ask...)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errDownload, err) // It knows none of them.
	}
	var names []string
	for line := range strings.Lines(string(tree)) {
		name := strings.TrimSuffix(line, "\n")
		// What depends stands at the beginning of a line, on what behind spaces,
		// and in angle brackets what no package is called.
		if slices.Contains(wanted[1:], name) || kernelName.MatchString(name) || libraryName.MatchString(name) {
			names = append(names, name)
		}
	}
	shown, err := output(ctx, "", "apt-cache", append([]string{"show", "--no-all-versions"}, names...)...)
	if err != nil {
		return nil, err
	}
	var packages []debianPackage
	for line := range strings.Lines(string(shown)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "Package":
			packages = append(packages, debianPackage{Name: value})
		case "Version":
			packages[len(packages)-1].Version = value
		}
	}
	for _, name := range wanted[1:] {
		if !slices.ContainsFunc(packages, func(p debianPackage) bool { return p.Name == name && p.Version != "" }) {
			return nil, fmt.Errorf("%w: no list has %s", errDownload, name)
		}
	}
	if !slices.ContainsFunc(packages, func(p debianPackage) bool { return kernelName.MatchString(p.Name) }) {
		return nil, fmt.Errorf("%w: no list has a kernel for %s", errDownload, wanted[0])
	}
	slices.SortFunc(packages, func(a, b debianPackage) int { return strings.Compare(a.Name, b.Name) })
	return packages, nil
}

// listsDigest identifies the state of the package lists, and what they are asked.
func listsDigest() string {
	h := sha256.New()
	fmt.Fprintln(h, wanted)
	const dir = "/var/lib/apt/lists"
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && entry.Name() != "lock" {
			fmt.Fprintln(h, entry.Name(), info.Size(), info.ModTime().UnixNano())
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// errDownload says that packages could not be had. A mirror drops a version when
// the next one is out, so that newer lists may help.
var errDownload = errors.New("download packages")

// unpack downloads the packages and unpacks the files of interest below a folder.
func unpack(ctx context.Context, into string, packages []debianPackage) error {
	archives := filepath.Join(into, "archives")
	if err := os.Mkdir(archives, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(archives)
	// Without the sandbox of apt's own user, who may not write here.
	download := []string{"-qq", "-o", "APT::Sandbox::User=root", "download"}
	for _, p := range packages {
		download = append(download, p.Name+"="+p.Version)
	}
	if _, err := output(ctx, archives, "apt-get", download...); err != nil {
		return fmt.Errorf("%w: %w", errDownload, err)
	}
	files, err := filepath.Glob(filepath.Join(archives, "*.deb"))
	if err != nil {
		return err
	}
	for _, file := range files {
		if err := unpackOne(ctx, into, file); err != nil {
			return fmt.Errorf("unpack %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func unpackOne(ctx context.Context, into, file string) error {
	root, err := os.OpenRoot(into)
	if err != nil {
		return err
	}
	defer root.Close()
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", file)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = unpackTar(root, pipe)
	if err != nil {
		_ = cmd.Process.Kill()
	}
	return errors.Join(err, cmd.Wait())
}

// ofInterest are the files to unpack.
var ofInterest = regexp.MustCompile(`^(boot/vmlinuz-.*|lib/modules/.*\.ko(\.xz)?|(usr/)?s?bin/(qemu-ga|busybox|grub-mkimage)|` +
	`usr/lib/grub/i386-pc/.*|(usr/)?lib(64|/x86_64-linux-gnu)/[^/]*\.so.*)$`)

func unpackTar(root *os.Root, from io.Reader) error {
	for t := tar.NewReader(from); ; {
		header, err := t.Next()
		if err == io.EOF {
			_, err = io.Copy(io.Discard, from)
			return err
		}
		if err != nil {
			return err
		}
		name := strings.TrimPrefix(header.Name, "./")
		if !ofInterest.MatchString(name) {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		switch header.Typeflag {
		case tar.TypeReg:
			var content bytes.Buffer
			if _, err := io.Copy(&content, t); err != nil {
				return err
			}
			if err := root.WriteFile(name, content.Bytes(), header.FileInfo().Mode().Perm()); err != nil {
				return err
			}
		case tar.TypeSymlink:
			if err := root.Symlink(header.Linkname, name); err != nil && !errors.Is(err, os.ErrExist) {
				return err
			}
		}
	}
}

// output runs a command in a folder, and returns what it prints.
func output(ctx context.Context, dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", name, err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out, nil
}
