package storage_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"slices"
	"testing/fstest"

	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// volume makes a volume on a fake.
func volume(spec storage.Spec) (*fake.Provider, storage.Volume) {
	p := fake.New(fake.Options{})
	v, err := p.Volumes().Create(context.Background(), spec)
	if err != nil {
		log.Fatal(err)
	}
	return p, v
}

// archive is a tar archive of one file.
func archive(name, text string) io.Reader {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.AddFS(fstest.MapFS{name: {Data: []byte(text), Mode: 0o644}}); err != nil {
		log.Fatal(err)
	}
	if err := w.Close(); err != nil {
		log.Fatal(err)
	}
	return &b
}

// The second call finds the volume, and changes what can be changed.
func ExampleEnsure() {
	ctx := context.Background()
	p := fake.New(fake.Options{})
	defer p.Close()
	spec := storage.Spec{Name: "data", Size: 1 * resource.GiB}
	first, err := storage.Ensure(ctx, p.Volumes(), spec)
	if err != nil {
		log.Fatal(err)
	}
	spec.Size = 2 * resource.GiB
	second, err := storage.Ensure(ctx, p.Volumes(), spec)
	if err != nil {
		log.Fatal(err)
	}
	info, err := second.Info(ctx)
	fmt.Println(first.ID() == second.ID(), resource.FormatSize(info.Capacity), err)
	// Output: true 2GiB <nil>
}

func ExampleResize() {
	ctx := context.Background()
	p, v := volume(storage.Spec{Name: "data", Mode: storage.Block, Size: 2 * resource.GiB})
	defer p.Close()
	fmt.Println(storage.Resize(ctx, v, 4*resource.GiB, storage.ResizeOptions{}))
	fmt.Println(storage.Resize(ctx, v, 1*resource.GiB, storage.ResizeOptions{}))
	// Output:
	// <nil>
	// resize volume "data": size: is less than the present 4GiB
}

func ExampleImport() {
	ctx := context.Background()
	p, v := volume(storage.Spec{Name: "data"})
	defer p.Close()
	err := storage.Import(ctx, v, archive("hello.txt", "hello"), storage.TransferOptions{Format: storage.Tar})
	fmt.Println(err)

	// Nothing is guessed from the content.
	err = storage.Import(ctx, v, archive("hello.txt", "hello"), storage.TransferOptions{})
	fmt.Println(resource.FaultsOf(err))
	// Output:
	// <nil>
	// format: must be "tar" or "raw"
}

// The content of a volume goes into another one, of whatever provider.
func ExampleExport() {
	ctx := context.Background()
	p, from := volume(storage.Spec{Name: "data"})
	defer p.Close()
	q, to := volume(storage.Spec{Name: "copy"})
	defer q.Close()
	opts := storage.TransferOptions{Format: storage.Tar}
	if err := storage.Import(ctx, from, archive("hello.txt", "hello"), opts); err != nil {
		log.Fatal(err)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(storage.Export(ctx, from, w, opts)) }()
	fmt.Println(storage.Import(ctx, to, r, opts))
	// Output: <nil>
}

func ExamplePools() {
	ctx := context.Background()
	p := fake.New(fake.Options{Pools: map[string]int64{"default": 100 * resource.GiB, "fast": 10 * resource.GiB}})
	defer p.Close()
	for pool, err := range storage.Pools(ctx, p.Volumes()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(pool.Name, pool.Default, resource.FormatSize(pool.Capacity))
	}
	// Output:
	// default true 100GiB
	// fast false 10GiB
}

func ExampleSnapshots() {
	ctx := context.Background()
	p, v := volume(storage.Spec{Name: "data"})
	defer p.Close()
	snapshots, err := storage.Snapshots(v)
	if err != nil {
		log.Fatal(err) // errors.ErrUnsupported where the provider has none
	}
	if _, err := snapshots.CreateSnapshot(ctx, storage.SnapshotSpec{Name: "monday"}); err != nil {
		log.Fatal(err)
	}
	for snapshot, err := range snapshots.Snapshots(ctx) {
		fmt.Println(snapshot.Ref.Name, err)
	}
	fmt.Println(snapshots.RevertSnapshot(ctx, "monday"))

	// A new volume can begin as a copy of it.
	_, err = p.Volumes().Create(ctx, storage.Spec{Name: "copy", Source: storage.Source{Volume: "data", Snapshot: "monday"}})
	fmt.Println(err)
	// Output:
	// monday <nil>
	// <nil>
	// <nil>
}

func ExampleEncode() {
	text, err := storage.Encode(storage.Spec{Name: "data", Size: 1 * resource.GiB})
	fmt.Println(string(text), err)
	spec, err := storage.Decode(text)
	fmt.Println(spec.Name, resource.FormatSize(spec.Size), err)
	// Output:
	// {"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"data","size":1073741824}} <nil>
	// data 1GiB <nil>
}

// A feature that somebody asks for by name may be misspelt, or lacking.
func ExampleFeatures() {
	p := fake.New(fake.Options{})
	defer p.Close()
	about, err := p.Describe(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, asked := range []resource.Feature{"volumes.resize", "volumes.resizing"} {
		fmt.Println(asked, slices.Contains(storage.Features(), asked), about.Volumes.Features.Has(asked))
	}
	// Output:
	// volumes.resize true true
	// volumes.resizing false false
}
