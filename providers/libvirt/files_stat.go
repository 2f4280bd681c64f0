package libvirt

import (
	"bytes"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/internal/archives"
	"github.com/univirt/univirt/resource"
)

// statFormat has the stat of GNU and of busybox print a file's mode in hexadecimal,
// its size and when it was changed.
const statFormat = "%f %s %Y"

// fileInfo is what a guest says of a file.
type fileInfo struct {
	name string
	mode fs.FileMode
	size int64
	time time.Time
}

var _ fs.FileInfo = fileInfo{}

func (f fileInfo) Name() string       { return f.name }
func (f fileInfo) Size() int64        { return f.size }
func (f fileInfo) Mode() fs.FileMode  { return f.mode }
func (f fileInfo) ModTime() time.Time { return f.time }
func (f fileInfo) IsDir() bool        { return f.mode.IsDir() }
func (f fileInfo) Sys() any           { return nil }

// parseStat reads a line of statFormat.
func parseStat(name, line string) (fileInfo, error) {
	fields := strings.Split(line, " ")
	if len(fields) == 3 {
		mode, modeErr := strconv.ParseUint(fields[0], 16, 32)
		size, sizeErr := strconv.ParseInt(fields[1], 10, 64)
		changed, timeErr := strconv.ParseInt(fields[2], 10, 64)
		if modeErr == nil && sizeErr == nil && timeErr == nil && size >= 0 {
			return fileInfo{name, modeOf(uint32(mode)), size, time.Unix(changed, 0)}, nil
		}
	}
	return fileInfo{}, resource.Errorf(errdefs.ErrDataLoss, "the guest's stat says nonsense: %s", resource.Quote(line[:min(len(line), archives.MostName)]))
}

// modeOf translates Linux' st_mode.
func modeOf(m uint32) fs.FileMode {
	mode := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			mode |= flag
		}
	}
	switch m & 0o170000 {
	case 0o100000:
	case 0o040000:
		mode |= fs.ModeDir
	case 0o120000:
		mode |= fs.ModeSymlink
	case 0o010000:
		mode |= fs.ModeNamedPipe
	case 0o140000:
		mode |= fs.ModeSocket
	case 0o060000:
		mode |= fs.ModeDevice
	case 0o020000:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	default:
		mode |= fs.ModeIrregular
	}
	return mode
}

// parseListing reads what the script that lists a directory prints: in parts, how
// many entries there are, their names, each with a NUL behind, and a line of each.
// It is in the order of the names. An error may be that an entry went meanwhile.
func parseListing(out []byte) ([]fs.DirEntry, error) {
	nonsense := func() ([]fs.DirEntry, error) {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the guest's listing is not whole")
	}
	entries := []fs.DirEntry{}
	for len(out) > 0 {
		head, rest, ok := bytes.Cut(out, []byte("\n"))
		count, err := strconv.Atoi(string(head))
		if !ok || err != nil || count < 1 || count > len(rest) {
			return nonsense()
		}
		names := make([]string, count)
		for n := range names {
			name, after, ok := bytes.Cut(rest, []byte{0})
			names[n] = strings.TrimPrefix(string(name), "./")
			if !ok || names[n] == "" || names[n] == "." || names[n] == ".." || strings.Contains(names[n], "/") {
				return nonsense()
			}
			rest = after
		}
		for _, name := range names {
			line, after, ok := bytes.Cut(rest, []byte("\n"))
			if !ok {
				return nonsense()
			}
			info, err := parseStat(name, string(line))
			if err != nil {
				return nil, err
			}
			entries, rest = append(entries, fs.FileInfoToDirEntry(info)), after
		}
		out = rest
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}
