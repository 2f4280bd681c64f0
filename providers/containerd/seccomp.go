package containerd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/resource"
)

// seccompProfile is a filter as Docker writes it
// (https://docs.docker.com/engine/security/seccomp/): OCI's, with conditions.
type seccompProfile struct {
	DefaultAction    specs.LinuxSeccompAction `json:"defaultAction"`
	DefaultErrnoRet  *uint                    `json:"defaultErrnoRet,omitempty"`
	Architectures    []specs.Arch             `json:"architectures,omitempty"`
	ArchMap          []seccompArch            `json:"archMap,omitempty"`
	Flags            []specs.LinuxSeccompFlag `json:"flags,omitempty"`
	ListenerPath     string                   `json:"listenerPath,omitempty"`
	ListenerMetadata string                   `json:"listenerMetadata,omitempty"`
	Syscalls         []seccompRule            `json:"syscalls"`
}

type seccompArch struct {
	Arch     specs.Arch   `json:"architecture"`
	SubArchs []specs.Arch `json:"subArchitectures"`
}

type seccompRule struct {
	Name     string                   `json:"name,omitempty"`
	Names    []string                 `json:"names,omitempty"`
	Action   specs.LinuxSeccompAction `json:"action"`
	ErrnoRet *uint                    `json:"errnoRet,omitempty"`
	// Errno is what some profiles say instead of errnoRet; Comment is for people.
	Errno    string                  `json:"errno,omitempty"`
	Comment  string                  `json:"comment,omitempty"`
	Args     []specs.LinuxSeccompArg `json:"args,omitempty"`
	Includes *seccompCondition       `json:"includes,omitempty"`
	Excludes *seccompCondition       `json:"excludes,omitempty"`
}

type seccompCondition struct {
	Arches    []string `json:"arches,omitempty"`
	Caps      []string `json:"caps,omitempty"`
	MinKernel string   `json:"minKernel,omitempty"`
}

// native is the architecture of this host, in the words of conditions and of
// filters.
var native = map[string]struct {
	name string
	arch specs.Arch
}{
	"amd64":   {"amd64", specs.ArchX86_64},
	"arm64":   {"arm64", specs.ArchAARCH64},
	"arm":     {"arm", specs.ArchARM},
	"386":     {"x86", specs.ArchX86},
	"ppc64le": {"ppc64le", specs.ArchPPC64LE},
	"s390x":   {"s390x", specs.ArchS390X},
	"riscv64": {"riscv64", specs.ArchRISCV64},
}[runtime.GOARCH]

var seccompActions = []specs.LinuxSeccompAction{
	specs.ActKill, specs.ActKillProcess, specs.ActKillThread, specs.ActTrap, specs.ActErrno, specs.ActTrace,
	specs.ActAllow, specs.ActLog,
}

// parseSeccomp reads a profile for a process with these capabilities. The error
// is Faults with the field "security.seccomp".
func parseSeccomp(text []byte, capabilities []string) (*specs.LinuxSeccomp, error) {
	fail := func(format string, args ...any) (*specs.LinuxSeccomp, error) {
		return nil, resource.Faults{{Field: "security.seccomp", Reason: fmt.Sprintf(format, args...)}}
	}
	var profile seccompProfile
	decoder := json.NewDecoder(bytes.NewReader(text))
	// A field that is not known may be a condition: a rule must not count without.
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&profile); err != nil {
		return fail("is no profile: %v", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return fail("has text behind the profile")
	}
	switch {
	case !slices.Contains(seccompActions, profile.DefaultAction):
		return fail("has the default action %q; known are %v", profile.DefaultAction, seccompActions)
	case profile.ListenerPath != "" || profile.ListenerMetadata != "":
		return fail("must not name a listener: nothing would start one")
	case len(profile.Architectures) > 0 && len(profile.ArchMap) > 0:
		return fail("must have architectures or archMap, not both")
	}
	out := &specs.LinuxSeccomp{
		DefaultAction:   profile.DefaultAction,
		DefaultErrnoRet: profile.DefaultErrnoRet,
		Architectures:   profile.Architectures,
		Flags:           profile.Flags,
	}
	for _, a := range profile.ArchMap {
		if a.Arch == native.arch {
			out.Architectures = append(append(out.Architectures, a.Arch), a.SubArchs...)
		}
	}
	for i, rule := range profile.Syscalls {
		names := rule.Names
		if rule.Name != "" {
			if len(names) > 0 {
				return fail("has both name and names in syscalls[%d]", i)
			}
			names = []string{rule.Name}
		}
		switch {
		case len(names) == 0:
			return fail("names no call in syscalls[%d]", i)
		case !slices.Contains(seccompActions, rule.Action):
			return fail("has the action %q in syscalls[%d]; known are %v", rule.Action, i, seccompActions)
		}
		applies, err := rule.applies(capabilities)
		if err != nil {
			return fail("syscalls[%d]: %v", i, err)
		}
		if applies {
			out.Syscalls = append(out.Syscalls, specs.LinuxSyscall{Names: names, Action: rule.Action, ErrnoRet: rule.ErrnoRet, Args: rule.Args})
		}
	}
	return out, nil
}

// applies evaluates the conditions of a rule.
func (r seccompRule) applies(capabilities []string) (bool, error) {
	if c := r.Excludes; c != nil {
		older, err := olderThan(c.MinKernel)
		if err != nil {
			return false, err
		}
		if slices.Contains(c.Arches, native.name) || c.MinKernel != "" && !older ||
			slices.ContainsFunc(c.Caps, func(name string) bool { return slices.Contains(capabilities, name) }) {
			return false, nil
		}
	}
	if c := r.Includes; c != nil {
		older, err := olderThan(c.MinKernel)
		if err != nil {
			return false, err
		}
		if len(c.Arches) > 0 && !slices.Contains(c.Arches, native.name) || c.MinKernel != "" && older {
			return false, nil
		}
		for _, name := range c.Caps {
			if !slices.Contains(capabilities, name) {
				return false, nil
			}
		}
	}
	return true, nil
}

// olderThan reports whether this host's kernel is older than a version, such as
// "4.8". It is false for none.
func olderThan(version string) (bool, error) {
	if version == "" {
		return false, nil
	}
	want, err := kernelVersion(version)
	if err != nil {
		return false, err
	}
	have, err := kernelVersion(kernelRelease())
	if err != nil {
		return false, err
	}
	return have[0] < want[0] || have[0] == want[0] && have[1] < want[1], nil
}

// kernelVersion reads the first two numbers of a version.
func kernelVersion(text string) (v [2]int, err error) {
	major, rest, found := strings.Cut(text, ".")
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(rest)
	}
	a, errA := strconv.Atoi(major)
	b, errB := strconv.Atoi(rest[:end])
	if !found || errA != nil || errB != nil || a < 0 {
		return v, resource.Errorf(errdefs.ErrInvalidArgument, "%q is no version of a kernel", text)
	}
	return [2]int{a, b}, nil
}
