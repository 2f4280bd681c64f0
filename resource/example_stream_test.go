package resource_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

// For those who want a slice and not a loop.
func ExampleCollect() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	for _, name := range []string{"web-1", "web-2"} {
		if _, err := p.Instances().Create(ctx, compute.Spec{Name: name, Image: "nginx"}); err != nil {
			log.Fatal(err)
		}
	}
	all, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
	fmt.Println(len(all), err)
	// Output: 2 <nil>
}

// counted is a wrapper that knows of Start only.
type counted struct {
	compute.Instance
	starts int
}

func (c *counted) Start(ctx context.Context, opts compute.StartOptions) error {
	c.starts++
	return c.Instance.Start(ctx, opts)
}

func (c *counted) Unwrap() compute.Instance { return c.Instance }

// A wrapper hides no extension of what it wraps.
func ExampleAs() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "nginx"})
	if err != nil {
		log.Fatal(err)
	}
	wrapped := &counted{Instance: inst}
	if err := wrapped.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	pauser, ok := resource.As[compute.Pauser](compute.Instance(wrapped))
	if !ok {
		log.Fatal(errors.ErrUnsupported)
	}
	fmt.Println(pauser.Pause(ctx), wrapped.starts)
	// Output: <nil> 1
}
