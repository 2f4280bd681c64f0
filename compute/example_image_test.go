package compute_test

import (
	"bytes"
	"context"
	"fmt"
	"log"
	"os"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
)

// The second call finds the image, and asks no registry.
func ExampleEnsureImage() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	first, err := compute.EnsureImage(ctx, p.Images(), "nginx:1.27", compute.PullOptions{})
	if err != nil {
		log.Fatal(err)
	}
	second, err := compute.EnsureImage(ctx, p.Images(), "nginx:1.27", compute.PullOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first.Names, first.Platform)
	fmt.Println(first.Ref.ID == second.Ref.ID)
	// Output:
	// [docker.io/library/nginx:1.27] linux/amd64
	// true
}

// An image is carried to where no registry can be reached.
func ExampleImages() {
	ctx := context.Background()
	here, there := fake.New(fake.Options{}), fake.New(fake.Options{})
	defer here.Close()
	defer there.Close()
	if _, err := compute.EnsureImage(ctx, here.Images(), "nginx:1.27", compute.PullOptions{}); err != nil {
		log.Fatal(err)
	}
	var archive bytes.Buffer
	if err := here.Images().Export(ctx, &archive, []string{"nginx:1.27"}, compute.ExportOptions{}); err != nil {
		log.Fatal(err)
	}
	images, err := there.Images().Import(ctx, compute.ImageSource{Reader: &archive, Format: compute.OCIArchive}, compute.ImportOptions{})
	if err != nil {
		log.Fatal(err)
	}
	for _, image := range images {
		fmt.Println(image.Ref.Name)
	}
	// Output: docker.io/library/nginx:1.27
}

// Where no registry can be reached, an image comes in a file: what "docker save -o"
// wrote (compute.DockerArchive), or another provider's Export.
func ExampleImportFile() {
	ctx := context.Background()
	online, offline := fake.New(fake.Options{}), fake.New(fake.Options{})
	defer online.Close()
	defer offline.Close()
	archive, err := os.CreateTemp("", "nginx-*.tar")
	if err != nil {
		log.Fatal(err)
	}
	defer os.Remove(archive.Name())
	defer archive.Close()
	if _, err := online.Images().Pull(ctx, "nginx:1.27", compute.PullOptions{}); err != nil {
		log.Fatal(err)
	}
	if err := online.Images().Export(ctx, archive, []string{"nginx:1.27"}, compute.ExportOptions{}); err != nil {
		log.Fatal(err)
	}

	images, err := compute.ImportFile(ctx, offline.Images(), archive.Name(), compute.OCIArchive, compute.ImportOptions{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(images[0].Names)
	// Output: [docker.io/library/nginx:1.27]
}

// Fit for a form: the reason is a sentence's end, and empty where all is well.
func ExampleCheckImageReference() {
	for _, text := range []string{"nginx:1.27", "nginx:", "Nginx"} {
		fmt.Printf("%q %q\n", text, compute.CheckImageReference(text))
	}
	// Output:
	// "nginx:1.27" ""
	// "nginx:" "has a malformed tag: \"nginx:\""
	// "Nginx" "has a malformed repository: \"Nginx\""
}
