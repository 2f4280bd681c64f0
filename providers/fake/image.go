package fake

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Image is what the registry has under one name for one platform.
type Image struct {
	// Name is the reference. Required; several images may share one where their
	// platforms differ.
	Name string
	// Platform is what the image was made for; zero means linux/amd64, which is
	// the fake's own platform on every machine.
	Platform compute.Platform
	// Config is what the image says of the instances made of it. An empty command
	// means the last part of the repository.
	Config compute.ImageConfig
	// Users are the users that the image knows beside root, nobody (65534) and
	// user (1000).
	Users []User
	// Programs are what can run in instances of the image, by the path or the last
	// part of the path of the command; they go before Options.Programs.
	Programs map[string]Program
	// Files is the root filesystem; nil is one with the usual folders.
	Files fs.FS
	// Disk makes the image a disk for virtual machines instead of files: its
	// bytes, which nothing reads.
	Disk []byte
	// Size is what the image occupies, where that is more than its content.
	Size int64
	// Local images are in every namespace without a pull.
	Local bool
	// PlainHTTP says that the registry which the name begins with speaks no TLS: a
	// pull that does not list it in PullOptions.PlainHTTP is Unavailable, unless it
	// is at a loopback address.
	PlainHTTP bool
	// Allow, if not nil, decides on the credentials of a pull, both empty where
	// there are none: an error refuses them, as errdefs.ErrUnauthenticated where it
	// has no kind.
	Allow func(user string, password resource.Secret) error
}

// ownPlatform is the fake's, the same on every machine so that digests are.
var ownPlatform = compute.Platform{OS: "linux", Architecture: "amd64"}

// Validate reports every fault of the image.
func (i Image) Validate() resource.Faults {
	var f resource.Faults
	r, err := compute.ParseImageReference(i.Name)
	switch {
	case err != nil:
		f.AddReason("name", resource.FaultsOf(err)[0].Reason)
	case r.Digest != "":
		f.Add("name", "must not have a digest")
	}
	if i.Disk != nil && i.Files != nil {
		f.Add("disk", "must not be set together with files")
	}
	if i.Size < 0 {
		f.Add("size", "must not be negative")
	}
	for n, u := range i.Users {
		if u.Name == "" || strings.ContainsAny(u.Name, ":\n") || u.UID < 0 || u.GID < 0 {
			f.Add(at("users", n), "must have a name and numbers")
		}
		if strings.ContainsAny(u.Home, ":\n\x00") {
			f.Add(at("users", n)+".home", "must not have colons, newlines and NUL")
		}
	}
	for name, program := range i.Programs {
		if program == nil {
			f.Add("programs["+name+"]", "must not be nil")
		}
	}
	return f
}

func at(field string, index int) string { return field + "[" + strconv.Itoa(index) + "]" }

// standardUsers are what every image knows that is not read from an archive, and
// standardGroups their groups.
var (
	standardUsers = map[string]User{
		"root":   {Name: "root", Home: "/root"},
		"user":   {Name: "user", UID: 1000, GID: 1000, Home: "/home/user"},
		"nobody": {Name: "nobody", UID: 65534, GID: 65534, Home: "/home/nobody"},
	}
	standardGroups = map[string]int{"root": 0, "user": 1000, "nobody": 65534, "nogroup": 65534}
)

// artifact is what an image is made of. It is never changed, and shared between
// namespaces.
type artifact struct {
	digest   string
	platform compute.Platform
	form     compute.ImageForm
	config   compute.ImageConfig
	size     int64
	// made is when the image says it was.
	made time.Time
	// manifest, settings and layers are the blobs of an OCI image; disk is that of
	// a disk image, of the format given.
	manifest, settings blob
	layers             []layer
	disk               []byte
	format             compute.ImageFormat

	tree     imageTree
	users    map[string]User
	groups   map[string]int
	programs map[string]Program
}

// image is the record of an image in one namespace. The backend's lock guards it.
type image struct {
	object
	*artifact
	// names are the image's names in full, sorted. They are replaced, never
	// changed in place.
	names []string
	// used counts the instances that were made of it.
	used int
}

var _ stored = (*image)(nil)

// The methods of image that programs and users are found by work on nil too: a
// virtual machine may have a kernel and no image.

func (img *image) setup() compute.ImageConfig {
	if img == nil {
		return compute.ImageConfig{}
	}
	return img.artifact.config
}

func (img *image) ownPrograms() map[string]Program {
	if img == nil {
		return nil
	}
	return img.artifact.programs
}

// info tells what is known. The backend is locked.
func (img *image) info() compute.Image {
	ref := img.ref()
	if len(img.names) > 0 {
		ref.Name = img.names[0]
	}
	form := img.form
	if !img.space.backend.offers.Images.Has(compute.FeatureRootFS) {
		form = compute.Disk
	}
	return compute.Image{
		Ref:      ref,
		Names:    img.names,
		Platform: img.platform,
		Form:     form,
		Config:   img.config,
		Size:     img.size,
		Created:  img.created,
		Labels:   img.labels,
	}
}

// infoAs is info under the name in full that the caller knows the image by, where
// it has that one.
func (img *image) infoAs(name string) compute.Image {
	info := img.info()
	if slices.Contains(img.names, name) {
		info.Ref.Name = name
	}
	return info
}

// user finds who a process runs as: a name or a number, with an optional group of
// either kind. The error names the field.
func (img *image) user(text string) (User, error) {
	fail := func(what string) (User, error) {
		return User{}, resource.Faults{{Field: "process.user", Reason: fmt.Sprintf("is not in the image: %q", what)}}
	}
	users, groups := standardUsers, standardGroups
	if img != nil && img.artifact.users != nil {
		users, groups = img.artifact.users, img.artifact.groups
	}
	if text == "" {
		if root, ok := users["root"]; ok && root.UID == 0 {
			return root, nil
		}
		text = "0"
	}
	name, group, _ := strings.Cut(text, ":")
	u, known := users[name]
	if n, err := strconv.Atoi(name); !known && err == nil {
		u, known = User{UID: n, Home: "/"}, true
		for _, other := range slices.Sorted(maps.Keys(users)) {
			if users[other].UID == n {
				u = users[other]
				break
			}
		}
	}
	if !known {
		return fail(name)
	}
	if group == "" {
		return u, nil
	}
	// A given group replaces the user's own and its further ones.
	u.Groups = nil
	if n, err := strconv.Atoi(group); err == nil {
		u.GID = n
		return u, nil
	}
	if u.GID, known = groups[group]; !known {
		return fail(group)
	}
	return u, nil
}
