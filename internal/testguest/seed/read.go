//go:build linux

package main

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// seed is what is on the disk.
type seed struct {
	meta    metaData
	user    userData
	script  []byte // instead of user
	network networkConfig
	// ignored are the keys of the user's data that mean nothing here.
	ignored []string
}

type metaData struct {
	InstanceID    string `yaml:"instance-id"`
	LocalHostname string `yaml:"local-hostname"`
	PublicKeys    keys   `yaml:"public-keys"`
}

type userData struct {
	Hostname          string      `yaml:"hostname"`
	FQDN              string      `yaml:"fqdn"`
	SSHAuthorizedKeys keys        `yaml:"ssh_authorized_keys"`
	Users             []user      `yaml:"users"`
	WriteFiles        []writeFile `yaml:"write_files"`
	RunCommands       []command   `yaml:"runcmd"`
}

// understood are the keys of userData.
var understood = []string{"hostname", "fqdn", "ssh_authorized_keys", "users", "write_files", "runcmd"}

// keys are public keys, as a list or by name.
type keys []string

func (k *keys) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return node.Decode((*[]string)(k))
	}
	var byName map[string]string
	if err := node.Decode(&byName); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		*k = append(*k, byName[name])
	}
	return nil
}

// user is a user to make. The word "default" has no name.
type user struct {
	Name              string `yaml:"name"`
	SSHAuthorizedKeys keys   `yaml:"ssh_authorized_keys"`
}

func (u *user) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		if node.Value != "default" {
			u.Name = node.Value
		}
		return nil
	}
	type plain user
	return node.Decode((*plain)(u))
}

type writeFile struct {
	Path        string `yaml:"path"`
	Content     string `yaml:"content"`
	Encoding    string `yaml:"encoding"`
	Permissions string `yaml:"permissions"`
	Append      bool   `yaml:"append"`
}

// decoded returns the content, and the mode.
func (w writeFile) decoded() ([]byte, fs.FileMode, error) {
	content, mode := []byte(w.Content), uint64(0o644)
	var err error
	switch w.Encoding {
	case "", "text/plain":
	case "b64", "base64":
		content, err = base64.StdEncoding.DecodeString(strings.TrimSpace(w.Content))
	default:
		err = fmt.Errorf("unknown encoding %q", w.Encoding)
	}
	if err == nil && w.Permissions != "" {
		mode, err = strconv.ParseUint(w.Permissions, 8, 12)
	}
	return content, fs.FileMode(mode), err
}

// command is an argument vector, or a line for a shell.
type command []string

func (c *command) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		*c = command{"/bin/sh", "-c", node.Value}
		return nil
	}
	return node.Decode((*[]string)(c))
}

// networkConfig is version 2 of the format.
type networkConfig struct {
	Version   int                 `yaml:"version"`
	Ethernets map[string]ethernet `yaml:"ethernets"`
}

type ethernet struct {
	Match struct {
		MACAddress string `yaml:"macaddress"`
		Name       string `yaml:"name"`
	} `yaml:"match"`
	DHCP4       bool     `yaml:"dhcp4"`
	Addresses   []string `yaml:"addresses"`
	Gateway4    string   `yaml:"gateway4"`
	Gateway6    string   `yaml:"gateway6"`
	MTU         int      `yaml:"mtu"`
	Nameservers struct {
		Addresses []string `yaml:"addresses"`
		Search    []string `yaml:"search"`
	} `yaml:"nameservers"`
	Routes []struct {
		To  string `yaml:"to"`
		Via string `yaml:"via"`
	} `yaml:"routes"`
}

// read reads a seed. The user's data and the network's may be absent.
func read(disk fs.FS) (s seed, err error) {
	text, err := fs.ReadFile(disk, "meta-data")
	if err != nil {
		return s, err
	}
	if err := yaml.Unmarshal(text, &s.meta); err != nil {
		return s, fmt.Errorf("meta-data: %w", err)
	}
	if text, err = optional(disk, "user-data"); err == nil {
		err = s.readUser(text)
	}
	if err != nil {
		return s, fmt.Errorf("user-data: %w", err)
	}
	if text, err = optional(disk, "network-config"); err == nil {
		err = s.readNetwork(text)
	}
	if err != nil {
		return s, fmt.Errorf("network-config: %w", err)
	}
	return s, nil
}

func optional(disk fs.FS, name string) ([]byte, error) {
	text, err := fs.ReadFile(disk, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func (s *seed) readUser(text []byte) error {
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil
	case bytes.HasPrefix(text, []byte("#!")):
		s.script = text
		return nil
	case !bytes.HasPrefix(text, []byte("#cloud-config")):
		return errors.New("it begins with neither #! nor #cloud-config")
	}
	var all map[string]any
	if err := yaml.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if !slices.Contains(understood, key) {
			s.ignored = append(s.ignored, key)
		}
	}
	return yaml.Unmarshal(text, &s.user)
}

// readNetwork reads a configuration that may be wrapped in the key network.
func (s *seed) readNetwork(text []byte) error {
	var wrapped struct {
		networkConfig `yaml:",inline"`
		Network       networkConfig `yaml:"network"`
	}
	if err := yaml.Unmarshal(text, &wrapped); err != nil {
		return err
	}
	if s.network = wrapped.networkConfig; s.network.Version == 0 {
		s.network = wrapped.Network
	}
	if len(bytes.TrimSpace(text)) > 0 && s.network.Version != 2 {
		return fmt.Errorf("version %d is none that is known here", s.network.Version)
	}
	return nil
}

// hostname returns the name to set, or nothing.
func (s *seed) hostname() string {
	for _, name := range []string{s.user.Hostname, s.user.FQDN, s.meta.LocalHostname} {
		if name != "" {
			short, _, _ := strings.Cut(name, ".")
			return short
		}
	}
	return ""
}
