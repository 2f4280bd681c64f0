package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"github.com/moby/sys/user"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/resource"
)

// accounts are the files of a root filesystem that name users and groups. An
// absent one is empty.
type accounts struct{ passwd, group []byte }

// maxAccounts bounds what is read of each file: an image is not to be trusted.
const maxAccounts = 4 << 20

// user resolves "user[:group]", with the groups that the user is a member of.
// Empty means root. The error has the field "process.user".
func (a accounts) user(text string) (specs.User, error) {
	found, err := user.GetExecUser(text, nil, bytes.NewReader(a.passwd), bytes.NewReader(a.group))
	if err != nil {
		return specs.User{}, &resource.Error{Kind: errdefs.ErrInvalidArgument, Field: "process.user", Err: fmt.Errorf("%q: %w", text, err)}
	}
	for _, id := range append([]int{found.Uid, found.Gid}, found.Sgids...) {
		if id < 0 || id >= math.MaxUint32 {
			return specs.User{}, resource.Faults{{Field: "process.user", Reason: fmt.Sprintf("%q has the number %d in the image", text, id)}}
		}
	}
	out := specs.User{UID: uint32(found.Uid), GID: uint32(found.Gid)}
	// As after a login, the primary group is one of the groups.
	for _, gid := range append([]int{found.Gid}, found.Sgids...) {
		if !slices.Contains(out.AdditionalGids, uint32(gid)) {
			out.AdditionalGids = append(out.AdditionalGids, uint32(gid))
		}
	}
	return out, nil
}

// userCache remembers the accounts of images, by the layers that they are made
// of.
type userCache struct {
	mu      sync.Mutex
	byChain map[string]accounts
}

// maxUserCache is far more than the images that one host runs.
const maxUserCache = 256

// accountsOf reads the accounts of an image from a snapshot made of it, once.
func (p *Provider) accountsOf(ctx context.Context, image resolvedImage, mounts []mount.Mount) (accounts, error) {
	c := &p.users
	c.mu.Lock()
	a, known := c.byChain[image.ChainID]
	c.mu.Unlock()
	if known {
		return a, nil
	}
	err := mount.WithReadonlyTempMount(ctx, mounts, func(root string) (err error) {
		a, err = readAccounts(root)
		return err
	})
	if err != nil {
		return accounts{}, fmt.Errorf("the image's users: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byChain == nil || len(c.byChain) >= maxUserCache {
		c.byChain = make(map[string]accounts)
	}
	c.byChain[image.ChainID] = a
	return a, nil
}

// readAccounts reads the files below a root, without being led out of it.
func readAccounts(root string) (a accounts, err error) {
	for _, file := range []struct {
		path string
		into *[]byte
	}{{"etc/passwd", &a.passwd}, {"etc/group", &a.group}} {
		f, err := openIn(root, file.path)
		if errors.Is(err, errNoFile) {
			continue
		}
		if err != nil {
			return a, err
		}
		content, err := io.ReadAll(io.LimitReader(f, maxAccounts+1))
		_ = f.Close()
		if err != nil {
			return a, err
		}
		if len(content) > maxAccounts {
			return a, resource.Errorf(errdefs.ErrInvalidArgument, "/%s of the image has more than %d bytes", file.path, maxAccounts)
		}
		*file.into = content
	}
	return a, nil
}

// errNoFile says that there is nothing to read: no file, or something else.
var errNoFile = errors.New("no such file")
