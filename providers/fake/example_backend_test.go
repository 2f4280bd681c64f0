package fake_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/libvirt"
	"github.com/univirt/univirt/resource"
)

// The options say how large the host is.
func ExampleNew() {
	ctx := context.Background()
	p := fake.New(fake.Options{Capacity: fake.Capacity{Memory: 1 * resource.GiB}})
	defer p.Close()
	for _, name := range []string{"one", "two"} {
		inst, err := p.Instances().Create(ctx, compute.Spec{
			Name: name, Image: "nginx", Resources: compute.Resources{Memory: 768 * resource.MiB},
		})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(inst.Start(ctx, compute.StartOptions{}))
	}
	// Output:
	// <nil>
	// start instance "two": resources.memory: the host has 256MiB of memory left
}

// A supervisor begins another run when one has failed. In a testing/synctest bubble
// the waits between them take no time.
func ExampleOptions_supervised() {
	ctx := context.Background()
	p := fake.New(fake.Options{Supervised: true, Programs: map[string]fake.Program{
		"job": func(context.Context, *fake.Process) int { return 1 },
	}})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "job", Image: "job",
		Restart: compute.RestartPolicy{Mode: compute.RestartOnFailure, MaxRetries: 2, Backoff: time.Millisecond},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	for _, err := range p.Watch(ctx, resource.WatchOptions{}) {
		if err != nil {
			log.Fatal(err)
		}
		info, err := inst.Info(ctx)
		if err != nil {
			log.Fatal(err)
		}
		if info.Runs == 3 && info.State == compute.Stopped {
			fmt.Println(info.Runs, "runs")
			break
		}
	}
	// Output: 3 runs
}

// printer is a *testing.T that prints.
type printer struct {
	failed  bool
	cleanup []func()
}

func (r *printer) Helper()                   {}
func (r *printer) Name() string              { return "TestDeploy" }
func (r *printer) Failed() bool              { return r.failed }
func (r *printer) Cleanup(f func())          { r.cleanup = append(r.cleanup, f) }
func (r *printer) Logf(string, ...any)       {}
func (r *printer) Fatalf(f string, a ...any) { log.Fatalf(f, a...) }
func (r *printer) Errorf(format string, args ...any) {
	r.failed = true
	fmt.Printf(format+"\n", args...)
}

// Test fails a test that leaves something behind, where the options ask for it.
// t is the test's *testing.T; here it is one that prints.
func ExampleTest() {
	t := &printer{}
	p := fake.Test(t, fake.Options{RequireEmpty: true})
	if err := Deploy(context.Background(), p); err != nil {
		t.Fatalf("deploy: %v", err)
	}
	for _, f := range t.cleanup { // the end of the test
		f()
	}
	// Output: fake: the test left behind fake:default/instance/web (a1790d67-85b1-4a55-8fc6-2c674cdc25b3)
}

// A published port is reached as by a program on the host, without a socket.
func ExampleBackend_Dial() {
	ctx := context.Background()
	listening := make(chan struct{})
	p := fake.New(fake.Options{Programs: map[string]fake.Program{"web": func(_ context.Context, p *fake.Process) int {
		listener, err := p.Listen("tcp", ":80")
		if err != nil {
			return 1
		}
		close(listening)
		conn, err := listener.Accept()
		if err != nil {
			return 1
		}
		fmt.Fprint(conn, "hello from ", p.Hostname())
		_ = conn.Close()
		return 0
	}}})
	defer p.Close()
	if _, err := p.Networks().Create(ctx, network.Spec{Name: "lan"}); err != nil {
		log.Fatal(err)
	}
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name: "shop", Image: "web", Networks: []compute.NetworkAttachment{{Network: "lan"}},
		Ports: []network.Port{{Instance: 80, Publish: true, Host: 8080}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		log.Fatal(err)
	}
	<-listening
	conn, err := p.Backend().Dial(ctx, "tcp", "localhost:8080")
	if err != nil {
		log.Fatal(err)
	}
	text, err := io.ReadAll(conn)
	fmt.Println(string(text), err)
	// Output: hello from shop <nil>
}

// What another tool has made is listed on request only.
func ExampleBackend_PlantForeign() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	if _, err := p.Backend().PlantForeign("", compute.Spec{Name: "legacy", Image: "nginx"}); err != nil {
		log.Fatal(err)
	}
	mine, err := resource.Collect(p.Instances().List(ctx, compute.Filter{}))
	fmt.Println(len(mine), err)
	all, err := resource.Collect(p.Instances().List(ctx, compute.Filter{Unmanaged: true}))
	fmt.Println(len(all), err)
	// Output:
	// 0 <nil>
	// 1 <nil>
}

// A tag is moved while instances of the old image exist.
func ExampleBackend_Push() {
	ctx := context.Background()
	said := func(text string) fake.Image {
		return fake.Image{
			Name:   "example.test/app:stable",
			Config: compute.ImageConfig{Cmd: []string{"echo", text}},
		}
	}
	p := fake.New(fake.Options{Images: []fake.Image{said("old")}})
	defer p.Close()
	var out strings.Builder
	for _, name := range []string{"first", "second"} {
		_, err := compute.Run(ctx, p.Instances(), compute.Spec{
			Name: name, Image: "example.test/app:stable", Pull: compute.PullAlways,
		}, compute.RunOptions{Stdout: &out})
		if err != nil {
			log.Fatal(err)
		}
		if err := p.Backend().Push(said("new")); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Print(out.String())
	// Output:
	// old
	// new
}

// A state to which no operation leads.
func ExampleProvider_Break() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	inst, err := p.Instances().Create(ctx, compute.Spec{Name: "web", Image: "nginx"})
	if err != nil {
		log.Fatal(err)
	}
	if err := p.Break("web", compute.Failed, "its disk is gone"); err != nil {
		log.Fatal(err)
	}
	fmt.Println(inst.Start(ctx, compute.StartOptions{}))
	// Output: start instance "web": the instance is failed, and must be stopped or suspended
}

// A watch whose daemon is gone for a while.
func ExampleProvider_Interrupt() {
	p := fake.New(fake.Options{})
	defer p.Close()
	if _, err := p.Instances().Create(context.Background(), compute.Spec{Name: "web", Image: "nginx"}); err != nil {
		log.Fatal(err)
	}
	synced := 0
	for event, err := range p.Watch(context.Background(), resource.WatchOptions{Kinds: []resource.Kind{resource.KindInstance}}) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(event.Type, event.Ref.Name, event.Err)
		if event.Type == resource.EventSynced {
			if synced++; synced == 2 {
				break
			}
			p.Interrupt("the daemon was started anew")
		}
	}
	// Output:
	// added web <nil>
	// synced  <nil>
	// gap  the daemon was started anew
	// added web <nil>
	// synced  <nil>
}

// What a program does when a pull takes longer than it is willing to wait.
func ExampleLatency() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	p := fake.New(fake.Options{Latency: fake.Latency{
		fake.OpPull:   fake.Exactly(time.Hour),
		fake.OpCreate: fake.Between(20*time.Millisecond, 80*time.Millisecond),
	}})
	defer p.Close()
	_, err := p.Images().Pull(ctx, "nginx", compute.PullOptions{})
	fmt.Println(err)
	// Output: pull image "nginx": context deadline exceeded
}

// A program is tried with the first call of each operation failing in turn: it
// must tell of each that it makes.
func ExampleOps() {
	job := func(op fake.Op) error {
		p := fake.New(fake.Options{})
		defer p.Close()
		p.Fail(fake.On(op).Nth(1).With(errdefs.ErrUnavailable))
		_, err := compute.Run(context.Background(), p.Instances(), compute.Spec{
			Name: "job", Image: "busybox", Process: compute.Process{Command: []string{"true"}},
		}, compute.RunOptions{Stdout: io.Discard})
		return err
	}
	for _, op := range fake.Ops() {
		if err := job(op); err != nil {
			fmt.Printf("%s: %v\n", op, err)
		}
	}
	// Output:
	// instance/create: create instance "job": injected fault: unavailable
	// instance/info: info instance "job": injected fault: unavailable
	// instance/start: start instance "job": injected fault: unavailable
	// instance/wait: wait instance "job": injected fault: unavailable
	// instance/delete: run instance "job": delete instance "job": injected fault: unavailable
	// instance/logs: logs instance "job": injected fault: unavailable
	// image/pull: create instance "job": injected fault: unavailable
}

// What another provider refuses can be refused here too, so that a test fails where
// production would.
func ExampleOptions_fields() {
	p := fake.New(fake.Options{Fields: map[compute.Kind]resource.FieldTable{compute.VM: libvirt.Fields()}})
	defer p.Close()
	_, err := p.Instances().Create(context.Background(), compute.Spec{
		Name: "web", Kind: compute.VM, Image: "debian:12", Hostname: "web", StopGrace: time.Minute,
	})
	fmt.Println(err)
	// Output: create instance "web": hostname: is not supported: a machine runs what its image starts: say it by cloudInit.userData, or by compute.Exec when it runs
}
