package compute

import (
	"context"
)

// GuestReporter is a virtual machine whose guest tells of itself.
type GuestReporter interface {
	Instance
	// Guest returns what the guest says of itself. It is allowed where Exec is; a guest
	// in which nothing answers yet is Unavailable.
	Guest(ctx context.Context) (GuestInfo, error)
}

// GuestInfo is what a guest says of itself. Whoever is in the guest can have it say
// anything: it is for people to read, not for decisions. What it does not say is empty.
// Texts are one printable line of 256 bytes at most.
type GuestInfo struct {
	// Hostname is the name that the guest gives itself.
	Hostname string
	// OS, OSName and OSVersion are ID, PRETTY_NAME and VERSION_ID of os-release(5): such
	// as "debian", "Debian GNU/Linux 12 (bookworm)" and "12".
	OS, OSName, OSVersion string
	// Kernel and Architecture are the release and the machine of uname(1): such as
	// "6.1.0-28-amd64" and "x86_64".
	Kernel, Architecture string
}

// Guest returns what an instance's guest says of itself; errors.ErrUnsupported where
// it is asked for nothing.
func Guest(ctx context.Context, inst Instance) (GuestInfo, error) {
	g, err := extension[GuestReporter](inst, "guest")
	if err != nil {
		return GuestInfo{}, err
	}
	return g.Guest(ctx)
}
