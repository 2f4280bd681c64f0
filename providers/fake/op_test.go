package fake_test

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// callless are the methods that make no call of the backend, and those of the
// extensions that the fake has not.
var callless = map[string]string{
	"compute.Instances.Handle":      "makes no call",
	"compute.Instance.ID":           "makes no call",
	"compute.Execution.ID":          "makes no call",
	"compute.Attachment.Close":      "gives up what the caller has",
	"compute.Native.NativeProvider": "is a value's",
	"compute.Native.NativeVersion":  "is a value's",
	"compute.Restarter.Restart":     "is not the fake's: Stop and Start do it",
	"compute.Migrator.Migrate":      "is not the fake's: it is one host",
	"storage.Volumes.Handle":        "makes no call",
	"storage.Volume.ID":             "makes no call",
	"network.Networks.Handle":       "makes no call",
	"network.Network.ID":            "makes no call",
	"network.Network.Endpoint":      "makes no call",
	"network.Endpoint.ID":           "makes no call",
	"univirt.Provider.Instances":    "makes no call",
	"univirt.Provider.Images":       "makes no call",
	"univirt.Provider.Volumes":      "makes no call",
	"univirt.Provider.Networks":     "makes no call",
	"univirt.Provider.Close":        "gives up what the caller has",
}

// methods lists what the interfaces of the contract have, as their source says it.
func methods(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, dir := range []string{".", "resource", "storage", "network", "compute"} {
		files, err := filepath.Glob(filepath.Join("../..", dir, "*.go"))
		require.NoError(t, err)
		require.NotEmpty(t, files, dir)
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			ast.Inspect(file, func(n ast.Node) bool {
				spec, ok := n.(*ast.TypeSpec)
				if !ok || !spec.Name.IsExported() {
					return true
				}
				if i, ok := spec.Type.(*ast.InterfaceType); ok {
					for _, m := range i.Methods.List {
						for _, method := range m.Names {
							out = append(out, file.Name.Name+"."+spec.Name.Name+"."+method.Name)
						}
					}
				}
				return true
			})
		}
	}
	return out
}

func TestEveryCallOfTheContractIsAnOperation(t *testing.T) {
	there := map[string]bool{}
	for _, method := range methods(t) {
		there[method] = true
		_, called := steps[method]
		_, not := callless[method]
		assert.True(t, called != not, "%s: needs a step with its operation, or a reason for having none", method)
	}
	for method := range steps {
		assert.True(t, there[method], "%s is no method of the contract", method)
	}
	for method := range callless {
		assert.True(t, there[method], "%s is no method of the contract", method)
	}
	w := newWorld(t)
	_, restarts := w.inst.(compute.Restarter)
	_, migrates := w.inst.(compute.Migrator)
	assert.False(t, restarts || migrates, "what the fake has needs an operation")

	used := map[fake.Op]bool{fake.OpBoot: true}
	for _, s := range steps {
		used[s.op] = true
	}
	for _, op := range fake.Ops() {
		assert.True(t, used[op], "%s is the operation of no call", op)
	}
	assert.Len(t, used, len(fake.Ops()), "an operation is missing in Ops")
}

func TestEveryOperationCanBeMadeToFail(t *testing.T) {
	for method, s := range steps {
		t.Run(method, func(t *testing.T) {
			w := newWorld(t)
			done, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.call(done, w), context.Canceled)
			require.NoError(t, s.call(t.Context(), w))
			require.NoError(t, w.Close())
			require.ErrorIs(t, s.call(t.Context(), w), resource.ErrClosed)
			for outcome, site := range map[resource.Outcome]fake.Site{
				resource.NotDone:        fake.On(s.op),
				resource.OutcomeUnknown: fake.On(s.op).After(),
			} {
				w := newWorld(t)
				i := w.Fail(site.With(errdefs.ErrUnavailable))
				err := s.call(t.Context(), w)
				require.ErrorIs(t, err, errdefs.ErrUnavailable)
				assert.Equal(t, 1, i.Struck())
				var e *resource.Error
				require.ErrorAs(t, err, &e)
				_, verb, _ := strings.Cut(string(s.op), "/")
				assert.Equal(t, verb, e.Op)
				assert.Equal(t, outcome, e.Outcome)
			}
		})
	}
}

func TestErrorsNameTheResourceAlsoWhereOnlyItsIDWasGiven(t *testing.T) {
	anonymous := func() *world {
		w := newWorld(t)
		w.inst = w.Instances().Handle(w.inst.ID())
		w.volume = w.Volumes().Handle(w.volume.ID())
		w.endpoint = w.Networks().Handle(w.network.ID()).Endpoint(w.endpoint.ID())
		w.network = w.Networks().Handle(w.network.ID())
		return w
	}
	for method, s := range steps {
		t.Run(method, func(t *testing.T) {
			named := func(err error) {
				t.Helper()
				var e *resource.Error
				require.ErrorAs(t, err, &e)
				assert.False(t, e.Ref.Name == "" && e.Ref.ID != "", "%v", err)
			}
			done, cancel := context.WithCancel(t.Context())
			cancel()
			named(s.call(done, anonymous()))
			for _, site := range []fake.Site{fake.On(s.op), fake.On(s.op).After()} {
				w := anonymous()
				w.Fail(site.With(errdefs.ErrUnavailable))
				named(s.call(t.Context(), w))
			}
			w := anonymous()
			require.NoError(t, w.Close())
			named(s.call(t.Context(), w))
		})
	}
}

func TestErrorsNameWhatIsGone(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, w.inst.Delete(ctx, compute.DeleteOptions{Force: true}))
	require.NoError(t, w.volume.Delete(ctx, storage.DeleteOptions{}))
	require.NoError(t, w.endpoint.Release(ctx))
	require.NoError(t, w.network.Delete(ctx, network.DeleteOptions{}))
	id := w.inst.ID()
	for want, err := range map[string]error{
		`info instance "web" in namespace "default": there is no such instance`:       only(w.inst.Info(ctx)),
		`start instance "web" in namespace "default": there is no such instance`:      w.inst.Start(ctx, compute.StartOptions{}),
		`info volume "data" in namespace "default": there is no such volume`:          only(w.volume.Info(ctx)),
		`resize volume "data" in namespace "default": there is no such volume`:        storage.Resize(ctx, w.volume, resource.GiB, storage.ResizeOptions{}),
		`import volume "data" in namespace "default": there is no such volume`:        storage.Import(ctx, w.volume, emptyArchive(), storage.TransferOptions{Format: storage.Tar}),
		`info network "lan" in namespace "default": there is no such network`:         only(w.network.Info(ctx)),
		`get instance "` + id + `" in namespace "default": there is no such instance`: only(w.Instances().Get(ctx, id)),
		`get volume "` + id + `" in namespace "default": there is no such volume`:     only(w.Volumes().Get(ctx, id)),
		`get network "nope" in namespace "default": there is no such network`:         only(w.Networks().Get(ctx, "nope")),
		`get image "nope" in namespace "default": image: there is no "nope"`:          only(w.Images().Get(ctx, "nope")),
		`export image "nope" in namespace "default": image: there is no "nope"`:       w.Images().Export(ctx, io.Discard, []string{"nope"}, compute.ExportOptions{}),
		`export image in namespace "default": image: there is no "nope"`:              w.Images().Export(ctx, io.Discard, []string{"app", "nope"}, compute.ExportOptions{}),
	} {
		require.ErrorIs(t, err, errdefs.ErrNotFound)
		assert.EqualError(t, err, want)
	}
	var e *resource.Error
	require.ErrorAs(t, only(w.Volumes().Get(ctx, id)), &e)
	assert.Equal(t, resource.Ref{Provider: fake.Scheme, Kind: resource.KindVolume, Namespace: "default", ID: id}, e.Ref)
}

func TestFaultOfAProcessStrikesByItsInstance(t *testing.T) {
	p := fake.Test(t, program(untilDone))
	for _, name := range []string{"web", "db"} {
		inst := start(t, p, name, func(s *compute.Spec) { s.Labels = resource.Labels{"tier": name} })
		execution, err := compute.Exec(t.Context(), inst, compute.ExecSpec{Process: compute.Process{Command: []string{"app"}}})
		require.NoError(t, err)
		for site, strikes := range map[string]bool{"tier=web": name == "web", "tier=db": name == "db"} {
			i := p.Fail(fake.On(fake.OpSignalExecution).Of("web", "db").InstanceKind(compute.Container).Labelled(site).With(errdefs.ErrUnavailable))
			err := execution.Signal(t.Context(), "SIGHUP")
			assert.Equal(t, strikes, err != nil, "%s at %s: %v", site, name, err)
			i.Remove()
		}
	}
}

func TestUnknownOperationNamesTheNearest(t *testing.T) {
	for wrong, near := range map[fake.Op][]fake.Op{
		"start":             {fake.OpStart},
		"Start":             {fake.OpStart},
		"instances/start":   {fake.OpStart},
		"container/start":   {fake.OpStart},
		"instance/strat":    {fake.OpStart, fake.OpStats},
		"instance/starrt":   {fake.OpStart},
		"instance/delte":    {fake.OpDelete},
		"volume/copy-in":    {fake.OpCopyIn},
		"copyin":            {fake.OpCopyIn},
		"instance/copy_out": {fake.OpCopyOut},
		"vol/list_pools":    {fake.OpListPools},
		"delete":            {fake.OpDelete, fake.OpDeleteImage, fake.OpDeleteVolume, fake.OpDeleteNetwork},
		"wait":              {fake.OpWait, fake.OpWaitExecution, fake.OpWaitAttachment},
		"instance/explode":  nil,
		"/":                 nil,
		"":                  nil,
		"é":                 nil,
	} {
		t.Run(string(wrong), func(t *testing.T) {
			p := fake.New(fake.Options{})
			defer p.Close()
			var want strings.Builder
			fmt.Fprintf(&want, "op: is no operation: %q", string(wrong))
			for n, op := range near {
				want.WriteString([]string{"; did you mean ", " or "}[min(n, 1)])
				fmt.Fprintf(&want, "%q", string(op))
			}
			want.WriteString(map[bool]string{true: "? All are: ", false: "; all are: "}[len(near) > 0])
			text := p.Fail(fake.On(wrong).Hanging()).Err().Error()
			require.True(t, strings.HasPrefix(text, want.String()), "%s\nwant %s", text, want.String())
			for _, op := range fake.Ops() {
				assert.Contains(t, strings.TrimPrefix(text, want.String()), fmt.Sprintf("%q", string(op)))
			}
			if wrong != "" {
				faults := fake.Options{Latency: fake.Latency{wrong: {}}}.Validate()
				require.Len(t, faults, 1)
				assert.Equal(t, "latency["+string(wrong)+"]", faults[0].Field)
				assert.Equal(t, strings.TrimPrefix(text, "op: "), faults[0].Reason)
			}
		})
	}
}
