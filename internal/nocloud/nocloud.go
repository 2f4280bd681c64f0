// Package nocloud writes and reads the disk from which cloud-init reads what a machine is to
// be: the seed of its data source NoCloud
// (https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html).
//
// It is an ISO 9660 image (ECMA-119) of a few files in its root, with their real
// names twice: in Rock Ridge's way for Linux and the BSDs, and in Joliet's for
// Windows. The same seed gives the same bytes.
package nocloud

// Label is the name of the disk, by which cloud-init finds it.
const Label = "cidata"

// Seed is what is on the disk. Each field is a file; a file of nothing is there, but
// for a network configuration, whose absence means that the guest decides.
type Seed struct {
	UserData, MetaData, NetworkConfig []byte
}

// files are in the order of their names in the image.
func (s Seed) files() []file {
	list := []file{{short: "META_DAT.;1", name: "meta-data", content: s.MetaData}}
	if len(s.NetworkConfig) > 0 {
		list = append(list, file{short: "NETWORK_.;1", name: "network-config", content: s.NetworkConfig})
	}
	return append(list, file{short: "USER_DAT.;1", name: "user-data", content: s.UserData})
}

// Image returns the disk. Its content is as secret as that of the files, which is
// why it is not made by way of a folder.
func (s Seed) Image() []byte { return image(s.files()) }

// Parse reads a disk that Image has written. Of what somebody has altered it reads
// what it can.
func Parse(disk []byte) (Seed, error) {
	files, err := parse(disk)
	return Seed{UserData: files["USER_DAT.;1"], MetaData: files["META_DAT.;1"], NetworkConfig: files["NETWORK_.;1"]}, err
}
