package fake

import "github.com/univirt/univirt/compute"

// Tree is a file tree in memory. Its methods may be called concurrently.
type Tree struct{}

// Files is the process's view of the instance's file tree: mounts included.
func (p *Process) Files() *Tree { return nil }

// diskStats is Stats.Disk. The backend is locked.
func (i *instance) diskStats() compute.IOStats { return compute.IOStats{} }

// imageTree is the file tree of an image, unpacked when it is first needed.
type imageTree struct{}

// prepareFiles finds the faults of the spec's files and mounts. The backend is not
// locked.
func (i *instance) prepareFiles(img *image) error { return nil }
