package compute

// Security loosens or tightens an instance's isolation.
type Security struct {
	// Privileged gives up isolation from the host: all capabilities, all
	// devices, no seccomp filter, no masked paths.
	Privileged bool `json:"privileged,omitempty"`
	// AddCapabilities and DropCapabilities change Docker's default set; "ALL"
	// means every one. Names are those of capabilities(7), such as "NET_ADMIN".
	AddCapabilities  []string `json:"addCapabilities,omitempty"`
	DropCapabilities []string `json:"dropCapabilities,omitempty"`
	// Seccomp is a profile in Docker's JSON form; empty means the default
	// profile, "unconfined" none.
	Seccomp string `json:"seccomp,omitempty"`
	// ReadOnlyRoot forbids writing to the root filesystem.
	ReadOnlyRoot bool `json:"readOnlyRoot,omitempty"`
	// AllowPrivilegeEscalation lets set-user-ID programs gain privileges: it
	// turns off no_new_privs.
	AllowPrivilegeEscalation bool `json:"allowPrivilegeEscalation,omitempty"`
	// UserNamespace maps root inside to an unprivileged user of the host.
	UserNamespace bool `json:"userNamespace,omitempty"`
}

// Device is a host's device inside an instance.
type Device struct {
	// Source is the host's path, or a CDI name. Required.
	Source string `json:"source"`
	// Path inside; empty means Source.
	Path string `json:"path,omitempty"`
	// Permissions are some of "r", "w" and "m"; empty means "rw".
	Permissions string `json:"permissions,omitempty"`
}
