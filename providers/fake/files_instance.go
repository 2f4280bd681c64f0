package fake

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// instanceFiles are an instance's files, which are laid out when somebody first
// looks at them. The backend's lock guards it; what is in the view the lock of the
// files does.
type instanceFiles struct {
	root   *filesystem
	view   *view
	counts diskCounts
}

// prepareFiles unpacks the image of an instance in the making where its files are
// needed at once: the faults of the spec's files and mounts are Create's. The
// backend is not locked.
func (i *instance) prepareFiles(img *image) error {
	if len(i.spec.Files)+len(i.spec.Mounts) == 0 {
		return nil
	}
	_, err := img.files()
	return err
}

// opened returns the instance's files, laid out by now. The backend is not locked.
func (i *instance) opened() (*instanceFiles, error) {
	image, err := i.image.files()
	if err != nil {
		return nil, err
	}
	b := i.space.backend
	b.mu.Lock()
	defer b.mu.Unlock()
	if i.gone {
		return nil, errNoInstance
	}
	if i.parts != nil && i.parts.files != nil {
		return i.parts.files, nil
	}
	if err := i.layOut(image); err != nil {
		return nil, err
	}
	return i.parts.files, nil
}

// layOut makes the instance's files of the image's. Where it fails it has done
// nothing. The backend is locked.
func (i *instance) layOut(image *node) error {
	b := i.space.backend
	b.files.Lock()
	defer b.files.Unlock()
	i.setRoot(image.copyTree())
	err := i.writeFiles()
	if err == nil {
		i.introduce()
		err = i.putUp()
	}
	if err != nil {
		i.dropFiles()
	}
	return err
}

// setRoot makes a tree, which must be a copy, the instance's root. The backend and
// the files are locked.
func (i *instance) setRoot(root *node) {
	q := &quota{from: &i.space.backend.used.disk}
	if i.spec.RootDisk > 0 {
		// It was taken out of the disk as a whole.
		q = &quota{}
		q.limit.Store(i.spec.RootDisk)
	}
	files := newFilesystem(root, q)
	at := &mounted{fs: files, root: root, readOnly: i.spec.Security.ReadOnlyRoot}
	i.more().files = &instanceFiles{root: files, view: &view{root: at}}
}

// dropFiles forgets the instance's files. The backend and the files are locked.
func (i *instance) dropFiles() {
	if i.parts == nil || i.parts.files == nil {
		return
	}
	i.parts.files.root.root.forget(i.parts.files.root.quota)
	i.parts.files = nil
	for _, m := range i.parts.mounts {
		m.at = nil
	}
}

// writeFiles writes the spec's files. The backend and the files are locked.
func (i *instance) writeFiles() error {
	f := i.parts.files
	for k, file := range i.spec.Files {
		data := file.Data
		mode := fs.FileMode(0o644)
		if !file.Secret.IsZero() {
			data, mode = []byte(file.Secret.Reveal()), 0o400
		}
		if file.Mode != 0 {
			mode = fileMode(file.Mode)
		}
		if err := f.write(file.Path, data, mode, file.UID, file.GID); err != nil {
			var kind error = errdefs.ErrInvalidArgument
			if errors.Is(err, syscall.ENOSPC) {
				kind = errdefs.ErrResourceExhausted
			}
			return fieldError(at("files", k)+".path", kind, "%s cannot be written: %w", resource.Quote(file.Path), err)
		}
	}
	return nil
}

// write puts a file into the root as its maker does, whoever may write there.
func (f *instanceFiles) write(name string, data []byte, mode fs.FileMode, uid, gid int) error {
	s, err := f.view.makePlace(name, false)
	switch {
	case err != nil:
		return err
	case s.node.mode.IsDir():
		return syscall.EISDIR
	}
	if err := s.node.content.truncate(0, s.at.fs.quota); err != nil {
		return err
	}
	if _, err := s.node.content.writeAt(data, 0, s.at.fs.quota); err != nil {
		return err
	}
	s.node.mode, s.node.uid, s.node.gid = mode, uid, gid
	return nil
}

// introduce writes the files that say who the instance is, as every runtime does.
// An image in which they cannot be written does without. The backend and the files
// are locked.
func (i *instance) introduce() {
	f := i.parts.files
	over := f.view.over
	f.view.over = nil
	defer func() { f.view.over = over }()
	_ = f.write("/etc/hostname", []byte(i.spec.Hostname+"\n"), 0o644, 0, 0)
	_ = f.write("/etc/hosts", []byte(i.hosts()), 0o644, 0, 0)
}

// hosts is the content of /etc/hosts.
func (i *instance) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost\n")
	for _, e := range i.endpoints() {
		for _, a := range e.addresses {
			fmt.Fprintf(&b, "%s\t%s\n", a.Addr(), i.spec.Hostname)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(i.spec.DNS.Hosts)) {
		fmt.Fprintf(&b, "%s\t%s\n", i.spec.DNS.Hosts[name], name)
	}
	return b.String()
}

// beginRun makes the files ready for a run: temporary filesystems are empty, and
// mounts show what their volumes hold now. The backend is locked.
func (i *instance) beginRun() error {
	if i.parts == nil {
		return nil
	}
	for _, m := range i.parts.mounts {
		m.memory = nil
	}
	if i.parts.files == nil {
		return nil
	}
	b := i.space.backend
	b.files.Lock()
	defer b.files.Unlock()
	i.parts.files.counts.reset()
	i.introduce()
	return i.putUp()
}

// endRun forgets what is gone with a run. The backend is locked.
func (i *instance) endRun() {
	if i.parts == nil || i.parts.files == nil {
		return
	}
	b := i.space.backend
	b.files.Lock()
	defer b.files.Unlock()
	for _, m := range i.parts.mounts {
		if m.at == nil {
			continue
		}
		// Files that the run's programs left open keep nothing busy.
		m.at.open = 0
		if m.memory != nil {
			m.memory.replace(newFolder(fs.ModeSticky|0o777, 0, 0))
		}
	}
}

// diskStats is Stats.Disk. The backend is locked.
func (i *instance) diskStats() compute.IOStats {
	if i.parts == nil || i.parts.files == nil {
		return compute.IOStats{}
	}
	return i.parts.files.counts.stats()
}

// fileError gives an error of the files the kind that it has to the outside.
func fileError(field string, err error) error {
	var e *resource.Error
	if err == nil || errors.As(err, &e) {
		return err
	}
	var kind error = errdefs.ErrInvalidArgument
	switch {
	case errors.Is(err, fs.ErrNotExist):
		kind = errdefs.ErrNotFound
	case errors.Is(err, fs.ErrPermission):
		kind = errdefs.ErrPermissionDenied
	case errors.Is(err, syscall.ENOSPC):
		kind = errdefs.ErrResourceExhausted
	case errors.Is(err, syscall.EROFS), errors.Is(err, syscall.EBUSY):
		kind = errdefs.ErrFailedPrecondition
	}
	return &resource.Error{Kind: kind, Field: field, Err: err}
}

// checkInside refuses what cannot be a path inside an instance.
func checkInside(field, p string) error {
	reason := ""
	switch {
	case !strings.HasPrefix(p, "/"):
		reason = "must be an absolute path"
	case len(p) > maxPath:
		reason = fmt.Sprintf("must have at most %d bytes", maxPath)
	case strings.ContainsRune(p, 0):
		reason = "must not contain NUL"
	case slices.Contains(strings.Split(p, "/"), ".."):
		reason = "must not contain '..'"
	}
	if reason != "" {
		return resource.Faults{{Field: field, Reason: reason}}
	}
	return nil
}

// lastName is the name that an archive of a path begins with.
func lastName(p string) string {
	if name := path.Base(path.Clean(p)); name != "/" {
		return name
	}
	return "."
}
