package compute_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"log"
	"testing/fstest"

	"github.com/univirt/univirt/compute"
)

// What is copied is a tar archive; tar.Writer.AddFS makes one of a directory.
func ExampleCopyIn() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "web", Image: "nginx"})
	defer p.Close()

	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.AddFS(fstest.MapFS{"motd": {Data: []byte("welcome\n"), Mode: 0o644}}); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	if err := compute.CopyIn(ctx, inst, "/etc", &archive, compute.CopyOptions{NoOwner: true}); err != nil {
		log.Fatal(err)
	}
	files, err := compute.Files(ctx, inst)
	if err != nil {
		log.Fatal(err)
	}
	text, err := fs.ReadFile(files, "etc/motd")
	fmt.Printf("%s%v\n", text, err)
	// Output:
	// welcome
	// <nil>
}

func ExampleCopyOut() {
	ctx := context.Background()
	p, inst := start(compute.Spec{
		Name: "web", Image: "nginx",
		Files: []compute.File{{Path: "/etc/motd", Data: []byte("welcome")}},
	})
	defer p.Close()
	archive, err := compute.CopyOut(ctx, inst, "/etc/motd", compute.CopyOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer archive.Close()
	r := tar.NewReader(archive)
	for {
		header, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			log.Fatal(err)
		}
		data, err := io.ReadAll(r)
		fmt.Printf("%s: %s %v\n", header.Name, data, err)
	}
	// Output: motd: welcome <nil>
}

// Everything that reads an fs.FS reads an instance.
func ExampleFiles() {
	ctx := context.Background()
	p, inst := start(compute.Spec{
		Name: "web", Image: "nginx",
		Files: []compute.File{
			{Path: "/etc/app/a.conf", Data: []byte("listen 80")},
			{Path: "/etc/app/b.conf", Data: []byte("listen 443")},
		},
	})
	defer p.Close()
	files, err := compute.Files(ctx, inst)
	if err != nil {
		log.Fatal(err)
	}
	names, err := fs.Glob(files, "etc/app/*.conf")
	fmt.Println(names, err)
	data, err := fs.ReadFile(files, "etc/app/a.conf")
	fmt.Printf("%s %v\n", data, err)
	// Output:
	// [etc/app/a.conf etc/app/b.conf] <nil>
	// listen 80 <nil>
}
