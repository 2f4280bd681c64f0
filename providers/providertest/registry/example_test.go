package testregistry_test

import (
	"fmt"
	"log"
	"net/http"

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
