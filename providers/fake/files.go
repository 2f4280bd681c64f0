package fake

import "github.com/univirt/univirt/compute"

// Tree is a file tree in memory. Its methods may be called concurrently.
type Tree struct{}

// Files is the process's view of the instance's file tree: mounts included.
func (p *Process) Files() *Tree { return nil }

// diskStats is Stats.Disk. The backend is locked.
func (i *instance) diskStats() compute.IOStats { return compute.IOStats{} }
