package providertest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// capabilityCases prove the declaration in the direction that the other cases
// do not: what is not declared is not there. That what is declared works is
// proved by the cases that need it, and the run fails where there was none.
func capabilityCases() []testCase {
	cases := []testCase{
		{"The accessors never return nil", nil, accessors},
		{"Exec refuses each part that is not declared", has(compute.FeatureExec), undeclaredExecParts},
		{"Images that are not offered are Unsupported to every call", nil, undeclaredImages},
		{"Volumes that are not offered are Unsupported to every call", nil, undeclaredVolumes},
		{"Networks that are not offered are Unsupported to every call", nil, undeclaredNetworks},
		{"A kind of instance that is not declared is Unsupported", nil, undeclaredKinds},
	}
	for _, p := range featureParts() {
		cases = append(cases, testCase{
			name:  fmt.Sprintf("What is declared of %s is what there is", p.need),
			needs: p.whole,
			run:   p.asDeclared,
		})
	}
	for _, o := range operations() {
		if o.needs != nil {
			cases = append(cases, testCase{
				name: fmt.Sprintf("What is declared of %s is what there is", o.name),
				run:  func(e *env) { declaredIsThere(e, o) },
			})
		}
	}
	for _, o := range providerOperations() {
		if o.needs != nil && (o.needs[0].scope == ofInstances || o.needs[0].scope == ofProvider) {
			cases = append(cases, testCase{
				name: fmt.Sprintf("What is declared of the call to %s is what there is", o.name),
				run: func(e *env) {
					err := o.do(e.ctx, e, e.p)
					require.Equal(e, e.missing(o.needs[0]) != "", isUnsupported(err), "the error: %v", err)
				},
			})
		}
	}
	return cases
}

// declaredIsThere tries an operation on a running instance. Where it is declared
// it may fail, but not as something that can never be.
func declaredIsThere(e *env, o operation) {
	missing := ""
	for _, n := range o.needs {
		missing += e.missing(n)
	}
	begin := waysInto[compute.Running].make
	if missing == "" && o.answered() {
		begin = (*env).reachable
	}
	inst := begin(e)
	err := e.returns(o.name, func() error { return o.do(e.ctx, e, inst) })
	if missing == "" {
		require.False(e, isUnsupported(err), "it is declared: %v", err)
		return
	}
	re := e.fails(err, errors.ErrUnsupported)
	require.Equal(e, inst.ID(), re.Ref.ID)
	e.inState(inst, compute.Running)
}

func accessors(e *env) {
	require.NotNil(e, e.p.Instances())
	require.NotNil(e, e.p.Images())
	require.NotNil(e, e.p.Volumes())
	require.NotNil(e, e.p.Networks())
}

func undeclaredExecParts(e *env) {
	inst := e.reachable()
	for feature, set := range map[resource.Feature]func(*compute.ExecSpec){
		compute.FeatureExecTTY:   func(s *compute.ExecSpec) { s.Process.TTY = true },
		compute.FeatureExecUser:  func(s *compute.ExecSpec) { s.Process.User = "0" },
		compute.FeatureExecStdin: func(s *compute.ExecSpec) { s.Stdin = strings.NewReader("") },
	} {
		spec := guestExec("exit", "0")
		set(&spec)
		x, err := e.launch(e.ctx, inst, spec)
		if e.offers(feature) {
			require.NoError(e, err, "%s is declared", feature)
			_, err = x.Wait(e.ctx)
			require.NoError(e, err)
			continue
		}
		e.fails(err, errors.ErrUnsupported)
	}
}

// offered requires calls to be Unsupported just where their need is not met.
func (e *env) offered(operations []providerOperation) {
	e.Helper()
	for _, o := range operations {
		err := o.do(e.ctx, e, e.p)
		for _, n := range o.needs {
			if e.missing(n) != "" {
				e.fails(err, errors.ErrUnsupported)
			} else {
				require.False(e, isUnsupported(err), "%s: %v", o.name, err)
			}
		}
	}
}

func undeclaredImages(e *env) {
	var calls []providerOperation
	for _, o := range imageOperations() {
		if o.name != "delete an image" {
			calls = append(calls, o)
		}
	}
	e.offered(calls)
}

func undeclaredVolumes(e *env)  { e.offered(volumeOperations()) }
func undeclaredNetworks(e *env) { e.offered(networkOperations()) }

func undeclaredKinds(e *env) {
	for _, kind := range []compute.Kind{compute.VM, compute.Container} {
		if _, ok := e.s.offer.desc.Kinds[kind]; ok {
			continue
		}
		spec := e.spec("web", "sleep", "1h")
		spec.Kind = kind
		_, err := e.instances().Create(e.ctx, spec)
		e.failsField(err, errors.ErrUnsupported, "kind")
	}
	require.Empty(e, e.names(e.instances(), compute.Filter{}))
}
