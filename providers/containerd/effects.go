package containerd

// changing are the calls that change what users see.
var changing = map[string]bool{
	"/containerd.services.tasks.v1.Tasks/Create":           true,
	"/containerd.services.tasks.v1.Tasks/Start":            true,
	"/containerd.services.tasks.v1.Tasks/Kill":             true,
	"/containerd.services.tasks.v1.Tasks/Pause":            true,
	"/containerd.services.tasks.v1.Tasks/Resume":           true,
	"/containerd.services.tasks.v1.Tasks/Update":           true,
	"/containerd.services.tasks.v1.Tasks/Exec":             true,
	"/containerd.services.tasks.v1.Tasks/Delete":           true,
	"/containerd.services.tasks.v1.Tasks/DeleteProcess":    true,
	"/containerd.services.containers.v1.Containers/Create": true,
	"/containerd.services.containers.v1.Containers/Update": true,
	"/containerd.services.containers.v1.Containers/Delete": true,
	"/containerd.services.images.v1.Images/Create":         true,
	"/containerd.services.images.v1.Images/Update":         true,
	"/containerd.services.images.v1.Images/Delete":         true,
}
