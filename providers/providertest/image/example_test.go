package testimage_test

import (
	"fmt"
	"io"
	"log"
	"os"

	testimage "github.com/univirt/univirt/providers/providertest/image"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// An image with a shell is made where no registry can be reached; then
//
//	compute.ImportFile(ctx, p.Images(), "busybox.tar", compute.OCIArchive, compute.ImportOptions{})
func ExampleBusybox() {
	image, err := testimage.Busybox(testimage.Options{})
	if err != nil {
		log.Fatal(err)
	}
	file, err := os.Create("busybox.tar")
	if err != nil {
		log.Fatal(err)
	}
	if err := testimage.WriteOCI(file, "docker.io/library/busybox:latest", image); err != nil {
		log.Fatal(err)
	}
	if err := file.Close(); err != nil {
		log.Fatal(err)
	}
}

func ExampleWriteOCI() {
	image, err := testimage.Data(testimage.Options{
		Files:  map[string][]byte{"/etc/motd": []byte("hello\n")},
		Config: v1.Config{User: testimage.User, Labels: map[string]string{"role": "demo"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := testimage.WriteOCI(io.Discard, "example.test/demo:v1", image); err != nil {
		log.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(config.Config.User, config.Config.Labels)
	// Output: user map[role:demo]
}
