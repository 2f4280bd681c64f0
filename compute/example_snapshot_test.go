package compute_test

import (
	"context"
	"fmt"
	"log"

	"github.com/univirt/univirt/compute"
)

// One snapshot before a risky change, and back.
func ExampleSnapshots() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "db", Image: "postgres"})
	defer p.Close()
	snapshots, err := compute.Snapshots(inst)
	if err != nil {
		log.Fatal(err) // errors.ErrUnsupported where the provider has none
	}
	if _, err := snapshots.CreateSnapshot(ctx, compute.SnapshotSpec{Name: "before-upgrade"}); err != nil {
		log.Fatal(err)
	}
	for snapshot, err := range snapshots.Snapshots(ctx) {
		fmt.Println(snapshot.Ref.Name, err)
	}
	err = snapshots.RevertSnapshot(ctx, "before-upgrade", compute.RevertOptions{Force: true})
	info, _ := inst.Info(ctx)
	fmt.Println(info.State, err)
	// Output:
	// before-upgrade <nil>
	// stopped <nil>
}

func ExampleClone() {
	ctx := context.Background()
	p, inst := start(compute.Spec{Name: "golden", Image: "postgres"})
	defer p.Close()
	for _, name := range []string{"db-1", "db-2"} {
		copied, err := compute.Clone(ctx, inst, compute.CloneOptions{Name: name})
		if err != nil {
			log.Fatal(err)
		}
		info, err := copied.Info(ctx)
		fmt.Println(info.Ref.Name, info.State, err)
	}
	// Output:
	// db-1 stopped <nil>
	// db-2 stopped <nil>
}
