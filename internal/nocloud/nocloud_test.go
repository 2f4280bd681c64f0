package nocloud

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var seed = Seed{
	UserData:      []byte("#cloud-config\nhostname: web\n"),
	MetaData:      bytes.Repeat([]byte("# a long comment\n"), 1000),
	NetworkConfig: []byte("version: 2\n"),
}

// reader runs a program on an image.
func reader(t *testing.T, s Seed, program string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath(program); err != nil {
		t.Skipf("needs %s: scripts/setup libvirt installs it", program)
	}
	path := filepath.Join(t.TempDir(), "seed.iso")
	require.NoError(t, os.WriteFile(path, s.Image(), 0o600))
	out, err := exec.CommandContext(t.Context(), program, append(args, path)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return string(out)
}

func TestTheLabelIsFound(t *testing.T) {
	out := reader(t, seed, "blkid", "-p", "-o", "export")
	assert.Contains(t, out, "\nLABEL=cidata\n")
	assert.Contains(t, out, "\nTYPE=iso9660\n")
}

func TestTheFilesAreRead(t *testing.T) {
	for _, names := range []string{"-R", "-J"} {
		t.Run(names, func(t *testing.T) {
			list := reader(t, seed, "isoinfo", names, "-f", "-i")
			assert.Equal(t, "/meta-data\n/network-config\n/user-data\n", list)
			for name, content := range map[string][]byte{"meta-data": seed.MetaData, "user-data": seed.UserData, "network-config": seed.NetworkConfig} {
				assert.Equal(t, string(content), reader(t, seed, "isoinfo", names, "-x", "/"+name, "-i"), name)
			}
		})
	}
	t.Run("by the standard", func(t *testing.T) {
		assert.Equal(t, "/META_DAT.;1\n/NETWORK_.;1\n/USER_DAT.;1\n", reader(t, seed, "isoinfo", "-f", "-i"))
	})
	t.Run("access", func(t *testing.T) {
		list := reader(t, seed, "isoinfo", "-R", "-l", "-i")
		assert.Contains(t, list, "-r--------", "user data has passwords")
		assert.NotContains(t, list, "-r--r--")
	})
}

func TestWhatIsNotThere(t *testing.T) {
	assert.Equal(t, "/meta-data\n/user-data\n", reader(t, Seed{MetaData: []byte("{}")}, "isoinfo", "-R", "-f", "-i"))
	assert.Empty(t, reader(t, Seed{MetaData: []byte("{}")}, "isoinfo", "-R", "-x", "/user-data", "-i"))
}

func TestTheSameSeedGivesTheSameBytes(t *testing.T) {
	assert.Equal(t, seed.Image(), seed.Image())
	assert.Zero(t, len(seed.Image())%sector)
}

func TestFilesOfAnySize(t *testing.T) {
	for _, size := range []int{0, 1, sector - 1, sector, sector + 1, 1 << 20} {
		content := bytes.Repeat([]byte{'x'}, size)
		b := Seed{UserData: content}.Image()
		require.True(t, bytes.Contains(b, content))
		require.Zero(t, len(b)%sector, size)
	}
}

func TestParse(t *testing.T) {
	for _, s := range []Seed{seed, {MetaData: []byte{}, UserData: []byte{}}} {
		got, err := Parse(s.Image())
		require.NoError(t, err)
		assert.Equal(t, s, got)
	}
}

func FuzzParse(f *testing.F) {
	image := seed.Image()
	f.Add(0, []byte{}, 0)
	f.Add(rootAt*sector, []byte{200}, 0)
	f.Add(primaryAt*sector+156+2, []byte{0xff, 0xff, 0xff, 0x7f}, 0)
	f.Add(0, []byte{}, len(image)-1)
	f.Fuzz(func(t *testing.T, at int, with []byte, most int) {
		disk := bytes.Clone(image)
		if at >= 0 && at < len(disk) {
			copy(disk[at:], with)
		}
		if most > 0 && most < len(disk) {
			disk = disk[:most]
		}
		got, err := Parse(disk)
		if err != nil {
			assert.Empty(t, got)
		}
		assert.LessOrEqual(t, len(got.UserData), len(disk))
	})
}

// FuzzSeed holds that whatever is put into a seed is found again, and nothing else.
func FuzzSeed(f *testing.F) {
	f.Add([]byte("#cloud-config\n"), []byte("{}"), []byte("version: 2"))
	f.Add([]byte{}, bytes.Repeat([]byte{0}, sector), bytes.Repeat([]byte("CD001"), sector))
	f.Fuzz(func(t *testing.T, user, meta, network []byte) {
		want := Seed{UserData: user, MetaData: meta, NetworkConfig: network}
		got, err := Parse(want.Image())
		assert.NoError(t, err)
		assert.True(t, bytes.Equal(want.UserData, got.UserData))
		assert.True(t, bytes.Equal(want.MetaData, got.MetaData))
		assert.True(t, bytes.Equal(want.NetworkConfig, got.NetworkConfig))
	})
}
