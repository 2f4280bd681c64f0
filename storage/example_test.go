package storage_test

import (
	"context"
	"fmt"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func ExampleSpec_Validate() {
	fmt.Println(storage.Spec{Name: "data", Mode: storage.Block}.Validate().Err())
	fmt.Println(storage.Spec{Name: "data", Mode: storage.Block, Size: 10 * resource.GiB}.Validate().Err())
	// Output:
	// size: is required for a block volume
	// <nil>
}

func ExampleAbsent() {
	volumes := storage.Absent("this provider has no storage")
	_, err := volumes.Create(context.Background(), storage.Spec{Name: "data"})
	fmt.Println(err)
	// Output: create volume "data": volumes is not supported: this provider has no storage
}
