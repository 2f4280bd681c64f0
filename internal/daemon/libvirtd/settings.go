package libvirtd

import (
	"fmt"
	"strings"
)

// settings are the configuration files by name.
func settings(c Config) map[string]string {
	return map[string]string{
		"libvirtd.conf": daemonSettings,
		"virtlogd.conf": loggerSettings,
		"qemu.conf":     qemuSettings(c.User),
	}
}

// header is for those who look into the folder.
const header = "# Written anew at each start.\n"

const daemonSettings = header + `
# The folder is root's alone, and polkit is not to be asked.
unix_sock_group = "root"
unix_sock_ro_perms = "0700"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"

# Warnings and errors go to daemon.log, not to the system's journal.
log_outputs = "3:stderr"
audit_level = 0
`

const loggerSettings = header + `
log_outputs = "3:stderr"

# The output of QEMU and the consoles of VMs: what is kept of each, in bytes.
max_size = 2097152
max_backups = 3
`

// qemuSettings names the user only where one is known; its group is that of the
// same name, which distributions make, or else libvirt's own choice.
func qemuSettings(user string) string {
	var b strings.Builder
	b.WriteString(header + `
# QEMU would get a /dev of its own, made from the host's, in which /dev/kvm is not
# hidden.
namespaces = []

# AppArmor's driver writes profiles into /etc/apparmor.d and SELinux' relabels
# files for a policy that knows the system's daemon only. QEMU runs as a user
# without rights and in a sandbox of system calls all the same.
security_driver = "none"

# Else a folder is made among the host's huge pages.
hugetlbfs_mount = []
`)
	if user != "" {
		fmt.Fprintf(&b, "\nuser = %q\n", user)
	}
	return b.String()
}
