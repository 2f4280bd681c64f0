package guest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParseStatus(t *testing.T) {
	cases := map[string]struct {
		text  string
		want  Hardening
		fault string
	}{
		"Docker's default": {
			text: "Name:\tguest\nCapInh:\t0000000000000000\nCapPrm:\t00000000a80425fb\nCapEff:\t00000000a80425fb\n" +
				"CapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\nSeccomp_filters:\t1\n",
			want: Hardening{
				Seccomp: 2, NoNewPrivs: true, Inheritable: []string{}, Ambient: []string{},
				Bounding: Capabilities, Effective: Capabilities, Permitted: Capabilities,
			}},
		"an unknown capability": {text: "CapBnd: 8000000000000001", want: Hardening{Bounding: []string{"CHOWN", "63"}}},
		"nothing":               {},
		"no colon":              {text: "Seccomp 2\n"},
		"bad mode":              {text: "Seccomp:\tmany\n", fault: "Seccomp: "},
		"bad flag":              {text: "NoNewPrivs:\t2\n", fault: "NoNewPrivs: "},
		"bad set":               {text: "CapAmb:\t-1\n", fault: "CapAmb: "},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var got Hardening
			err := got.ParseStatus(c.text)
			if c.fault != "" {
				assert.ErrorContains(t, err, c.fault)
				return
			}
			assert.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func FuzzParseStatus(f *testing.F) {
	f.Add("CapBnd:\t00000000a80425fb\nNoNewPrivs:\t1\nSeccomp:\t2\n")
	f.Add("CapEff:\tffffffffffffffff\nSeccomp:\t-1\n")
	f.Add(":\n::\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		var h Hardening
		if h.ParseStatus(text) == nil {
			assert.LessOrEqual(t, len(h.Bounding), 64)
		}
	})
}

func TestForbids(t *testing.T) {
	h := Hardening{Calls: map[string]string{
		"done": "", "eperm": "EPERM", "eacces": "EACCES", "enosys": "ENOSYS", "other": "no such device"}}
	for call, want := range map[string]bool{
		"done": false, "eperm": true, "eacces": true, "enosys": true, "other": false, "untried": false,
	} {
		assert.Equal(t, want, h.Forbids(call), call)
	}
}

// confined is as Docker makes it.
func confined() Hardening {
	h := Hardening{
		Seccomp: 2, NoNewPrivs: true,
		Bounding: slices.Clone(Capabilities), Effective: slices.Clone(Capabilities), Permitted: slices.Clone(Capabilities),
		Paths: map[string]PathState{}, Calls: map[string]string{"mknod": "", "ptrace": "", "socket-raw": ""},
	}
	for _, path := range MaskedPaths {
		h.Paths[path] = PathMasked
	}
	for _, path := range ReadOnlyPaths {
		h.Paths[path] = PathReadOnly
	}
	for _, call := range ForbiddenCalls {
		h.Calls[call] = "EPERM"
	}
	return h
}

func TestGaps(t *testing.T) {
	cases := map[string]struct {
		change func(h *Hardening)
		want   []string
	}{
		"as by Docker":       {func(*Hardening) {}, nil},
		"no capabilities":    {func(h *Hardening) { h.Bounding, h.Effective, h.Permitted = nil, nil, nil }, nil},
		"path is absent":     {func(h *Hardening) { h.Paths["/proc/keys"] = PathAbsent }, nil},
		"path more confined": {func(h *Hardening) { h.Paths["/proc/sys"] = PathMasked }, nil},
		"no filter":          {func(h *Hardening) { h.Seccomp = 0 }, []string{"no seccomp filter"}},
		"privileges":         {func(h *Hardening) { h.NoNewPrivs = false }, []string{"new privileges"}},
		"bounding":           {func(h *Hardening) { h.Bounding = append(h.Bounding, "SYS_ADMIN") }, []string{"capability SYS_ADMIN"}},
		"effective":          {func(h *Hardening) { h.Effective = append(h.Effective, "BPF") }, []string{"capability BPF"}},
		"permitted":          {func(h *Hardening) { h.Permitted = append(h.Permitted, "63") }, []string{"capability 63"}},
		"inheritable":        {func(h *Hardening) { h.Inheritable = []string{"SYSLOG"} }, []string{"capability SYSLOG"}},
		"ambient":            {func(h *Hardening) { h.Ambient = []string{"SYSLOG"} }, []string{"capability SYSLOG"}},
		"path not masked":    {func(h *Hardening) { h.Paths["/proc/keys"] = PathReadOnly }, []string{"/proc/keys is not masked"}},
		"path writable":      {func(h *Hardening) { h.Paths["/proc/sys"] = PathOpen }, []string{"/proc/sys is not read-only"}},
		"path not examined":  {func(h *Hardening) { delete(h.Paths, "/proc/sys") }, []string{"/proc/sys is not read-only"}},
		"call allowed":       {func(h *Hardening) { h.Calls["mount"] = "no such device" }, []string{"mount is not forbidden"}},
		"call not tried":     {func(h *Hardening) { delete(h.Calls, "bpf") }, []string{"bpf is not forbidden"}},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			h := confined()
			c.change(&h)
			assert.Equal(t, c.want, h.Gaps())
		})
	}
	assert.Len(t, Hardening{}.Gaps(), 2+len(MaskedPaths)+len(ReadOnlyPaths)+len(ForbiddenCalls))
}
