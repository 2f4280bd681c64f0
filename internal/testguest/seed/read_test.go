//go:build linux

package main

import (
	"bytes"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func disk(files map[string]string) fstest.MapFS {
	d := fstest.MapFS{}
	for name, text := range files {
		d[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return d
}

func TestReadWholeSeed(t *testing.T) {
	s, err := read(disk(map[string]string{
		"meta-data": "instance-id: i-1\nlocal-hostname: web.example\npublic-keys: {b: key two, a: key one}\n",
		"user-data": `#cloud-config
ssh_authorized_keys: [key three]
users: [default, {name: ada, ssh_authorized_keys: [key four]}]
write_files:
- {path: /etc/motd, content: hello}
- {path: /bin/x, content: aGVsbG8=, encoding: b64, permissions: '0755', append: true}
runcmd:
- echo one > /tmp/one
- [echo, two]
growpart: {mode: auto}
`,
		"network-config": `network:
  version: 2
  ethernets:
    nic:
      match: {macaddress: "52:54:00:00:00:01"}
      addresses: [10.0.0.2/24, "fd00::2/64"]
      gateway4: 10.0.0.1
      routes: [{to: 10.9.0.0/16, via: 10.0.0.9}]
      nameservers: {addresses: [10.0.0.53], search: [example]}
`,
	}))
	require.NoError(t, err)
	assert.Equal(t, "i-1", s.meta.InstanceID)
	assert.Equal(t, "web", s.hostname())
	assert.Equal(t, keys{"key one", "key two"}, s.meta.PublicKeys)
	assert.Equal(t, keys{"key three"}, s.user.SSHAuthorizedKeys)
	assert.Equal(t, []user{{}, {Name: "ada", SSHAuthorizedKeys: keys{"key four"}}}, s.user.Users)
	assert.Equal(t, []command{{"/bin/sh", "-c", "echo one > /tmp/one"}, {"echo", "two"}}, s.user.RunCommands)
	assert.Equal(t, []string{"growpart"}, s.ignored)
	for i, want := range []struct {
		content string
		mode    uint32
	}{{"hello", 0o644}, {"hello", 0o755}} {
		content, mode, err := s.user.WriteFiles[i].decoded()
		require.NoError(t, err)
		assert.Equal(t, want.content, string(content))
		assert.EqualValues(t, want.mode, mode)
	}
	nic := s.network.Ethernets["nic"]
	assert.Equal(t, []string{"10.0.0.2/24", "fd00::2/64"}, nic.Addresses)
	var routes []string
	for to, via := range nic.routes() {
		routes = append(routes, to+" "+via)
	}
	assert.Equal(t, []string{"default 10.0.0.1", "10.9.0.0/16 10.0.0.9"}, routes)
}

func TestReadForms(t *testing.T) {
	s, err := read(disk(map[string]string{
		"meta-data":      "instance-id: i\nlocal-hostname: a\npublic-keys: [one]\n",
		"user-data":      "#!/bin/sh\necho hello\n",
		"network-config": "version: 2\nethernets: {eth0: {dhcp4: true}}\n",
	}))
	require.NoError(t, err)
	assert.Equal(t, "#!/bin/sh\necho hello\n", string(s.script))
	assert.True(t, s.network.Ethernets["eth0"].DHCP4)
	assert.Equal(t, keys{"one"}, s.meta.PublicKeys)

	s, err = read(disk(map[string]string{"meta-data": ""}))
	require.NoError(t, err, "what is absent is not missed")
	assert.Empty(t, s.hostname())
}

func TestReadFaults(t *testing.T) {
	for name, files := range map[string]map[string]string{
		"no meta-data":                  {"user-data": "#cloud-config\n"},
		"meta-data that is no mapping":  {"meta-data": "- a\n"},
		"user-data of an unknown kind":  {"meta-data": "", "user-data": "hello\n"},
		"user-data that is no YAML":     {"meta-data": "", "user-data": "#cloud-config\n\tx\n"},
		"network-config of version 1":   {"meta-data": "", "network-config": "version: 1\nconfig: []\n"},
		"network-config of no version":  {"meta-data": "", "network-config": "ethernets: {}\n"},
		"write_files that is no list":   {"meta-data": "", "user-data": "#cloud-config\nwrite_files: x\n"},
		"a command that is no command":  {"meta-data": "", "user-data": "#cloud-config\nruncmd: [{a: b}]\n"},
		"addresses that are no strings": {"meta-data": "", "network-config": "version: 2\nethernets: {a: {addresses: [{b: c}]}}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := read(disk(files))
			assert.Error(t, err)
		})
	}
}

func TestIsSeed(t *testing.T) {
	sound := make([]byte, 17*2048)
	copy(sound[16*2048:], "\x01CD001\x01")
	copy(sound[16*2048+40:], "CIDATA   ")
	assert.True(t, isSeed(bytes.NewReader(sound)))
	other := bytes.Clone(sound)
	copy(other[16*2048+40:], "cidatas")
	assert.False(t, isSeed(bytes.NewReader(other)), "another label")
	assert.False(t, isSeed(bytes.NewReader(sound[:16*2048+60])), "a disk that is too short")
}
