package containerd

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	tasksapi "github.com/containerd/containerd/api/services/tasks/v1"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/errdefs"
	"github.com/containerd/typeurl/v2"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Update implements compute.Instance. Resources of a running instance change at
// once, but for the size of its shared memory, which is a mount.
func (i *instance) Update(ctx context.Context, change compute.Change) error {
	return i.change(ctx, "update", func(ctx context.Context) error {
		if err := change.Validate().Err(); err != nil {
			return err
		}
		if err := i.p.kind.Changeable.Refuse(change); err != nil {
			return err
		}
		return i.p.locked(ctx, i.id, func() error { return i.update(ctx, change) })
	})
}

func (i *instance) update(ctx context.Context, change compute.Change) error {
	k, err := i.load(ctx)
	if err == nil {
		err = k.owned()
	}
	if err == nil {
		err = k.checkRevision(change.IfRevision)
	}
	if err == nil {
		k.task, err = i.p.loadTask(ctx, i.id)
	}
	if err != nil {
		return err
	}
	if _, err := compute.CheckTransition(stateOf(k.task), compute.OpUpdate); err != nil {
		return err
	}
	spec := change.To(k.record.spec)
	if err := spec.Validate().Err(); err != nil {
		return err
	}
	had, has, err := i.liveAfter(k, change, spec)
	if err != nil {
		return err
	}
	if len(resource.Diff(k.record.spec, spec)) == 0 && had == has {
		return nil
	}
	if err := givenUp(ctx); err != nil {
		return err
	}
	if had != has {
		if err := i.p.limit(ctx, i.id, had, has); err != nil {
			if i.p.endsMeanwhile(ctx, i.id, err) {
				// Nothing runs any more that had limits.
				return i.update(ctx, change)
			}
			return err
		}
	}
	if err := i.p.rewrite(ctx, k, spec, has); err != nil {
		if had != has {
			clean, cancel := i.p.cleanup(ctx)
			defer cancel()
			err = errors.Join(err, i.p.limit(clean, i.id, has, had))
		}
		return err
	}
	return nil
}

// liveAfter returns what the run under way is limited to, and what it shall be
// from now on. Without a run both are the same.
func (i *instance) liveAfter(k *known, change compute.Change, spec compute.Spec) (had, has compute.Resources, err error) {
	if change.Resources == nil && stateOf(k.task) == compute.Stopped {
		return had, had, nil
	}
	if stateOf(k.task) == compute.Stopped {
		if change.Apply == compute.ApplyLive {
			return had, has, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "apply",
				Err: errors.New("the instance is stopped, and nothing can be changed live")}
		}
		return had, had, nil
	}
	had = k.record.live(runOf(k.task))
	if change.Resources == nil || change.Apply == compute.ApplyNextStart {
		return had, had, nil
	}
	has = spec.Resources
	has.ShmSize = had.ShmSize
	if cmp.Or(has.ShmSize, defaultShmSize) != cmp.Or(spec.Resources.ShmSize, defaultShmSize) && change.Apply == compute.ApplyLive {
		return had, has, &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "resources.shmSize",
			Err: errors.New("a running container takes it at its next start")}
	}
	return had, has, nil
}

// endsMeanwhile reports whether what failed did so because the run has ended, of
// which the task may be slow to tell where nothing says what is wrong.
func (p *Provider) endsMeanwhile(ctx context.Context, id string, failure error) bool {
	for begun := time.Now(); ; {
		t, err := p.loadTask(ctx, id)
		if err != nil {
			return false
		}
		if stateOf(t) == compute.Stopped {
			return true
		}
		if resource.KindOf(failure) != nil || time.Since(begun) > endTime {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// limit changes the limits of the run under way. Where that fails in the middle
// the limits before are put back.
func (p *Provider) limit(ctx context.Context, id string, had, has compute.Resources) error {
	apply := func(ctx context.Context, from, to compute.Resources) error {
		limits, err := typeurl.MarshalAny(liveResources(from, to, p.host))
		if err != nil {
			return err
		}
		_, err = p.client.TaskService().Update(ctx, &tasksapi.UpdateTaskRequest{ContainerID: id, Resources: typeurl.MarshalProto(limits)})
		return translate(ctx, err)
	}
	err := apply(ctx, had, has)
	if err == nil {
		return nil
	}
	clean, cancel := p.cleanup(ctx)
	defer cancel()
	if undoErr := apply(clean, has, had); undoErr != nil {
		return errors.Join(err, fmt.Errorf("and the limits before could not be put back: %w", withoutKind{undoErr}))
	}
	return err
}

// rewrite writes the changed spec into the container. The instance is locked, so
// that nothing of ours writes in between.
func (p *Provider) rewrite(ctx context.Context, k *known, spec compute.Spec, live compute.Resources) error {
	r := *k.record
	r.spec = spec
	r.Live, r.LiveRun = nil, ""
	if stateOf(k.task) != compute.Stopped && live != spec.Resources {
		r.Live, r.LiveRun = &live, runOf(k.task)
	}
	extended, err := r.encode()
	if err != nil {
		return err
	}
	runtime, err := withResources(k.container.Spec, spec.Resources, p.host)
	if err != nil {
		return err
	}
	labels := storedLabels(spec.Labels)
	for key, value := range k.container.Labels {
		if _, _, users := readLabel(key, value); !users {
			labels[key] = value
		}
	}
	labels[labelRevision] = strconv.Itoa(r.Revision + 1)
	_, err = p.client.ContainerService().Update(ctx, containers.Container{
		ID: k.container.ID, Labels: labels, Spec: runtime, Extensions: map[string]typeurl.Any{extension: extended},
	}, "labels", "spec", "extensions."+extension)
	return translate(ctx, err)
}

// withResources puts other limits into a container's runtime spec, and leaves
// everything else as it is.
func withResources(encoded typeurl.Any, r compute.Resources, h host) (typeurl.Any, error) {
	var runtime specs.Spec
	if err := json.Unmarshal(encoded.GetValue(), &runtime); err != nil || runtime.Linux == nil {
		return nil, resource.Errorf(errdefs.ErrDataLoss, "the container's runtime spec cannot be read: %v", err)
	}
	limits := resourcesOf(r, h)
	if old := runtime.Linux.Resources; old != nil {
		kept := *old
		kept.CPU, kept.Memory, kept.Pids, kept.Unified = limits.CPU, limits.Memory, limits.Pids, limits.Unified
		limits = &kept
	}
	runtime.Linux.Resources = limits
	for i, m := range runtime.Mounts {
		if m.Destination != "/dev/shm" || m.Type != "tmpfs" {
			continue
		}
		for j, option := range m.Options {
			if strings.HasPrefix(option, "size=") {
				runtime.Mounts[i].Options[j] = sizeOption(cmp.Or(r.ShmSize, defaultShmSize))
			}
		}
	}
	return typeurl.MarshalAny(&runtime)
}

// resourcePaths are the paths of resources in a spec.
func resourcePaths(paths []string) []string {
	for i := range paths {
		paths[i] = "resources." + paths[i]
	}
	return paths
}
