package testimage_test

import (
	"fmt"
	"io"
	"log"

	testimage "github.com/univirt/univirt/providers/providertest/image"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

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
