package containerd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	runcoptions "github.com/containerd/containerd/api/types/runc/options"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/callbacks"
	"github.com/univirt/univirt/internal/filelock"
	"github.com/univirt/univirt/internal/outlive"
	"github.com/univirt/univirt/resource"
)

// makingTime is how long making an instance can take at most: a snapshot without
// a container that is older was left behind.
const makingTime = 10 * time.Minute

// Create implements compute.Instances. It makes three calls where the image is
// known: the image's name is resolved, the snapshot prepared, which takes the
// name, and the container made.
func (s instances) Create(ctx context.Context, spec compute.Spec) (compute.Instance, error) {
	ref := s.p.ref(resource.KindInstance, spec.Name, "")
	ctx, done, err := s.p.begin(ctx)
	if err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	defer done()
	if err := s.p.checkSpec(spec); err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	id := resource.NewID()
	defer s.p.making.begin(id)()
	ctx = outlive.WithEffects(ctx)
	if err := outlive.EffectsOf(ctx).Sure(s.p.create(ctx, id, spec)); err != nil {
		return nil, resource.Fail("create", ref, err)
	}
	return s.p.handle(id, spec.Name), nil
}

// checkSpec finds every fault of a spec that shows without the backend.
func (p *Provider) checkSpec(spec compute.Spec) error {
	if err := checkValues(spec); err != nil {
		return err
	}
	return p.kind.Fields.Refuse(spec)
}

// checkValues finds what is wrong with a spec whatever is supported.
func checkValues(spec compute.Spec) error {
	faults := spec.Validate()
	if spec.Image == "" {
		faults.Add("image", "is required")
	}
	for i, m := range spec.Mounts {
		if m.Type != compute.MountBind || !filepath.IsAbs(m.Source) {
			continue
		}
		if _, err := os.Stat(m.Source); errors.Is(err, fs.ErrNotExist) {
			faults.Add(fmt.Sprintf("mounts[%d].source", i), "does not exist on the host")
		}
	}
	return faults.Err()
}

// create makes the instance, or leaves nothing of it. The answers of the calls that
// make something are awaited whatever becomes of the context: a call that is
// cancelled may take effect all the same, and behind its undo.
func (p *Provider) create(ctx context.Context, id string, spec compute.Spec) (err error) {
	image, err := p.images.resolve(ctx, spec.Image, spec.Pull)
	if err != nil {
		return ofImage(spec.Image, err)
	}
	spec = withChoices(spec, image.Config)
	leased, err := p.lease(ctx)
	if err != nil {
		return translate(ctx, err)
	}
	mounts, err := p.takeName(leased, id, image, spec)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = p.undoCreate(ctx, id, spec.Name, err)
		}
	}()
	runtime, err := p.translateSpec(ctx, id, spec, image, mounts)
	if err == nil {
		err = p.putFiles(ctx, mounts, spec.Files)
	}
	if err != nil {
		return err
	}
	if done := ended(ctx); done != nil {
		return done
	}
	through, cancel := outlive.Context(ctx, answerTime)
	defer cancel()
	_, err = p.client.ContainerService().Create(through, p.container(id, image, spec, runtime))
	if err == nil && spec.Lifetime.Ephemeral {
		p.mortals.Add(id)
	}
	return translate(ctx, err)
}

// ofImage puts the image into the message.
func ofImage(name string, err error) error {
	var own *resource.Error
	if !errors.As(err, &own) || own != err || strings.Contains(own.Error(), name) {
		return err
	}
	named := *own
	named.Err = fmt.Errorf("%s: %w", name, own.Err)
	return &named
}

// takeName prepares the root filesystem under the key of the name.
func (p *Provider) takeName(ctx context.Context, id string, image resolvedImage, spec compute.Spec) ([]mount.Mount, error) {
	key := snapshotKey(spec.Name)
	labels := p.ownerLabels()
	labels[labelID] = id
	labels[labelDeadline] = time.Now().Add(makingTime).UTC().Format(time.RFC3339)
	unpacked := false
	for {
		through, cancel := outlive.Context(ctx, answerTime)
		mounts, err := p.client.SnapshotService(p.snapshotter).Prepare(through, key, image.ChainID, snapshots.WithLabels(labels))
		cancel()
		switch {
		case err == nil:
			p.leases.hold(key)
			return mounts, nil
		case ctx.Err() != nil, errdefs.IsUnavailable(translate(ctx, err)):
			// It may have happened all the same.
			return nil, p.undoCreate(ctx, id, spec.Name, translate(ctx, err))
		case errdefs.IsNotFound(err) && !unpacked:
			unpacked = true
			if err := p.images.unpack(ctx, image); err != nil {
				return nil, atField("image", err)
			}
		case errdefs.IsAlreadyExists(err):
			free, clearErr := p.decideName(ctx, spec.Name)
			if clearErr != nil {
				return nil, translate(ctx, clearErr)
			}
			if !free {
				return nil, &resource.Error{Kind: errdefs.ErrAlreadyExists, Field: "name", Err: errors.New("an instance of that name exists")}
			}
		default:
			return nil, translate(ctx, err)
		}
	}
}

// translateSpec makes the OCI spec, for which it may have to look into the root
// filesystem.
func (p *Provider) translateSpec(ctx context.Context, id string, spec compute.Spec, image resolvedImage, mounts []mount.Mount) (*specs.Spec, error) {
	accounts, err := p.accountsOf(ctx, image, mounts)
	if err != nil {
		return nil, translate(ctx, err)
	}
	user, err := accounts.user(cmp.Or(spec.Process.User, image.Config.User))
	if err != nil {
		return nil, err
	}
	t := translation{id: id, space: p.space, spec: spec, image: image.Config, user: user, host: p.host}
	// The program's own hand may be in it.
	return callbacks.Run(p.alive, t.runtimeSpec)
}

// container makes the record of an instance in containerd's form.
func (p *Provider) container(id string, image resolvedImage, spec compute.Spec, runtime *specs.Spec) containers.Container {
	labels := storedLabels(spec.Labels)
	labels[labelName] = spec.Name
	labels[labelImage] = image.ID
	labels[labelRevision] = "1"
	r := record{
		Name: spec.Name, Owner: p.owner, Image: image.Name, ImageID: image.ID, spec: spec,
	}
	// Neither holds anything that has no JSON form: both were made from specs that
	// have one.
	extended, _ := r.encode()
	encoded, _ := typeurl.MarshalAny(runtime)
	return containers.Container{
		ID:          id,
		Labels:      labels,
		Image:       image.Name,
		Runtime:     p.runtime(),
		Spec:        encoded,
		Snapshotter: p.snapshotter,
		SnapshotKey: snapshotKey(spec.Name),
		Extensions:  map[string]typeurl.Any{extension: extended},
	}
}

// runtime is what runs an instance. That of a private daemon keeps its state in the
// daemon's folder, so that it goes with that.
func (p *Provider) runtime() containers.RuntimeInfo {
	r := containers.RuntimeInfo{Name: p.opts.Runtime}
	if p.conn.runcRoot != "" && r.Name == defaultRuntime {
		// It is a message, and has an encoding.
		r.Options, _ = typeurl.MarshalAny(&runcoptions.Options{Root: p.conn.runcRoot})
	}
	return r
}

// undoCreate removes what a failed create made. It returns the cause, with what
// could not be removed.
func (p *Provider) undoCreate(ctx context.Context, id, name string, cause error) error {
	ctx, cancel := p.cleanup(ctx)
	defer cancel()
	key := snapshotKey(name)
	err := p.client.ContainerService().Delete(ctx, id)
	if err == nil || errdefs.IsNotFound(err) {
		var info snapshots.Info
		info, err = p.client.SnapshotService(p.snapshotter).Stat(ctx, key)
		if err == nil && info.Labels[labelID] == id {
			ctx, err = p.lease(ctx)
			if err == nil {
				err = p.client.SnapshotService(p.snapshotter).Remove(ctx, key)
			}
		}
	}
	if err == nil || errdefs.IsNotFound(err) {
		p.leases.drop(key)
		outlive.EffectsOf(ctx).Undone()
		return cause
	}
	p.owe(func(ctx context.Context) error { return p.clearRoot(ctx, name, id) })
	return outlive.NotUndone(cause, translate(ctx, err), p.ref(resource.KindInstance, name, id))
}

// decideName waits until it is known whether a name that was taken is an
// instance's: whoever has taken it is making one, or deleting one, within a few
// calls. It reports whether the name is free.
func (p *Provider) decideName(ctx context.Context, name string) (bool, error) {
	for begun, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		info, err := p.client.SnapshotService(p.snapshotter).Stat(ctx, snapshotKey(name))
		if err != nil {
			return errdefs.IsNotFound(err), ignoreNotFound(err)
		}
		id := info.Labels[labelID]
		if !resource.IsID(id) || time.Since(begun) > compute.CleanupTimeout {
			return false, nil
		}
		if _, err := p.client.ContainerService().Get(ctx, id); !errdefs.IsNotFound(err) {
			return false, err
		}
		free, err := p.clearName(ctx, name)
		if free || err != nil {
			return free, err
		}
		select {
		case <-ctx.Done():
			return false, ended(ctx)
		case <-time.After(pause):
		}
	}
}

// clearName removes the root filesystem of a name that a dead process left, and
// reports whether the name is free then.
//
// The lock keeps those away who delete an instance and have not removed its root
// filesystem yet: both would remove it, and the later one a new instance's.
func (p *Provider) clearName(ctx context.Context, name string) (bool, error) {
	key := snapshotKey(name)
	store := p.client.SnapshotService(p.snapshotter)
	info, err := store.Stat(ctx, key)
	if err != nil {
		return errdefs.IsNotFound(err), ignoreNotFound(err)
	}
	if p.unfinished(info) == "" {
		return false, nil
	}
	lock, err := filelock.Acquire(ctx, p.state.names(), filelock.Exclusive)
	if err != nil {
		return false, err
	}
	defer lock.Release()
	if info, err = store.Stat(ctx, key); err != nil {
		return errdefs.IsNotFound(err), ignoreNotFound(err)
	}
	id := p.unfinished(info)
	if id == "" {
		return false, nil
	}
	if _, err := p.client.ContainerService().Get(ctx, id); !errdefs.IsNotFound(err) {
		return false, err
	}
	err = store.Remove(ctx, key)
	return err == nil || errdefs.IsNotFound(err), ignoreNotFound(err)
}

// clearRoot removes the root filesystem of an instance of which it is known that
// nobody makes it any more, unless it is there: what its maker, or whoever deleted
// it, could not remove without the daemon.
func (p *Provider) clearRoot(ctx context.Context, name, id string) error {
	lock, err := filelock.Acquire(ctx, p.state.names(), filelock.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Release()
	key := snapshotKey(name)
	store := p.client.SnapshotService(p.snapshotter)
	info, err := store.Stat(ctx, key)
	if err != nil || info.Labels[labelID] != id {
		return ignoreNotFound(err)
	}
	if _, err := p.client.ContainerService().Get(ctx, id); !errdefs.IsNotFound(err) {
		return err
	}
	return ignoreNotFound(store.Remove(ctx, key))
}

// unfinished returns the ID of the instance that a snapshot was made for, if its
// maker does not work on it any more; there may be a container of that ID.
func (p *Provider) unfinished(info snapshots.Info) string {
	id, generation := info.Labels[labelID], info.Labels[labelGeneration]
	if !resource.IsID(id) {
		return ""
	}
	switch {
	case generation == p.owner.Generation:
		if p.making.has(id) {
			return ""
		}
	case p.state.generations().Alive(generation):
		deadline, err := time.Parse(time.RFC3339, info.Labels[labelDeadline])
		if err != nil || time.Now().Before(deadline) {
			return ""
		}
	}
	return id
}

func ignoreNotFound(err error) error {
	if errdefs.IsNotFound(err) {
		return nil
	}
	return err
}
