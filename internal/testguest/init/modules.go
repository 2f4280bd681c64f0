//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// moduleDir holds the modules, and their index: a line for each with its name,
// the names of those it needs after "<", and after "=" the patterns of the
// devices and other things that it is for.
const moduleDir = "/lib/modules/"

type module struct {
	name           string
	needs, goodFor []string
}

// modules loads kernel modules, each once.
type modules struct {
	byName map[string]*module
	loaded map[string]bool
	insert func(name string) error // into the kernel
}

// readModules reads the index. A guest without any has what the kernel has.
func readModules() *modules { return parseModules(read(moduleDir + "index")) }

func parseModules(index string) *modules {
	m := &modules{byName: map[string]*module{}, loaded: map[string]bool{}, insert: insert}
	for line := range strings.Lines(index) {
		head, patterns, _ := strings.Cut(line, "=")
		name, needs, _ := strings.Cut(head, "<")
		name = strings.TrimSpace(name)
		m.byName[name] = &module{name: name, needs: strings.Fields(needs), goodFor: strings.Fields(patterns)}
	}
	return m
}

// loadFor loads what is for a device, given by its alias, and reports whether
// anything was loaded that was not before.
func (m *modules) loadFor(alias string) bool {
	if alias == "" {
		return false
	}
	fresh := false
	bus, _, _ := strings.Cut(alias, ":")
	for _, one := range m.byName {
		for _, pattern := range one.goodFor {
			if !strings.HasPrefix(pattern, bus) {
				continue // Most are for another bus, and matching takes long.
			}
			if ok, err := filepath.Match(pattern, alias); ok && err == nil {
				fresh = m.load(one.name) || fresh
				break
			}
		}
	}
	return fresh
}

// load loads a module after those it needs, and reports whether it was not loaded
// before.
func (m *modules) load(name string) bool {
	one, ok := m.byName[name]
	if !ok || m.loaded[name] {
		return false
	}
	m.loaded[name] = true
	for _, need := range one.needs {
		m.load(need)
	}
	warn("load module "+name, m.insert(name))
	return true
}

func insert(name string) error {
	file, err := os.Open(moduleDir + name + ".ko")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := unix.FinitModule(int(file.Fd()), "", 0); !errors.Is(err, unix.EEXIST) {
		return err
	}
	return nil
}

// modprobe is what the kernel calls for the name or the alias of a module.
func modprobe(name string) {
	m := readModules()
	if !m.load(strings.ReplaceAll(name, "-", "_")) && !m.loadFor(name) {
		fmt.Fprintln(os.Stderr, "modprobe: no module", name)
		os.Exit(1)
	}
}
