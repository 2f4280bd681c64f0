package testregistry_test

import (
	"fmt"
	"log"
	"net/http"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

func ExampleRegistry_Inject() {
	r, err := testregistry.New()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	image, err := testimage.Data(testimage.Options{Layers: 1, LayerSize: 1 << 10})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.Push("app:v1", image); err != nil {
		log.Fatal(err)
	}
	r.Inject(testregistry.Fault{
		On: testregistry.Manifests, Effect: testregistry.Status(http.StatusBadGateway), Times: 2})
	for range 3 {
		resp, err := http.Get("http://" + r.Host() + "/v2/app/manifests/v1")
		if err != nil {
			log.Fatal(err)
		}
		resp.Body.Close()
		fmt.Println(resp.Status)
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 502 Bad Gateway
	// 502 Bad Gateway
	// 200 OK
}

// A layer that is damaged on its way is noticed by its digest. In a test, Test closes
// the registry by itself.
func ExampleCorrupt() {
	r, err := testregistry.New()
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	image, err := testimage.Data(testimage.Options{Layers: 1, LayerSize: 1 << 10})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := r.Push("app:v1", image); err != nil {
		log.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		log.Fatal(err)
	}
	layer := manifest.Layers[0].Digest
	r.Inject(testregistry.Fault{On: testregistry.Blobs, Effect: testregistry.Corrupt(), Times: 1})
	for range 2 {
		resp, err := http.Get("http://" + r.Host() + "/v2/app/blobs/" + layer.String())
		if err != nil {
			log.Fatal(err)
		}
		got, _, err := v1.SHA256(resp.Body)
		resp.Body.Close()
		fmt.Println(resp.Status, got == layer, err)
	}
	http.DefaultClient.CloseIdleConnections()
	// Output:
	// 200 OK false <nil>
	// 200 OK true <nil>
}
