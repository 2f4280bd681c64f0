// Command quickstart shows the life of an instance through the portable API:
// its image comes in, it is created and started, its output is followed, a
// command is run in it, its counters are read, and it is removed.
//
//	go run ./examples/quickstart -provider fake:
//	go run ./examples/quickstart -provider containerd:
//	go run ./examples/quickstart -provider containerd: -archive busybox.tar -format docker-archive
//
// Only the provider's URL decides whether this happens in memory or on a real
// daemon.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	_ "github.com/univirt/univirt/providers/containerd"
	"github.com/univirt/univirt/resource"
)

func main() {
	url := flag.String("provider", "fake:", "URL of the provider: fake:, containerd:, ...")
	image := flag.String("image", "docker.io/library/busybox:latest", "image to run; it needs a shell")
	archive := flag.String("archive", "", "file to import the image from, instead of pulling it")
	format := flag.String("format", string(compute.OCIArchive), "format of the archive: oci-archive or docker-archive")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := quickstart(ctx, *url, source{*image, *archive, compute.ImageFormat(*format)}); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
	fmt.Print(`
Read next:
  README.md                                  what there is, and what each provider can do
  examples/quickstart/main.go                what you have just seen
  go doc github.com/univirt/univirt/compute  the API; examples are in compute/example*_test.go
`)
}

// source is where the image comes from: a registry, or an archive if there is one.
type source struct {
	image, archive string
	format         compute.ImageFormat
}

func (s source) bring(ctx context.Context, images compute.Images, progress resource.ProgressFunc) (compute.Image, error) {
	if s.archive == "" {
		return compute.EnsureImage(ctx, images, s.image, compute.PullOptions{Progress: progress})
	}
	imported, err := compute.ImportFile(ctx, images, s.archive, s.format, compute.ImportOptions{Name: s.image, Progress: progress})
	if err != nil {
		return compute.Image{}, err
	}
	return imported[0], nil
}

func quickstart(ctx context.Context, url string, from source) (err error) {
	p, err := open(ctx, url)
	if err != nil {
		return err
	}
	defer p.Close()

	about, err := p.Describe(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("provider   %s, %s %s\n", about.Provider, about.Backend.Name, about.Backend.Version)

	// The image.
	bar := newProgressBar(os.Stdout)
	img, err := from.bring(ctx, p.Images(), bar.show)
	bar.done()
	if err != nil {
		return err
	}
	fmt.Printf("image      %s, %s\n", img.Ref.Name, img.Ref.ID)

	// The instance. What this process leaves behind by accident, the next sweep
	// removes: it is ephemeral.
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name:      "quickstart",
		Image:     from.image,
		Process:   compute.Process{Command: []string{"/bin/sh", "-c", script}},
		Resources: compute.Resources{CPUs: 0.5, Memory: 64 * resource.MiB},
		Lifetime:  resource.Ephemeral,
		Labels:    resource.Labels{"example": "quickstart"},
	})
	if err != nil {
		return err
	}
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), compute.CleanupTimeout)
		defer cancel()
		if deleteErr := inst.Delete(clean, compute.DeleteOptions{Force: true}); err == nil {
			err = deleteErr
		}
		if err == nil {
			fmt.Println("removed    nothing is left")
		}
	}()
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	info, err := inst.Info(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("started    %s, a %s, is %s\n", info.Ref.Name, info.Kind, info.State)

	// Its output, until the first five lines have come.
	lines := 0
	for line, err := range compute.Logs(ctx, inst, compute.LogOptions{Follow: true}) {
		if err != nil {
			return err
		}
		fmt.Printf("logs       %s  %s\n", line.Time.Format("15:04:05.000"), line.Text)
		if lines++; lines == 5 {
			break
		}
	}

	// A command in it.
	out, err := compute.Output(ctx, inst, "/bin/hostname")
	if err != nil {
		return err
	}
	fmt.Printf("exec       hostname says %q\n", out)

	// Its counters: a rate needs two samples.
	before, err := sample(ctx, p, inst)
	if err != nil {
		return err
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(time.Second):
	}
	after, err := sample(ctx, p, inst)
	if err != nil {
		return err
	}
	if rate, ok := compute.RateOf(before, after); ok {
		fmt.Printf("stats      %.1f%% of a core, %s of memory, %d processes\n",
			100*rate.CPUs, resource.FormatSize(after.Memory.Usage), after.PIDs)
	}

	// It is asked to stop before it is removed, and says how it ended.
	if err := inst.Stop(ctx, compute.StopOptions{Grace: 2 * time.Second}); err != nil {
		return err
	}
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	if err != nil {
		return err
	}
	fmt.Printf("stopped    with %s after %s\n", exit, exit.Finished.Sub(exit.Started).Round(time.Millisecond))
	return nil
}

// script is what the instance runs: it says something, and ends when asked to.
const script = `trap "echo goodbye; exit 0" TERM
n=1
while :; do
	echo "hello from $(hostname), line $n"
	n=$((n+1))
	sleep 0.2
done`

func sample(ctx context.Context, p univirt.Provider, inst compute.Instance) (compute.Stats, error) {
	for stats, err := range p.Instances().Stats(ctx, compute.Filter{IDs: []string{inst.ID()}}) {
		return stats, err
	}
	return compute.Stats{}, fmt.Errorf("no counters of %s", inst.ID())
}
