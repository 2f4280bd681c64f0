package containerd

import (
	"fmt"
	"strings"
)

// unneeded lists the plugins that a private daemon runs without, by the major
// version of containerd that names them so. They cost start time and memory,
// write outside of the folder (opt, nri), start tasks on their own (restart),
// or only complain that their filesystem is missing. A name that a release does
// not know is ignored by it.
var unneeded = map[int][]string{
	1: {
		"io.containerd.grpc.v1.cri",
		"io.containerd.internal.v1.opt",
		"io.containerd.internal.v1.restart",
		"io.containerd.internal.v1.tracing",
		"io.containerd.nri.v1.nri",
		"io.containerd.snapshotter.v1.aufs",
		"io.containerd.snapshotter.v1.blockfile",
		"io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.zfs",
		"io.containerd.tracing.processor.v1.otlp",
	},
	2: {
		"io.containerd.cri.v1.images",
		"io.containerd.cri.v1.runtime",
		"io.containerd.differ.v1.erofs",
		"io.containerd.grpc.v1.cri",
		"io.containerd.image-verifier.v1.bindir",
		"io.containerd.internal.v1.opt",
		"io.containerd.internal.v1.tracing",
		"io.containerd.monitor.container.v1.restart",
		"io.containerd.mount-handler.v1.erofs",
		"io.containerd.nri.v1.nri",
		"io.containerd.podsandbox.controller.v1.podsandbox",
		"io.containerd.snapshotter.v1.blockfile",
		"io.containerd.snapshotter.v1.btrfs",
		"io.containerd.snapshotter.v1.devmapper",
		"io.containerd.snapshotter.v1.erofs",
		"io.containerd.snapshotter.v1.zfs",
		"io.containerd.tracing.processor.v1.otlp",
	},
}

// settings is the configuration file for a major version. Format 2 is all that
// 1.x knows, format 3 is understood by every 2.x.
func settings(l layout, major int) string {
	format, names := 2, unneeded[1]
	if major >= 2 {
		format, names = 3, unneeded[2]
	}
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\n", format)
	fmt.Fprintf(&b, "root = %s\n", quote(l.root()))
	fmt.Fprintf(&b, "state = %s\n", quote(l.state()))
	// Layers are unpacked on mounts in here, which a kill leaves behind.
	fmt.Fprintf(&b, "temp = %s\n", quote(l.temp()))
	b.WriteString("disabled_plugins = [\n")
	for _, name := range names {
		fmt.Fprintf(&b, "  %s,\n", quote(name))
	}
	b.WriteString("]\n")
	fmt.Fprintf(&b, "\n[grpc]\naddress = %s\n", quote(l.socket()))
	b.WriteString("\n[debug]\nlevel = \"warn\"\n")
	// The default waits for ever if another daemon has the database open.
	b.WriteString("\n[timeouts]\n\"io.containerd.timeout.bolt.open\" = \"10s\"\n")
	return b.String()
}

// quote writes a TOML basic string. Control characters were refused with the
// configuration, so backslash and quotation mark are all that needs care.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}
