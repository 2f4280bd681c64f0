package fake

import (
	"cmp"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// mount is a mount of an instance. The backend's lock guards it.
type mount struct {
	spec compute.Mount
	// volume is what a volume's or a device's mount shows.
	volume *volume
	// memory is a tmpfs's, made anew for each run.
	memory *filesystem
	// at is the mount in its place; nil while the instance has no files.
	at *mounted
}

// resolve says what a mount shows. The backend and the files are locked.
func (i *instance) resolve(m *mount) (*mounted, error) {
	at := &mounted{readOnly: m.spec.ReadOnly}
	switch m.spec.Type {
	case compute.MountTmpfs:
		if m.memory == nil {
			q := &quota{}
			q.limit.Store(cmp.Or(m.spec.Size, i.spec.Resources.Memory/2))
			m.memory = newFilesystem(newFolder(fs.ModeSticky|0o777, 0, 0), q)
		}
		at.fs = m.memory
	case compute.MountBind:
		at.fs = i.space.backend.host.root.fs
	default:
		at.fs = m.volume.fs
	}
	at.root = at.fs.root
	source, field := m.spec.SubPath, "subPath"
	if m.spec.Type == compute.MountBind {
		source, field = path.Join(m.spec.Source, m.spec.SubPath), "source"
	}
	if source == "" || source == "/" {
		return at, nil
	}
	inside := &view{root: &mounted{fs: at.fs, root: at.root}}
	s, err := inside.walk(credentials{}, inside.start(), source, true)
	if err == nil && s.node == nil {
		err = syscall.ENOENT
	}
	if err != nil {
		return nil, fieldError(field, errdefs.ErrNotFound, "%s is not there: %w", resource.Quote(source), err)
	}
	at.root = s.node
	return at, nil
}

// putUp puts the mounts into the view, in the order in which one can lie within
// another. The backend and the files are locked.
func (i *instance) putUp() error {
	f := i.parts.files
	f.view.over = map[step]*mounted{}
	order := make([]int, len(i.parts.mounts))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(depth(i.parts.mounts[a].spec.Path), depth(i.parts.mounts[b].spec.Path))
	})
	for _, k := range order {
		if err := i.putUpOne(i.parts.mounts[k]); err != nil {
			return underField(at("mounts", k), err)
		}
	}
	return nil
}

func depth(p string) int { return strings.Count(path.Clean(p), "/") }

func (i *instance) putUpOne(m *mount) error {
	at, err := i.resolve(m)
	if err != nil {
		return err
	}
	v := i.parts.files.view
	s, err := v.makePlace(m.spec.Path, at.root.mode.IsDir())
	switch {
	case err != nil:
		return fieldError("path", errdefs.ErrFailedPrecondition, "%s cannot be mounted on: %w", resource.Quote(m.spec.Path), err)
	case s.name == "":
		return fieldError("path", errdefs.ErrInvalidArgument, "%s is the root", resource.Quote(m.spec.Path))
	case s.node.mode.IsDir() != at.root.mode.IsDir():
		return fieldError("path", errdefs.ErrFailedPrecondition, "%s is a folder, and what is to be mounted there is none, or the other way round", resource.Quote(m.spec.Path))
	}
	m.at = at
	v.over[s.step] = at
	return nil
}

// takeDown takes one mount out of the view.
func (i *instance) takeDown(m *mount) {
	for place, at := range i.parts.files.view.over {
		if at == m.at {
			delete(i.parts.files.view.over, place)
		}
	}
	m.at = nil
}

// makePlace returns what is at a path; where nothing is there it makes a folder or
// an empty file, with the folders on the way, as a runtime does for a mount.
func (v *view) makePlace(text string, folder bool) (spot, error) {
	s, err := v.walk(credentials{}, v.start(), text, true)
	if err == syscall.ENOENT {
		if _, err := v.makePlace(path.Dir(path.Clean(text)), true); err != nil {
			return spot{}, err
		}
		s, err = v.walk(credentials{}, v.start(), text, true)
	}
	if err != nil || s.node != nil {
		return s, err
	}
	in := s.folder()
	if in.at.readOnly && in.at != v.root {
		return spot{}, syscall.EROFS
	}
	n := newFile(0o644, 0, 0, nil)
	if folder {
		n = newFolder(0o755, 0, 0)
	}
	in.node.put(s.name, n)
	s.step = step{n, in.at}
	return s, nil
}

// fieldError is an error that names the field at fault.
func fieldError(field string, kind error, format string, args ...any) error {
	e := resource.Errorf(kind, format, args...)
	e.Field = field
	return e
}

// underField puts the field of an error behind that of what holds it.
func underField(outer string, err error) error {
	e, ok := err.(*resource.Error)
	if !ok {
		return err
	}
	out := *e
	out.Field = strings.TrimSuffix(outer+"."+e.Field, ".")
	return &out
}
