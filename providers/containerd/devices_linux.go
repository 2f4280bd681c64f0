package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/opencontainers/runtime-spec/specs-go"
	"tags.cncf.io/container-device-interface/pkg/cdi"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// cdiFolders are where the host says what its CDI devices are: those of its packages, and
// those of programs that find devices out. What stands in them is root's, and trusted.
var cdiFolders = []string{"/etc/cdi", "/var/run/cdi"}

// addDevices gives a runtime spec the devices of the host that are asked for. Their
// numbers are those of this moment, as containerd keeps the spec.
func addDevices(out *specs.Spec, devices []compute.Device, folders []string) error {
	var faults resource.Faults
	var named []string
	fields := map[string]string{} // of CDI names
	for n, d := range devices {
		field := fmt.Sprintf("devices[%d]", n)
		if !strings.HasPrefix(d.Source, "/") {
			if d.Path != "" || d.Permissions != "" {
				faults.Add(field+".source", "is a CDI device, of which the host says where it goes and what may be done with it")
			}
			named = append(named, d.Source)
			fields[d.Source] = field
			continue
		}
		nodes, err := deviceNodes(d)
		if err != nil {
			faults.Add(field+".source", "%s", whyNoDevice(err))
			continue
		}
		for _, node := range nodes {
			out.Linux.Devices = slices.DeleteFunc(out.Linux.Devices, func(other specs.LinuxDevice) bool { return other.Path == node.Path })
			out.Linux.Devices = append(out.Linux.Devices, node)
			out.Linux.Resources.Devices = append(out.Linux.Resources.Devices, specs.LinuxDeviceCgroup{
				Allow: true, Type: node.Type, Major: &node.Major, Minor: &node.Minor, Access: access(d.Permissions),
			})
		}
	}
	if len(named) > 0 && len(faults) == 0 {
		injectNamed(out, named, folders, func(name, format string, args ...any) { faults.Add(fields[name]+".source", format, args...) })
	}
	return faults.Err()
}

// access is what may be done with a device, as the kernel's lists have it.
func access(permissions string) string {
	if permissions == "" {
		return "rw"
	}
	var out strings.Builder
	for _, c := range "rwm" {
		if strings.ContainsRune(permissions, c) {
			out.WriteRune(c)
		}
	}
	return out.String()
}

// instancesOwn are what each instance has of its own below /dev.
var instancesOwn = []string{"pts", "shm", "mqueue", "fd", "console", "ptmx"}

// deviceNodes are the device, or those below the folder, that a path of the host leads to.
func deviceNodes(d compute.Device) ([]specs.LinuxDevice, error) {
	source, err := filepath.EvalSymlinks(d.Source)
	if err != nil {
		return nil, err
	}
	target := d.Path
	if target == "" {
		target = d.Source
	}
	target = path.Clean(target)
	var nodes []specs.LinuxDevice
	err = filepath.WalkDir(source, func(file string, entry fs.DirEntry, err error) error {
		within := file != source
		if within && errors.Is(err, fs.ErrNotExist) {
			return nil // it was unplugged
		}
		if err != nil {
			return err
		}
		if within && slices.Contains(instancesOwn, entry.Name()) {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() || within && entry.Type()&fs.ModeDevice == 0 {
			return nil
		}
		node, err := oci.DeviceFromPath(file)
		switch {
		case within && errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case node.Type == "p":
			return oci.ErrNotADevice
		}
		node.Path = path.Join(target, strings.TrimPrefix(file, source))
		nodes = append(nodes, *node)
		return nil
	})
	if err == nil && len(nodes) == 0 {
		err = oci.ErrNotADevice
	}
	return nodes, err
}

func whyNoDevice(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist on the host"
	case errors.Is(err, oci.ErrNotADevice):
		return "is no device, and no folder of devices"
	}
	var at *os.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return "cannot be looked at: " + err.Error()
}

// injectNamed does to a runtime spec what the host says that CDI devices need.
func injectNamed(out *specs.Spec, names, folders []string, fault func(name, format string, args ...any)) {
	// What other specifications have wrong is nothing to these devices.
	cache, err := cdi.NewCache(cdi.WithSpecDirs(folders...), cdi.WithAutoRefresh(false))
	if err != nil {
		fault(names[0], "cannot be looked for: %v", err)
		return
	}
	unknown, err := cache.InjectDevices(out, names...)
	switch {
	case len(unknown) > 0:
		for _, name := range unknown {
			fault(name, "is no CDI device that the host knows, by what stands in %s", strings.Join(folders, " and "))
		}
	case err != nil:
		fault(names[0], "cannot be given to an instance: %v", err)
	}
}
