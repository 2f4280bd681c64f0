package compute_test

import (
	"bytes"
	"context"
	"errors"
	"image"
	"io"
	"io/fs"
	"iter"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// able is an instance that has every extension, and notes which was used.
type able struct {
	*reachable
	used string
}

var (
	_ compute.Pauser          = (*able)(nil)
	_ compute.Suspender       = (*able)(nil)
	_ compute.Restarter       = (*able)(nil)
	_ compute.Resetter        = (*able)(nil)
	_ compute.Execer          = (*able)(nil)
	_ compute.Attacher        = (*able)(nil)
	_ compute.Logger          = (*able)(nil)
	_ compute.Consoler        = (*able)(nil)
	_ compute.Filer           = (*able)(nil)
	_ compute.Snapshotter     = (*able)(nil)
	_ compute.Cloner          = (*able)(nil)
	_ compute.VolumeAttacher  = (*able)(nil)
	_ compute.NetworkAttacher = (*able)(nil)
	_ compute.Dialer          = (*able)(nil)
	_ compute.Screenshotter   = (*able)(nil)
	_ compute.GuestReporter   = (*able)(nil)
	_ compute.Migrator        = (*able)(nil)
	_ compute.Watcher         = (*able)(nil)
)

func (a *able) note(what string) error {
	a.used = what
	return nil
}

func (a *able) Pause(context.Context) error                           { return a.note("pause") }
func (a *able) Resume(context.Context) error                          { return a.note("resume") }
func (a *able) Suspend(context.Context, compute.SuspendOptions) error { return a.note("suspend") }
func (a *able) Restart(context.Context, compute.StopOptions) error    { return a.note("restart") }
func (a *able) Reset(context.Context) error                           { return a.note("reset") }
func (a *able) AttachVolume(context.Context, compute.Mount) error     { return a.note("attach volume") }
func (a *able) DetachVolume(context.Context, string) error            { return a.note("detach volume") }
func (a *able) Guest(context.Context) (compute.GuestInfo, error) {
	return compute.GuestInfo{}, a.note("guest")
}
func (a *able) DetachNetwork(context.Context, string) error           { return a.note("detach network") }
func (a *able) Migrate(context.Context, compute.MigrateOptions) error { return a.note("migrate") }
func (a *able) DeleteSnapshot(context.Context, string) error          { return nil }
func (a *able) AttachNetwork(context.Context, compute.NetworkAttachment) error {
	return a.note("attach network")
}

func (a *able) Exec(context.Context, compute.ExecSpec) (compute.Execution, error) {
	return nil, a.note("exec")
}

func (a *able) Attach(context.Context, compute.AttachOptions) (compute.Attachment, error) {
	return nil, a.note("attach")
}

func (a *able) Logs(context.Context, compute.LogOptions) iter.Seq2[compute.LogLine, error] {
	return func(yield func(compute.LogLine, error) bool) { yield(compute.LogLine{}, a.note("logs")) }
}

func (a *able) Console(context.Context, compute.ConsoleOptions) (io.ReadWriteCloser, error) {
	return nil, a.note("console")
}

func (a *able) CopyIn(context.Context, string, io.Reader, compute.CopyOptions) error {
	return a.note("copy in")
}

func (a *able) CopyOut(context.Context, string, compute.CopyOptions) (io.ReadCloser, error) {
	return nil, a.note("copy out")
}

func (a *able) Files(context.Context) (fs.FS, error) { return fstest.MapFS{}, a.note("files") }

func (a *able) CreateSnapshot(context.Context, compute.SnapshotSpec) (compute.SnapshotInfo, error) {
	return compute.SnapshotInfo{}, nil
}

func (a *able) Snapshots(context.Context) iter.Seq2[compute.SnapshotInfo, error] {
	return func(func(compute.SnapshotInfo, error) bool) { _ = a.note("snapshot") }
}

func (a *able) RevertSnapshot(context.Context, string, compute.RevertOptions) error { return nil }

func (a *able) Clone(context.Context, compute.CloneOptions) (compute.Instance, error) {
	return nil, a.note("clone")
}

func (a *able) Screenshot(context.Context, compute.ScreenshotOptions) (image.Image, error) {
	return nil, a.note("screenshot")
}

// helpers are the helper functions by the word that their errors begin with.
func helpers(ctx context.Context) map[string]func(compute.Instance) error {
	second := func(_ any, err error) error { return err }
	return map[string]func(compute.Instance) error{
		"pause":   func(i compute.Instance) error { return compute.Pause(ctx, i) },
		"resume":  func(i compute.Instance) error { return compute.Resume(ctx, i) },
		"suspend": func(i compute.Instance) error { return compute.Suspend(ctx, i, compute.SuspendOptions{}) },
		"reset":   func(i compute.Instance) error { return compute.Reset(ctx, i) },
		"exec":    func(i compute.Instance) error { return second(compute.Exec(ctx, i, compute.ExecSpec{})) },
		"attach":  func(i compute.Instance) error { return second(compute.Attach(ctx, i, compute.AttachOptions{})) },
		"logs": func(i compute.Instance) error {
			return second(resource.Collect(compute.Logs(ctx, i, compute.LogOptions{})))
		},
		"console": func(i compute.Instance) error { return second(compute.Console(ctx, i, compute.ConsoleOptions{})) },
		"copy in": func(i compute.Instance) error {
			return compute.CopyIn(ctx, i, "/", new(bytes.Buffer), compute.CopyOptions{})
		},
		"copy out": func(i compute.Instance) error { return second(compute.CopyOut(ctx, i, "/", compute.CopyOptions{})) },
		"files":    func(i compute.Instance) error { return second(compute.Files(ctx, i)) },
		"snapshot": func(i compute.Instance) error {
			s, err := compute.Snapshots(i)
			if err == nil {
				_, err = resource.Collect(s.Snapshots(ctx))
			}
			return err
		},
		"clone":          func(i compute.Instance) error { return second(compute.Clone(ctx, i, compute.CloneOptions{})) },
		"attach volume":  func(i compute.Instance) error { return compute.AttachVolume(ctx, i, compute.Mount{}) },
		"detach volume":  func(i compute.Instance) error { return compute.DetachVolume(ctx, i, "/") },
		"attach network": func(i compute.Instance) error { return compute.AttachNetwork(ctx, i, compute.NetworkAttachment{}) },
		"detach network": func(i compute.Instance) error { return compute.DetachNetwork(ctx, i, "x") },
		"guest":          func(i compute.Instance) error { return second(compute.Guest(ctx, i)) },
		"screenshot": func(i compute.Instance) error {
			return second(compute.Screenshot(ctx, i, compute.ScreenshotOptions{}))
		},
		"migrate": func(i compute.Instance) error { return compute.Migrate(ctx, i, compute.MigrateOptions{}) },
	}
}

func TestHelpersFindExtensionsThroughWrappers(t *testing.T) {
	all := helpers(t.Context())
	all["restart"] = func(i compute.Instance) error { return compute.Restart(t.Context(), i, compute.StopOptions{}) }
	for word, call := range all {
		a := &able{reachable: &reachable{watched: watched{running(compute.Spec{})}}}
		deep := compute.Instance(a)
		for range 100 {
			deep = wrapped{deep}
		}
		for _, inst := range []compute.Instance{a, wrapped{a}, deep} {
			a.used = ""
			require.NoError(t, call(inst))
			assert.Equal(t, word, a.used)
		}
	}
}

func TestHelpersWithoutExtension(t *testing.T) {
	for word, call := range helpers(t.Context()) {
		for _, inst := range []compute.Instance{silent{}, wrapped{silent{}}, wrapped{wrapped{silent{}}}} {
			err := call(wrapped{inst})
			require.ErrorIs(t, err, errors.ErrUnsupported, word)
			assert.EqualError(t, err, word+` instance "`+someID+`": `+word+" is not supported")
			var e *resource.Error
			require.ErrorAs(t, err, &e)
			assert.Equal(t, resource.Ref{Kind: resource.KindInstance, ID: someID}, e.Ref)
		}
	}
	_, err := compute.Dial(t.Context(), wrapped{silent{}}, "80")
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

// A wrapper that intercepts an extension is asked before what it wraps.
type pausingWrapper struct {
	wrapped
	paused bool
}

func (p *pausingWrapper) Pause(context.Context) error {
	p.paused = true
	return nil
}
func (p *pausingWrapper) Resume(context.Context) error { return nil }

func TestAWrapperCanIntercept(t *testing.T) {
	a := &able{}
	p := &pausingWrapper{wrapped: wrapped{a}}
	require.NoError(t, compute.Pause(t.Context(), wrapped{p}))
	assert.True(t, p.paused)
	assert.Empty(t, a.used)
}

type planning struct{ compute.Instances }

func (planning) Plan(_ context.Context, spec compute.Spec) (compute.Plan, error) {
	return compute.Plan{Provider: spec.Name}, nil
}

type wrappedInstances struct{ compute.Instances }

func (w wrappedInstances) Unwrap() compute.Instances { return w.Instances }

func TestPlanOf(t *testing.T) {
	plan, err := compute.PlanOf(t.Context(), wrappedInstances{wrappedInstances{planning{}}}, compute.Spec{Name: "web"})
	require.NoError(t, err)
	assert.Equal(t, "web", plan.Provider)
	_, err = compute.PlanOf(t.Context(), wrappedInstances{&machines{}}, compute.Spec{Name: "web"})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
	assert.EqualError(t, err, `plan instance "web": plan is not supported`)
}

func TestAbsentImages(t *testing.T) {
	images := compute.AbsentImages("the backend has none")
	ctx := t.Context()
	second := func(_ any, err error) error { return err }
	for message, err := range map[string]error{
		`pull image "a"`:   second(images.Pull(ctx, "a", compute.PullOptions{})),
		`import image "a"`: second(images.Import(ctx, compute.ImageSource{}, compute.ImportOptions{Name: "a"})),
		`export image`:     images.Export(ctx, io.Discard, nil, compute.ExportOptions{}),
		`get image "a"`:    second(images.Get(ctx, "a")),
		`list image`:       second(resource.Collect(images.List(ctx, compute.ImageFilter{}))),
		`delete image "a"`: images.Delete(ctx, "a", compute.DeleteImageOptions{}),
	} {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		assert.EqualError(t, err, message+": images is not supported: the backend has none")
	}
	_, err := compute.EnsureImage(ctx, images, "a", compute.PullOptions{})
	assert.ErrorIs(t, err, errors.ErrUnsupported)
}

// known is a handle that knows more of its instance than the ID.
type known struct{ silent }

func (known) Ref() resource.Ref {
	return resource.Ref{Provider: "test", Kind: resource.KindInstance, Namespace: "default", Name: "web", ID: someID}
}

func TestWhatIsNotOfferedNamesTheInstance(t *testing.T) {
	_, err := compute.Screenshot(t.Context(), wrapped{known{}}, compute.ScreenshotOptions{})
	assert.EqualError(t, err, `screenshot instance "web": screenshot is not supported`)
	e, ok := errors.AsType[*resource.Error](err)
	require.True(t, ok)
	assert.Equal(t, known{}.Ref(), e.Ref)
}
