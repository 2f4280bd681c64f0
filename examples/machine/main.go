// Command machine shows the life of a virtual machine through the portable API: a
// disk image comes in, a machine boots from it with its user data, is on a network
// with an address, runs commands, is snapshotted, set back, and removed.
//
//	go run -tags libvirt_dlopen ./examples/machine -disk debian.qcow2
//	go run -tags libvirt_dlopen ./examples/machine -disk debian.qcow2 -provider 'libvirt:?managed=/var/lib/machines/lab'
//
// The image's system must read the seed disk of cloud-init and run
// qemu-guest-agent, as the cloud images of the distributions do or can be made to.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/univirt/univirt"
	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	_ "github.com/univirt/univirt/providers/libvirt"
	"github.com/univirt/univirt/resource"
)

func main() {
	url := flag.String("provider", "libvirt:", "URL of the provider")
	disk := flag.String("disk", "", "qcow2 image to boot; required")
	flag.Parse()
	if *disk == "" {
		fmt.Fprintln(os.Stderr, "machine: -disk is required")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := show(ctx, *url, *disk); err != nil {
		fmt.Fprintln(os.Stderr, "machine:", err)
		os.Exit(1)
	}
}

const imageName = "localhost/example-machine:latest"

func show(ctx context.Context, url, disk string) (err error) {
	p, err := univirt.Open(ctx, url)
	if err != nil {
		return err
	}
	defer p.Close()
	about, err := p.Describe(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("provider   %s, %s %s, acceleration: %s\n", about.Provider, about.Backend.Name, about.Backend.Version, about.Backend.Details["acceleration"])

	// What is made here goes again, in the opposite order.
	var cleanups []func(context.Context) error
	defer func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		for n := len(cleanups) - 1; n >= 0; n-- {
			err = errors.Join(err, cleanups[n](clean))
		}
		if err == nil {
			fmt.Println("removed    nothing is left")
		}
	}()

	// The image.
	began := time.Now()
	imported, err := compute.ImportFile(ctx, p.Images(), disk, compute.QCOW2, compute.ImportOptions{Name: imageName})
	if err != nil {
		return err
	}
	cleanups = append(cleanups, func(ctx context.Context) error {
		return p.Images().Delete(ctx, imageName, compute.DeleteImageOptions{})
	})
	fmt.Printf("image      %s, %s, in %s\n", imported[0].Ref.Name, resource.FormatSize(imported[0].Size), since(began))

	// The network.
	lan, err := p.Networks().Create(ctx, network.Spec{
		Name:    "example",
		Subnets: []network.Subnet{{CIDR: netip.MustParsePrefix("10.213.64.0/24"), DHCP: true}},
	})
	if err != nil {
		return err
	}
	cleanups = append(cleanups, func(ctx context.Context) error { return lan.Delete(ctx, network.DeleteOptions{}) })
	fmt.Println("network    10.213.64.0/24, isolated")

	// The machine: its disk is an overlay of the image.
	began = time.Now()
	inst, err := p.Instances().Create(ctx, compute.Spec{
		Name:      "machine",
		Image:     imageName,
		RootDisk:  2 * resource.GiB,
		Resources: compute.Resources{CPUs: 1, Memory: 384 * resource.MiB},
		CloudInit: &compute.CloudInit{UserData: resource.NewSecret("#cloud-config\nhostname: machine\nwrite_files:\n- path: /etc/note\n  content: hello from the seed\n")},
		Networks:  []compute.NetworkAttachment{{Network: "example"}},
		Labels:    resource.Labels{"example": "machine"},
	})
	if err != nil {
		return err
	}
	cleanups = append(cleanups, func(ctx context.Context) error {
		return inst.Delete(ctx, compute.DeleteOptions{Force: true})
	})
	fmt.Printf("created    %s in %s\n", inst.ID(), since(began))

	// Its boot, step by step.
	began = time.Now()
	if err := inst.Start(ctx, compute.StartOptions{}); err != nil {
		return err
	}
	var info compute.Info
	for _, level := range []compute.Level{compute.LevelRunning, compute.LevelAgent, compute.LevelAddress} {
		if info, err = compute.WaitFor(ctx, inst, level); err != nil {
			return err
		}
		fmt.Printf("boot       %s %-8s %s\n", strings.Repeat("#", 5*int(level)), level, since(began))
	}
	fmt.Printf("address    %s, by %s\n", info.Address(), info.Endpoints[0].Source)

	// Commands in it.
	if err := says(ctx, inst, "uname", "-sr"); err != nil {
		return err
	}
	if err := says(ctx, inst, "cat", "/etc/note"); err != nil {
		return err
	}

	// A snapshot with its memory, a change, and the way back.
	snapshots, err := compute.Snapshots(inst)
	if err != nil {
		return err
	}
	began = time.Now()
	if _, err := snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "before", Memory: true}); err != nil {
		return err
	}
	fmt.Printf("snapshot   \"before\", with memory, in %s\n", since(began))
	if _, err := compute.Output(ctx, inst, "sh", "-c", "echo changed > /etc/note"); err != nil {
		return err
	}
	if err := says(ctx, inst, "cat", "/etc/note"); err != nil {
		return err
	}
	began = time.Now()
	if err := snapshots.RevertSnapshot(ctx, "before", compute.RevertOptions{Force: true}); err != nil {
		return err
	}
	fmt.Printf("reverted   to \"before\" in %s\n", since(began))
	if _, err := compute.WaitFor(ctx, inst, compute.LevelAgent); err != nil {
		return err
	}
	if err := says(ctx, inst, "cat", "/etc/note"); err != nil {
		return err
	}

	// It is asked by its power button.
	began = time.Now()
	if err := inst.Stop(ctx, compute.StopOptions{Grace: 20 * time.Second}); err != nil {
		return err
	}
	exit, err := inst.Wait(ctx, compute.WaitOptions{})
	if err != nil {
		return err
	}
	fmt.Printf("stopped    with %s in %s\n", exit, since(began))
	return nil
}

// says runs a command in the machine and prints what it says.
func says(ctx context.Context, inst compute.Instance, command ...string) error {
	out, err := compute.Output(ctx, inst, command...)
	if err != nil {
		return err
	}
	fmt.Printf("exec       %s says %q\n", strings.Join(command, " "), strings.TrimSpace(string(out)))
	return nil
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
