package guest

import (
	"context"
	"io/fs"
	"strconv"
)

// fileCommands work on the file tree. Relative paths start at the working
// directory.
var fileCommands = map[string]command{
	"write": {args: "PATH TEXT", min: 2, max: 2, run: write,
		help: "makes TEXT the content of a file"},
	"read": {args: "PATH...", min: 1, max: -1, run: read,
		help: "prints the content of files, one behind the other"},
	"fill": {args: "PATH BYTES", min: 2, max: 2, run: fill,
		help: "makes a file that long, and waits until it is on the disk"},
	"drain": {args: "PATH", min: 1, max: 1, run: drain,
		help: "reads a file from the disk, not from what memory keeps of it"},
	"ls": {args: "PATH", min: 1, max: 1, run: list,
		help: "prints the names in a folder, with a slash after those of folders"},
	"stat": {args: "PATH", min: 1, max: 1, run: stat,
		help: `prints "file|dir|link|other MODE SIZE" with the mode in octal; the size of a file only, else 0`},
}

func write(_ context.Context, p *process, args []string) int {
	if p.env.Files == nil {
		return p.unsupported()
	}
	if err := p.env.Files.WriteFile(p.path(args[0]), []byte(args[1]), 0o644); err != nil {
		return p.fail(err)
	}
	return 0
}

func read(_ context.Context, p *process, args []string) int {
	if p.env.Files == nil {
		return p.unsupported()
	}
	for _, name := range args {
		data, err := p.env.Files.ReadFile(p.path(name))
		if err != nil {
			return p.fail(err)
		}
		p.printf("%s", data)
	}
	return 0
}

func fill(_ context.Context, p *process, args []string) int {
	n, err := strconv.ParseInt(args[1], 10, 64)
	if err != nil || n < 0 {
		return p.misused("size", args[1])
	}
	if p.env.Disk == nil {
		return p.unsupported()
	}
	if err := p.env.Disk.Fill(p.path(args[0]), n); err != nil {
		return p.fail(err)
	}
	return 0
}

func drain(_ context.Context, p *process, args []string) int {
	if p.env.Disk == nil {
		return p.unsupported()
	}
	if err := p.env.Disk.Drain(p.path(args[0])); err != nil {
		return p.fail(err)
	}
	return 0
}

func list(_ context.Context, p *process, args []string) int {
	if p.env.Files == nil {
		return p.unsupported()
	}
	entries, err := p.env.Files.ReadDir(p.path(args[0]))
	if err != nil {
		return p.fail(err)
	}
	for _, e := range entries {
		slash := ""
		if e.IsDir() {
			slash = "/"
		}
		if !p.printf("%s%s\n", e.Name(), slash) {
			return 1
		}
	}
	return 0
}

func stat(_ context.Context, p *process, args []string) int {
	if p.env.Files == nil {
		return p.unsupported()
	}
	info, err := p.env.Files.Stat(p.path(args[0]))
	if err != nil {
		return p.fail(err)
	}
	kind, size := "other", int64(0)
	switch mode := info.Mode(); {
	case mode.IsRegular():
		kind, size = "file", info.Size()
	case mode.IsDir():
		kind = "dir"
	case mode&fs.ModeSymlink != 0:
		kind = "link"
	}
	p.printf("%s %04o %d\n", kind, unixMode(info.Mode()), size)
	return 0
}

// unixMode returns the permission bits as Linux numbers them, with those for
// set-user-ID, set-group-ID and sticky.
func unixMode(m fs.FileMode) uint32 {
	bits := uint32(m.Perm())
	for flag, bit := range map[fs.FileMode]uint32{
		fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000,
	} {
		if m&flag != 0 {
			bits |= bit
		}
	}
	return bits
}
