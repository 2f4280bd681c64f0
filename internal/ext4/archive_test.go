package ext4

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// tool runs a program of e2fsprogs.
func tool(t testing.TB, name string, args ...string) {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if path, err = exec.LookPath(filepath.Join("/usr/sbin", name)); err != nil {
			t.Skipf("%s of e2fsprogs is not installed: %v", name, err)
		}
	}
	cmd := exec.Command(path, args...)
	cmd.Env = []string{"MKE2FS_CONFIG=" + os.DevNull}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// image makes a filesystem of a folder, and returns its bytes.
func image(t testing.TB, tree, size string, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	args = append([]string{"-q", "-F", "-t", "ext4", "-O", "none,ext_attr,filetype,extent,64bit,dir_index,metadata_csum", "-E", "lazy_itable_init=1"}, args...)
	tool(t, "mke2fs", append(args, "-d", tree, path, size)...)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// sample makes a tree with one file of each kind that needs no privilege.
func sample(t testing.TB) string {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "folder", "x"), []byte("here"), 0o640))
	require.NoError(t, os.Chtimes(filepath.Join(dir, "folder", "x"), time.Unix(5, 0), time.Unix(1234, 0)))
	require.NoError(t, os.Link(filepath.Join(dir, "folder", "x"), filepath.Join(dir, "folder", "y")))
	require.NoError(t, os.Symlink("../up", filepath.Join(dir, "short")))
	require.NoError(t, os.Symlink(strings.Repeat("long/", 40), filepath.Join(dir, "target")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "line\nbreak"), nil, 0o600))
	sparse, err := os.Create(filepath.Join(dir, "sparse"))
	require.NoError(t, err)
	_, err = sparse.WriteAt([]byte("end"), 300_000)
	require.NoError(t, errors.Join(err, sparse.Close()))
	return dir
}

type told struct {
	tar.Header
	content string
}

func read(t testing.TB, archive []byte) map[string]told {
	t.Helper()
	all := map[string]told{}
	for r := tar.NewReader(bytes.NewReader(archive)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		require.NoError(t, err)
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NotContains(t, all, h.Name)
		all[h.Name] = told{*h, string(content)}
	}
}

// archive opens a filesystem and writes its archive.
func archive(data []byte) ([]byte, error) {
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = f.Archive(context.Background(), &out)
	return out.Bytes(), err
}

func TestArchiveHasTheTree(t *testing.T) {
	for name, args := range map[string][]string{
		"blocks of 4096 bytes":  nil,
		"blocks of 1024 bytes":  {"-b", "1024"},
		"inodes of 256 bytes":   {"-I", "256"},
		"inodes of 128 bytes":   {"-I", "128"},
		"spread descriptors":    {"-b", "1024", "-g", "256", "-O", "meta_bg,sparse_super,^resize_inode"},
		"descriptors of 32 bit": {"-O", "^64bit,^metadata_csum"},
	} {
		t.Run(name, func(t *testing.T) {
			data := image(t, sample(t), "8M", args...)
			f, err := Open(bytes.NewReader(data), int64(len(data)))
			require.NoError(t, err)
			require.False(t, f.NeedsRecovery())
			var out bytes.Buffer
			require.NoError(t, f.Archive(t.Context(), &out))
			all := read(t, out.Bytes())
			x := all["folder/x"]
			assert.Equal(t, "here", x.content)
			assert.Equal(t, int64(0o640), x.Mode)
			assert.Equal(t, int64(1234), x.ModTime.Unix())
			assert.Equal(t, os.Getuid(), x.Uid)
			assert.Equal(t, byte(tar.TypeLink), all["folder/y"].Typeflag)
			assert.Equal(t, "folder/x", all["folder/y"].Linkname)
			assert.Equal(t, int64(0o750), all["folder/"].Mode)
			assert.Equal(t, "../up", all["short"].Linkname)
			assert.Equal(t, strings.Repeat("long/", 40), all["target"].Linkname)
			assert.Contains(t, all, "line\nbreak")
			assert.Equal(t, strings.Repeat("\x00", 300_000)+"end", all["sparse"].content)
			assert.Len(t, all, 8, "an empty lost+found is left out")
		})
	}
}

func TestArchiveOfAFolderWithAnIndex(t *testing.T) {
	dir := t.TempDir()
	for n := range 2000 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, strings.Repeat("n", n%100+1)+time.Unix(int64(n), 0).UTC().Format("-150405")), []byte("x"), 0o600))
	}
	path := filepath.Join(t.TempDir(), "image")
	require.NoError(t, os.WriteFile(path, image(t, dir, "16M", "-N", "4000"), 0o600))
	fsck := exec.Command("/usr/sbin/e2fsck", "-f", "-y", "-D", path)
	if out, err := fsck.CombinedOutput(); fsck.ProcessState == nil || fsck.ProcessState.ExitCode() > 1 {
		require.NoError(t, err, "%s", out)
	}
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	var out bytes.Buffer
	require.NoError(t, f.Archive(t.Context(), &out))
	require.Len(t, read(t, out.Bytes()), 2001)
}

// TestHostileFilesystems changes what a filesystem says, by debugfs, which lets anybody
// say anything.
func TestHostileFilesystems(t *testing.T) {
	for _, c := range []struct {
		name     string
		commands []string
		kind     error
	}{
		{"a folder inside of itself", []string{"link folder folder/again"}, ErrCorrupt},
		{"the root inside of a folder", []string{"link / folder/root"}, ErrCorrupt},
		{"extents outside of it", []string{"set_inode_field sparse block[5] 0xffffff"}, ErrCorrupt},
		{"a file with the blocks of another", []string{"set_inode_field folder/x flags 0x80000", "link folder/x folder/z", "set_inode_field folder/x links_count 1"}, nil},
		{"an endless file", []string{"set_inode_field folder/x size 0x7ffffffffffff"}, ErrUnsupported},
		{"a negative size", []string{"set_inode_field folder/x size 0xffffffffffffffff"}, ErrCorrupt},
		{"a name of no inode", []string{"link <4000000000> folder/nothing"}, nil},
		{"a file of no type", []string{"set_inode_field folder/x mode 0"}, ErrCorrupt},
		{"no root", []string{"set_inode_field / mode 0100644"}, ErrCorrupt},
		{"a link without a target", []string{"set_inode_field short size 0"}, ErrCorrupt},
		{"a long link", []string{"set_inode_field short size 5000"}, ErrCorrupt},
		{"a folder of encrypted names", []string{"set_inode_field folder flags 0x80800"}, ErrUnsupported},
		{"a file with its content inside", []string{"set_inode_field folder/x flags 0x10000000"}, ErrUnsupported},
		{"attributes nowhere", []string{"set_inode_field folder/x file_acl 0xffffff"}, ErrCorrupt},
		{"attributes that are none", []string{"set_inode_field folder/x file_acl 5"}, ErrCorrupt},
		{"blocks without end", []string{"set_super_value blocks_count 0xffffffff"}, ErrCorrupt},
		{"groups of nothing", []string{"set_super_value inodes_per_group 0"}, nil},
		{"a dirty journal", []string{"feature needs_recovery"}, ErrUnsupported},
		{"an unknown feature", []string{"set_super_value feature_incompat 0x80000000"}, ErrUnsupported},
		{"inodes elsewhere", []string{"set_block_group 0 inode_table 0xffffff"}, ErrCorrupt},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "image")
			require.NoError(t, os.WriteFile(path, image(t, sample(t), "8M", "-O", "has_journal"), 0o600))
			for _, command := range c.commands {
				tool(t, "debugfs", "-w", "-R", command, path)
			}
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			_, err = archive(data)
			if c.kind != nil {
				require.ErrorIs(t, err, c.kind)
			}
		})
	}
}

func TestWhatIsNoFilesystem(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing": nil,
		"zeros":   make([]byte, 1<<20),
		"text":    bytes.Repeat([]byte("no filesystem "), 1<<10),
	} {
		_, err := archive(data)
		require.ErrorIs(t, err, ErrUnsupported, name)
	}
}

func TestArchiveEndsWithItsContext(t *testing.T) {
	data := image(t, sample(t), "8M")
	f, err := Open(bytes.NewReader(data), int64(len(data)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.Archive(ctx, io.Discard), context.Canceled)
}

func TestAccessListsAreToldAsByLinux(t *testing.T) {
	inner := []byte{1, 0, 0, 0, 1, 0, 6, 0, 2, 0, 6, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0}
	list, err := accessList(inner)
	require.NoError(t, err)
	require.Equal(t, []byte{
		2, 0, 0, 0, 1, 0, 6, 0, 0xff, 0xff, 0xff, 0xff, 2, 0, 6, 0, 0xe8, 3, 0, 0, 4, 0, 4, 0, 0xff, 0xff, 0xff, 0xff,
	}, list)
	for n := range inner {
		if n != 4 && n != 8 && n != 16 {
			_, err := accessList(inner[:n])
			require.ErrorIs(t, err, ErrCorrupt, n)
		}
	}
}

// FuzzArchive changes a few bytes of a filesystem. What is read must end, take little
// memory and be an archive where there is no error.
func FuzzArchive(f *testing.F) {
	whole := image(f, sample(f), "1M", "-b", "1024", "-N", "32")
	f.Add(uint32(1024), []byte{}, uint32(0), []byte{})
	f.Add(uint32(1024+0x58), []byte{0xff, 0xff}, uint32(2048), []byte{0})
	for at := 0; at < len(whole); at += 1024 {
		if bytes.ContainsFunc(whole[at:at+1024], func(c rune) bool { return c != 0 }) {
			f.Add(uint32(at), []byte{0xff, 0xff, 0xff, 0xff}, uint32(at+8), []byte{0, 0})
		}
	}
	f.Fuzz(func(t *testing.T, at uint32, change []byte, at2 uint32, change2 []byte) {
		data := bytes.Clone(whole)
		copy(data[int(at)%len(data):], change)
		copy(data[int(at2)%len(data):], change2)
		fs, err := Open(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		var out limited
		err = fs.Archive(t.Context(), &out)
		require.LessOrEqual(t, out.n, int64(mostSparse+4)*int64(len(data)))
		if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnsupported) {
			require.NotErrorIs(t, err, io.EOF)
			require.ErrorContains(t, err, "archive/tar", "an error of neither kind")
		}
	})
}

// limited counts what is written.
type limited struct{ n int64 }

func (l *limited) Write(b []byte) (int, error) {
	l.n += int64(len(b))
	return len(b), nil
}
