package fake

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/univirt/univirt/compute"
)

// epoch is the only time that occurs in an image that is made here.
var epoch = time.Unix(0, 0).UTC()

// build makes the image's content: the blobs of a real OCI image, so that it can be
// exported, imported and told apart by its digest.
func (i Image) build() (*artifact, error) {
	ref, err := compute.ParseImageReference(i.Name)
	if err != nil {
		return nil, err
	}
	if len(i.Config.Entrypoint)+len(i.Config.Cmd) == 0 {
		i.Config.Cmd = []string{path.Base(ref.Repository)}
	}
	if i.Disk != nil {
		return i.buildDisk(), nil
	}
	files, err := i.archive()
	if err != nil {
		return nil, fmt.Errorf("the files of image %q: %w", i.Name, err)
	}
	l := layer{blob: blobOf(mediaLayer, files), diffID: digestOf(files)}
	config := i.Config
	platform := i.platform()
	s := settings{Created: &epoch, Architecture: platform.Architecture, Variant: platform.Variant, OS: platform.OS}
	s.Config.User, s.Config.Env, s.Config.WorkingDir = config.User, config.Env, config.Dir
	s.Config.Entrypoint, s.Config.Cmd = config.Entrypoint, config.Cmd
	s.Config.Labels, s.Config.StopSignal = config.Labels, config.StopSignal
	s.Config.ExposedPorts, s.Config.Volumes = setOf(config.Ports), setOf(config.Volumes)
	s.RootFS.Type, s.RootFS.DiffIDs = "layers", []string{l.diffID}
	// Images of different names are different, also where they hold the same.
	s.History = []history{{CreatedBy: "fake " + ref.String()}}
	settingsText, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	configBlob := blobOf(mediaConfig, settingsText)
	manifestText, err := json.Marshal(manifest{
		SchemaVersion: 2, MediaType: mediaManifest,
		Config: configBlob.descriptor(), Layers: []descriptor{l.descriptor()},
	})
	if err != nil {
		return nil, err
	}
	blobs := map[string][]byte{configBlob.digest: configBlob.data, l.digest: l.data}
	c, err := assemble(manifestText, func(digest string) ([]byte, bool) {
		data, ok := blobs[digest]
		return data, ok
	})
	if err != nil {
		return nil, err
	}
	c.programs, c.size = maps.Clone(i.Programs), max(c.size, i.Size)
	return c, nil
}

func (i Image) platform() compute.Platform {
	p := i.Platform
	p.OS = cmp.Or(p.OS, ownPlatform.OS)
	p.Architecture = cmp.Or(p.Architecture, ownPlatform.Architecture)
	return p
}

func (i Image) buildDisk() *artifact {
	return &artifact{
		digest: digestOf(i.Disk), platform: i.platform(), form: compute.Disk, config: i.Config,
		size: max(int64(len(i.Disk)), i.Size), disk: bytes.Clone(i.Disk), format: compute.RawDisk,
		made: epoch, programs: maps.Clone(i.Programs),
	}
}

func setOf(keys []string) map[string]struct{} {
	set := make(map[string]struct{}, len(keys))
	for _, key := range keys {
		set[key] = struct{}{}
	}
	return set
}

// usualFolders are in every image that does not bring its own files.
var usualFolders = []struct {
	name string
	mode int64
}{
	{"bin", 0o755}, {"dev", 0o755}, {"etc", 0o755}, {"home", 0o755}, {"proc", 0o555}, {"root", 0o700},
	{"run", 0o755}, {"sys", 0o555}, {"tmp", 0o1777}, {"usr", 0o755}, {"var", 0o755},
}

// archive writes the image's files as a layer.
func (i Image) archive() ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	have := map[string]bool{".": true}
	folder := func(name string, mode int64) error {
		if have[name] {
			return nil
		}
		have[name] = true
		return w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: epoch})
	}
	if i.Files != nil {
		if err := addFiles(w, i.Files, have); err != nil {
			return nil, err
		}
	} else {
		for _, f := range usualFolders {
			if err := folder(f.name, f.mode); err != nil {
				return nil, err
			}
		}
	}
	if err := folder("etc", 0o755); err != nil {
		return nil, err
	}
	passwd, group := i.accounts()
	for _, f := range []struct{ name, text string }{{"etc/passwd", passwd}, {"etc/group", group}} {
		if have[f.name] {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f.name, Mode: 0o644, Size: int64(len(f.text)), ModTime: epoch}); err != nil {
			return nil, err
		}
		if _, err := w.Write([]byte(f.text)); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// addFiles writes a file tree, in the order of names. Times and owners are left
// out: the same files are to give the same digest.
func addFiles(w *tar.Writer, files fs.FS, have map[string]bool) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = fs.ReadLink(files, name); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		header.Name, header.ModTime = name, epoch
		header.AccessTime, header.ChangeTime = time.Time{}, time.Time{}
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		var data []byte
		switch {
		case info.IsDir():
			header.Name += "/"
		case info.Mode().IsRegular():
			if data, err = fs.ReadFile(files, name); err != nil {
				return err
			}
			header.Size = int64(len(data))
		}
		have[name] = true
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
}

// accounts writes passwd(5) and group(5).
func (i Image) accounts() (passwd, group string) {
	users := maps.Clone(standardUsers)
	groups := maps.Clone(standardGroups)
	members := map[string][]string{}
	for _, u := range i.Users {
		users[u.Name] = u
		if !slices.Contains(slices.Collect(maps.Values(groups)), u.GID) {
			groups[u.Name] = u.GID
		}
		for _, gid := range u.Groups {
			name := groupName(groups, gid)
			groups[name] = gid
			members[name] = append(members[name], u.Name)
		}
	}
	var p, g strings.Builder
	byNumber := slices.SortedFunc(maps.Values(users), func(a, b User) int {
		return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Name, b.Name))
	})
	for _, u := range byNumber {
		home := u.Home
		switch {
		case home != "":
		case u.UID == 0:
			home = "/root"
		default:
			home = "/home/" + u.Name
		}
		fmt.Fprintf(&p, "%s:x:%d:%d::%s:/bin/sh\n", u.Name, u.UID, u.GID, home)
	}
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		fmt.Fprintf(&g, "%s:x:%d:%s\n", name, groups[name], strings.Join(members[name], ","))
	}
	return p.String(), g.String()
}

func groupName(groups map[string]int, gid int) string {
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		if groups[name] == gid {
			return name
		}
	}
	return fmt.Sprintf("group%d", gid)
}
