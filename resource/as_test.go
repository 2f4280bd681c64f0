package resource_test

import (
	"errors"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/resource"
)

type base interface{ ID() string }

type pauser interface {
	base
	Pause() string
}

type plain struct{}

func (plain) ID() string { return "plain" }

type pausing struct{ plain }

func (pausing) Pause() string { return "pausing" }

// wrapper wraps without an extension of its own.
type wrapper struct{ base }

func (w wrapper) Unwrap() base { return w.base }

// interceptor wraps and has the extension itself.
type interceptor struct{ wrapper }

func (interceptor) Pause() string { return "interceptor" }

// other wraps something else than what is looked into.
type other struct{ plain }

func (other) Unwrap() error { return nil }

func TestAs(t *testing.T) {
	deep := func(inner base, depth int) base {
		for range depth {
			inner = wrapper{inner}
		}
		return inner
	}
	for name, c := range map[string]struct {
		in   base
		want string
	}{
		"itself":              {pausing{}, "pausing"},
		"wrapped":             {wrapper{pausing{}}, "pausing"},
		"wrapped deep":        {deep(pausing{}, 1000), "pausing"},
		"intercepted":         {interceptor{wrapper{pausing{}}}, "interceptor"},
		"intercepted inside":  {deep(interceptor{wrapper{pausing{}}}, 3), "interceptor"},
		"absent":              {plain{}, ""},
		"absent deep":         {deep(plain{}, 1000), ""},
		"wraps nothing":       {wrapper{}, ""},
		"wraps another thing": {other{}, ""},
		"nil":                 {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			p, ok := resource.As[pauser](c.in)
			assert.Equal(t, c.want != "", ok)
			if ok {
				assert.Equal(t, c.want, p.Pause())
			} else {
				assert.Nil(t, p)
			}
		})
	}
	concrete, ok := resource.As[pausing](deep(pausing{}, 2))
	assert.True(t, ok, "a concrete type is found too")
	assert.Equal(t, "pausing", concrete.Pause())
}

func TestCollect(t *testing.T) {
	broken := errors.New("broken")
	stream := func(fail error, items ...int) iter.Seq2[int, error] {
		return func(yield func(int, error) bool) {
			for _, item := range items {
				if !yield(item, nil) {
					return
				}
			}
			if fail != nil {
				assert.False(t, yield(0, fail), "nothing is read behind the error")
			}
		}
	}
	for _, c := range []struct {
		items []int
		err   error
	}{{nil, nil}, {[]int{1, 2}, nil}, {[]int{1, 2}, broken}, {nil, broken}} {
		got, err := resource.Collect(stream(c.err, c.items...))
		assert.Equal(t, c.items, got)
		assert.Equal(t, c.err, err)
	}
}
