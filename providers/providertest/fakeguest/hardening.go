package fakeguest

import (
	"slices"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/providertest/guest"
)

// hardening says what a real provider that honours the spec would keep the
// program from. The fake itself keeps it from nothing: the program is a Go
// function.
func hardening(p *fake.Process) guest.Hardening {
	s := p.Spec().Security
	h := guest.Hardening{
		Seccomp:     2,
		NoNewPrivs:  !s.AllowPrivilegeEscalation && !s.Privileged,
		Bounding:    capabilities(s),
		Effective:   []string{},
		Permitted:   []string{},
		Inheritable: []string{},
		Ambient:     []string{},
		Paths:       map[string]guest.PathState{},
		Calls:       map[string]string{},
		UIDMap:      "0 0 4294967295",
	}
	if s.Seccomp == "unconfined" || s.Privileged {
		h.Seccomp = 0
	}
	if s.UserNamespace {
		h.UIDMap = "0 100000 65536"
	}
	if p.User.UID == 0 {
		h.Effective, h.Permitted = h.Bounding, h.Bounding
	}
	masked, readOnly, forbidden := guest.PathMasked, guest.PathReadOnly, "EPERM"
	if s.Privileged {
		masked, readOnly, forbidden = guest.PathOpen, guest.PathOpen, ""
	}
	for _, path := range guest.MaskedPaths {
		h.Paths[path] = masked
	}
	for _, path := range guest.ReadOnlyPaths {
		h.Paths[path] = readOnly
	}
	for _, call := range guest.ForbiddenCalls {
		h.Calls[call] = forbidden
	}
	return h
}

// capabilities are the default set with the spec's changes.
func capabilities(s compute.Security) []string {
	set := slices.Clone(guest.Capabilities)
	if s.Privileged {
		set = append(set, "NET_ADMIN", "SYS_ADMIN", "SYS_MODULE", "SYS_PTRACE")
	}
	set = slices.DeleteFunc(set, func(c string) bool {
		return slices.Contains(s.DropCapabilities, c) || slices.Contains(s.DropCapabilities, "ALL")
	})
	for _, c := range s.AddCapabilities {
		if !slices.Contains(set, c) {
			set = append(set, c)
		}
	}
	return set
}
