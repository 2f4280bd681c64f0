package keeper

import "strings"

// KVMOptions name the rights of another user, as numbers.
type KVMOptions struct {
	// UID, GID and Groups are what the helper becomes, for which it must be root.
	// Without a UID it stays what it is.
	UID, GID string
	Groups   []string
}

// KVMCommand returns the command line with which the helper at path opens /dev/kvm,
// opens it again as another user, and runs a loop of 65,536 turns in a guest. It
// prints up to three lines as it goes, a key and a value each: "open" and "user"
// with "ok" or the error, and "loop" with the least time in nanoseconds, or "fail"
// with the error. It may hang in the kernel: whoever starts it must kill it in time.
func KVMCommand(path string, o KVMOptions) []string {
	argv := []string{path, "role", "kvm"}
	if o.UID != "" {
		argv = append(argv, "uid", o.UID, "gid", o.GID, "groups", strings.Join(o.Groups, ","))
	}
	return argv
}
