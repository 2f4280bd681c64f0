package testimage_test

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"os"

	testimage "github.com/univirt/univirt/providers/providertest/image"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
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

// A Docker archive has no manifest: its image is known by its configuration.
func ExampleWriteDocker() {
	image, err := testimage.Data(testimage.Options{Layers: 2, LayerSize: 1 << 10})
	if err != nil {
		log.Fatal(err)
	}
	var saved bytes.Buffer
	if err := testimage.WriteDocker(&saved, "example.test/demo:v1", image); err != nil {
		log.Fatal(err)
	}
	open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(saved.Bytes())), nil }
	list, err := tarball.LoadManifest(open)
	if err != nil {
		log.Fatal(err)
	}
	for _, entry := range list {
		fmt.Println(entry.RepoTags, len(entry.Layers), "layers")
	}
	// Output: [example.test/demo:v1] 2 layers
}
