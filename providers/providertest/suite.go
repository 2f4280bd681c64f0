package providertest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// owner is the name that the suite's resources are marked with.
const owner = "providertest"

// suite is one run of the cases on one harness.
type suite struct {
	h     Harness
	offer offer
	// id makes the namespaces of this run differ from those of others on the
	// same backend.
	id string
	// neighbours returns instances on networks that cases share.
	neighbours func() (neighbourhood, error)
	lanes      *lanes
	// shared, told and talking return instances that cases share: one that answers,
	// one whose program has ended, and one whose program waits.
	shared, told, talking func() (resource.Ref, error)
	workshop              *workshop
}

// newSuite asks the provider what it offers. What it opens is closed by close.
func newSuite(ctx context.Context, h Harness) (*suite, error) {
	h, err := h.completed()
	if err != nil {
		return nil, err
	}
	s := &suite{h: h, id: resource.NewID()[:8]}
	p, err := h.Open(ctx, OpenOptions{Namespace: s.namespace(), Owner: owner})
	if err != nil {
		return nil, fmt.Errorf("open the provider: %w", err)
	}
	defer func() { _ = p.Close() }()
	if err := accessible(p); err != nil {
		return nil, err
	}
	desc, err := p.Describe(ctx)
	if err != nil {
		return nil, fmt.Errorf("describe the provider: %w", err)
	}
	kind := h.Kind
	if kind == "" {
		kind = desc.DefaultKind
	}
	if _, ok := desc.Kinds[kind]; !ok {
		return nil, fmt.Errorf("the provider declares nothing for the kind %q", kind)
	}
	s.neighbours = s.shareNeighbours()
	s.offer = offer{kind: kind, desc: desc, hooks: h.hooks(), extensions: extensionsOf(p)}
	s.lanes = newLanes(s)
	s.workshop = newWorkshop(s)
	s.shared = s.share(traits{}, s.answers, "sleep", "1h")
	s.told = s.share(traits{idle: true}, func(ctx context.Context, inst compute.Instance) error {
		_, err := inst.Wait(ctx, compute.WaitOptions{})
		return err
	}, "lines", "10", "0s")
	s.talking = s.share(traits{idle: true}, func(context.Context, compute.Instance) error { return nil }, "signals")
	return s, nil
}

// answers waits until an instance answers.
func (s *suite) answers(ctx context.Context, inst compute.Instance) error {
	_, err := compute.WaitFor(ctx, inst, compute.LevelAgent)
	return err
}

// share makes an instance that cases share, in a namespace of its own, when the
// first asks for it.
func (s *suite) share(t traits, ready func(context.Context, compute.Instance) error, program ...string) func() (resource.Ref, error) {
	return sync.OnceValues(func() (resource.Ref, error) {
		_, ref, err := s.inhabited(t, ready, program...)
		return ref, err
	})
}

// inhabited makes a namespace with an instance that runs, which are of no case.
func (s *suite) inhabited(t traits, ready func(context.Context, compute.Instance) error, program ...string) (l *lane, ref resource.Ref, err error) {
	unlabelled(func() { l, ref, err = s.inhabit(t, ready, program...) })
	return l, ref, err
}

func (s *suite) inhabit(t traits, ready func(context.Context, compute.Instance) error, program ...string) (*lane, resource.Ref, error) {
	ctx, cancel := context.WithTimeout(context.Background(), s.h.Patience)
	defer cancel()
	l, err := s.newLane(ctx)
	if err != nil {
		return nil, resource.Ref{}, err
	}
	s.lanes.add(l)
	inst, err := l.janitor.Instances().Create(ctx, (&env{s: s, traits: t}).spec("shared", program...))
	if err == nil {
		err = inst.Start(ctx, compute.StartOptions{})
	}
	if err == nil {
		err = ready(ctx, inst)
	}
	if err != nil {
		return nil, resource.Ref{}, err
	}
	info, err := inst.Info(ctx)
	return l, info.Ref, err
}

// close ends the suite: what the lanes hold.
func (s *suite) close(t T) {
	t.Helper()
	if err := s.lanes.close(); err != nil {
		t.Errorf("close the lanes: %v", err)
	}
}

// namespace returns a name that no namespace has.
func (s *suite) namespace() string {
	return "test-" + s.id + "-" + resource.NewID()[:8]
}

// missing says why a case must be left out, or returns "".
func (s *suite) missing(c testCase) string {
	var reasons []string
	for _, n := range c.needs {
		if reason := s.offer.missing(n); reason != "" {
			reasons = append(reasons, reason)
		}
	}
	return strings.Join(reasons, "; ")
}

// run runs one case in a lane of its own. It says why the case was left out after
// all, or returns "".
func (s *suite) run(t T, c testCase) (left string) {
	t.Helper()
	ctx := context.Background()
	l, err := s.lanes.take(ctx)
	if err != nil {
		t.Errorf("prepare a namespace: %v", err)
		t.FailNow()
	}
	defer s.lanes.give(l)
	before, err := l.inventory(ctx)
	if err != nil {
		t.Errorf("inventory before the case: %v", err)
		t.FailNow()
	}
	e := newEnv(t, s, l)
	e.traits = traitsOf()[c.name]
	// A failed case leaves by runtime.Goexit: what follows must be deferred.
	defer func() {
		e.finish()
		l.check(t, before)
		if e.shop != nil {
			e.shop.leave(t)
		}
		if t.Failed() {
			l.spoilt = true
		}
	}()
	e.labelled(func() {
		e.p = e.open(OpenOptions{})
		left = e.unlessLeftOut(c.run)
	})
	return left
}

// isUnsupported reports whether the error says that the provider never does
// what was asked.
func isUnsupported(err error) bool { return errors.Is(err, errors.ErrUnsupported) }

// kindOf returns what the instances of the suite are.
func (s *suite) kind() compute.Kind { return s.offer.kind }
