//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// appliedFile holds the instance-id whose files and commands were done.
const appliedFile = "/var/lib/seed/instance-id"

// apply does what the seed says, and as much as it can of a seed with faults.
func (s *seed) apply() error {
	err := errors.Join(s.applyHostname(), s.applyNetwork())
	if done, _ := os.ReadFile(appliedFile); s.meta.InstanceID != "" && string(done) == s.meta.InstanceID {
		say("was applied before")
		return err
	}
	err = errors.Join(err, s.applyFiles(), s.applyUsers(), s.runCommands())
	for _, key := range s.ignored {
		say("ignores %s", key)
	}
	err = errors.Join(err, put(appliedFile, []byte(s.meta.InstanceID), 0o644, false))
	if err == nil {
		say("applied")
	}
	return err
}

func (s *seed) applyHostname() error {
	name := s.hostname()
	if name == "" {
		return nil
	}
	if err := unix.Sethostname([]byte(name)); err != nil {
		return fmt.Errorf("hostname %q: %w", name, err)
	}
	say("hostname %s", name)
	return put("/etc/hostname", []byte(name+"\n"), 0o644, false)
}

func (s *seed) applyFiles() error {
	var errs error
	for _, w := range s.user.WriteFiles {
		content, mode, err := w.decoded()
		if err == nil {
			err = put(w.Path, content, mode, w.Append)
		}
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("file %q: %w", w.Path, err))
			continue
		}
		say("file %s %#o %d bytes", w.Path, mode, len(content))
	}
	return errs
}

// applyUsers makes users, and gives them and root their keys.
func (s *seed) applyUsers() error {
	errs := putKeys("root", "/root", slices.Concat(s.meta.PublicKeys, s.user.SSHAuthorizedKeys))
	for i, u := range s.user.Users {
		if u.Name == "" {
			continue
		}
		home := "/home/" + filepath.Base(u.Name)
		if u.Name == "root" {
			home = "/root"
		} else {
			line := fmt.Sprintf("%s:x:%d:%d::%s:/bin/sh\n", u.Name, 1000+i, 1000+i, home)
			errs = errors.Join(errs, put("/etc/passwd", []byte(line), 0o644, true), os.MkdirAll(home, 0o755))
			say("user %s", u.Name)
		}
		errs = errors.Join(errs, putKeys(u.Name, home, u.SSHAuthorizedKeys))
	}
	return errs
}

func putKeys(user, home string, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	text := strings.Join(keys, "\n") + "\n"
	if err := put(home+"/.ssh/authorized_keys", []byte(text), 0o600, true); err != nil {
		return err
	}
	say("keys %s %d", user, len(keys))
	return nil
}

// runCommands runs the script or the commands. One that fails does not stop those
// behind it.
func (s *seed) runCommands() error {
	commands := s.user.RunCommands
	if s.script != nil {
		const script = "/run/user-data"
		if err := put(script, s.script, 0o700, false); err != nil {
			return err
		}
		commands = []command{{script}}
	}
	for i, c := range commands {
		if len(c) == 0 {
			continue
		}
		cmd := exec.Command(c[0], c[1:]...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := cmd.Run(); err != nil {
			say("command %d: %v", i, err)
			continue
		}
		say("command %d done", i)
	}
	return nil
}

func (s *seed) applyNetwork() error {
	links, err := net.Interfaces()
	if err != nil {
		return err
	}
	var errs error
	for _, name := range slices.Sorted(maps.Keys(s.network.Ethernets)) {
		e := s.network.Ethernets[name]
		i := slices.IndexFunc(links, func(l net.Interface) bool { return e.matches(name, l) })
		if i < 0 {
			errs = errors.Join(errs, fmt.Errorf("ethernet %s: no such interface", name))
			continue
		}
		if err := e.apply(links[i].Name); err != nil {
			errs = errors.Join(errs, fmt.Errorf("ethernet %s: %w", name, err))
		}
	}
	return errs
}

// matches reports whether an interface is the one that is meant.
func (e ethernet) matches(name string, l net.Interface) bool {
	if mac := e.Match.MACAddress; mac != "" {
		return strings.EqualFold(mac, l.HardwareAddr.String())
	}
	if e.Match.Name != "" {
		ok, _ := filepath.Match(e.Match.Name, l.Name)
		return ok
	}
	return name == l.Name
}

func (e ethernet) apply(link string) error {
	if e.MTU > 0 {
		if err := ip("link", "set", link, "mtu", fmt.Sprint(e.MTU)); err != nil {
			return err
		}
	}
	if e.DHCP4 {
		return nil // That is for init.
	}
	if err := errors.Join(put("/run/static/"+link, nil, 0o644, false), ip("link", "set", link, "up")); err != nil {
		return err
	}
	for _, address := range e.Addresses {
		if err := ip("address", "add", address, "dev", link); err != nil {
			return err
		}
		say("address %s %s", link, address)
	}
	for to, via := range e.routes() {
		if err := ip("route", "add", to, "via", via, "dev", link); err != nil {
			return err
		}
		say("route %s %s via %s", link, to, via)
	}
	return e.putNameservers()
}

// routes yields the routes with what they lead through.
func (e ethernet) routes() func(yield func(to, via string) bool) {
	return func(yield func(to, via string) bool) {
		for _, gateway := range []string{e.Gateway4, e.Gateway6} {
			if gateway != "" && !yield("default", gateway) {
				return
			}
		}
		for _, r := range e.Routes {
			if !yield(r.To, r.Via) {
				return
			}
		}
	}
}

func (e ethernet) putNameservers() error {
	var text bytes.Buffer
	if search := e.Nameservers.Search; len(search) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(search, " "))
	}
	for _, address := range e.Nameservers.Addresses {
		fmt.Fprintf(&text, "nameserver %s\n", address)
	}
	if text.Len() == 0 {
		return nil
	}
	say("nameservers %s", strings.Join(e.Nameservers.Addresses, " "))
	return put("/etc/resolv.conf", text.Bytes(), 0o644, true)
}

// ip runs busybox's command of that name.
func ip(args ...string) error {
	family := "-4"
	if slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, ":") }) {
		family = "-6"
	}
	if out, err := exec.Command("/bin/ip", append([]string{family}, args...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("ip %s: %s", strings.Join(args, " "), bytes.TrimSpace(out))
	}
	return nil
}

// put writes a file, and the folders that it lies in.
func put(path string, content []byte, mode os.FileMode, more bool) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	how := os.O_WRONLY | os.O_CREATE | os.O_TRUNC
	if more {
		how = os.O_WRONLY | os.O_CREATE | os.O_APPEND
	}
	file, err := os.OpenFile(path, how, mode)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	return errors.Join(err, file.Chmod(mode), file.Close())
}
