package containerd

import (
	"context"

	managed "github.com/univirt/univirt/internal/daemon/containerd"
	"github.com/univirt/univirt/resource"
)

// Remove removes the folder of a managed daemon, Managed.Dir, with all that is in
// it and came of it: the daemon is shut down where it runs, instances of all
// namespaces are ended without grace, what is mounted in the folder is unmounted,
// and images, logs and the folder itself are deleted. It needs no Provider, works
// after a crash as well, and may be repeated: a folder that does not exist is nil.
//
// A folder that an open Provider uses as its Managed.Dir, in whatever process, or
// that this package did not make, is FailedPrecondition, one that is not the
// caller's alone is PermissionDenied, a path that cannot be one is
// InvalidArgument, all with the field "dir", and nothing is changed. Who is
// connected to the daemon by its address alone does not count as a user. After
// another error, or that of the context, a part may be gone; another call goes on
// from there. On systems other than Linux it is errors.ErrUnsupported.
//
// A state folder elsewhere, Options.StateDir, stays.
func Remove(ctx context.Context, dir string) error {
	ref := resource.Ref{Provider: Scheme}
	var faults resource.Faults
	checkPath(&faults, "dir", dir)
	if err := faults.Err(); err != nil {
		return resource.Fail("remove", ref, err)
	}
	if !supported {
		return resource.Fail("remove", ref, resource.Unsupported("managed daemons", "they run on Linux only"))
	}
	return resource.Fail("remove", ref, atField("dir", managed.Destroy(ctx, dir)))
}
