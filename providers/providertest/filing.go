package providertest

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func fileCases() []testCase {
	files := has(compute.FeatureFiles)
	return []testCase{
		{"CopyIn puts files into an instance that runs, and programs see them", has(compute.FeatureFiles, compute.FeatureExec), copyInRunning},
		{"CopyIn puts files into an instance that does not run", has(compute.FeatureFilesStopped, compute.FeatureFiles, compute.FeatureExec), copyInStopped},
		{"CopyIn into a directory that is not there is NotFound", files, copyInNowhere},
		{"CopyIn keeps owners and permissions, or makes everything root's", has(compute.FeatureFiles, compute.FeatureExec), copyInOwners},
		{"CopyOut of a file and of a directory gives what is there", files, copyOut},
		{"CopyOut of what is not there is NotFound", files, copyOutNothing},
		{"CopyOut may be left early", files, copyOutEarly},
		{"Files reads what is there", files, filesRead},
		{"A hostile archive writes nowhere but below the directory", files, copyInHostile},
		{"A CopyIn whose archive blocks ends with its context and writes nothing", files, copyInStuck},
		{"An archive goes through no link that is there already and leads out", has(compute.FeatureFiles, compute.FeatureExec), copyInThroughLinks},
		{"Names and content may be anything", files, copyAnything},
		{"A damaged archive is InvalidArgument, and nothing of it is written", files, copyInDamaged},
	}
}

func file(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeReg}, content}
}

// filed returns an instance whose files are to be reached: one that does not run,
// where that is offered.
func (e *env) filed() compute.Instance {
	e.Helper()
	if e.offers(compute.FeatureFilesStopped) {
		return e.stopped("web")
	}
	return e.filedRunning()
}

// filedRunning returns an instance that runs and whose files can be reached. Cases share
// it, if it is not of use to them when it has ended.
func (e *env) filedRunning() compute.Instance {
	e.Helper()
	if !e.offers(compute.FeatureFilesStopped) {
		return e.reachable()
	}
	inst := e.running("web")
	_, err := e.waitFor(inst, compute.LevelAgent)
	require.NoError(e, err)
	return inst
}

// folder makes one of the case's own in an instance, and returns its path.
func (e *env) folder(inst compute.Instance) string {
	e.Helper()
	name := "of-" + resource.NewID()[:8]
	require.NoError(e, e.copyIn(inst, "/etc", folder(name)))
	return "/etc/" + name
}

func folder(name string) tarEntry {
	return tarEntry{tar.Header{Name: name + "/", Typeflag: tar.TypeDir, Mode: 0o755}, ""}
}

func (e *env) copyIn(inst compute.Instance, dir string, entries ...tarEntry) error {
	e.Helper()
	return e.returns("CopyIn", func() error {
		return compute.CopyIn(e.ctx, inst, dir, bytes.NewReader(tarOf(entries)), compute.CopyOptions{})
	})
}

// copyOut returns the names and contents of what CopyOut gives.
func (e *env) copyOut(inst compute.Instance, path string) map[string]string {
	e.Helper()
	r, err := compute.CopyOut(e.ctx, inst, path, compute.CopyOptions{})
	require.NoError(e, err, "copy %s out", path)
	defer func() { require.NoError(e, r.Close()) }()
	found := map[string]string{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return found
		}
		require.NoError(e, err)
		content, err := io.ReadAll(archive)
		require.NoError(e, err)
		found[strings.TrimSuffix(header.Name, "/")] = string(content)
	}
}

func copyInRunning(e *env) {
	inst := e.filedRunning()
	dir := e.folder(inst)
	require.NoError(e, e.copyIn(inst, dir, file("old", "before")))
	require.NoError(e, e.copyIn(inst, dir, file("new", "content"), folder("folder"), file("folder/deep", "deep"), file("old", "after")))
	require.Equal(e, "content", e.output(inst, "read", dir+"/new"))
	require.Equal(e, "deep", e.output(inst, "read", dir+"/folder/deep"))
	require.Equal(e, "after", e.output(inst, "read", dir+"/old"))
}

func copyInStopped(e *env) {
	inst := e.stopped("web")
	require.NoError(e, e.copyIn(inst, "/etc", file("new", "content")))
	e.start(inst)
	require.Equal(e, "content", e.output(inst, "read", "/etc/new"))
}

func copyInStuck(e *env) {
	inst := e.filed()
	dir := e.folder(inst)
	archive := tarOf([]tarEntry{file("new", strings.Repeat("x", 1<<16))})
	e.endsThoughStuck("CopyIn", func(ctx context.Context, s stuckStream) error {
		return compute.CopyIn(ctx, inst, dir, io.MultiReader(bytes.NewReader(archive[:len(archive)/2]), s), compute.CopyOptions{})
	})
	e.noFile(inst, dir+"/new")
	require.NoError(e, e.copyIn(inst, dir, file("new", "content")))
}

func copyInNowhere(e *env) {
	inst := e.filedRunning()
	e.fails(e.copyIn(inst, "/no/such/folder", file("new", "content")), errdefs.ErrNotFound)
}

func copyInOwners(e *env) {
	inst := e.filedRunning()
	owned := file("owned", "content")
	owned.header.Mode, owned.header.Uid, owned.header.Gid = 0o640, GuestUserID, GuestUserID
	dir := e.folder(inst)
	require.NoError(e, e.copyIn(inst, dir, owned))
	require.Equal(e, "file 0640 7", e.output(inst, "stat", dir+"/owned"))
	err := compute.CopyIn(e.ctx, inst, dir, bytes.NewReader(tarOf([]tarEntry{owned})), compute.CopyOptions{NoOwner: true})
	require.NoError(e, err)
	r, err := compute.CopyOut(e.ctx, inst, dir+"/owned", compute.CopyOptions{})
	require.NoError(e, err)
	header, err := tar.NewReader(r).Next()
	require.NoError(e, err)
	require.Zero(e, header.Uid)
	require.NoError(e, r.Close())
}

func copyOut(e *env) {
	inst := e.filedRunning()
	dir := e.folder(inst)
	require.NoError(e, e.copyIn(inst, dir, folder("folder"), file("folder/a", "content of a"), file("folder/b", "")))
	require.Equal(e, map[string]string{"a": "content of a"}, e.copyOut(inst, dir+"/folder/a"))
	require.Equal(e, map[string]string{"folder": "", "folder/a": "content of a", "folder/b": ""}, e.copyOut(inst, dir+"/folder"))
	if e.offers(compute.FeatureFilesStopped) {
		e.kill(inst)
		require.Equal(e, map[string]string{"a": "content of a"}, e.copyOut(inst, dir+"/folder/a"), "of a stopped instance")
	}
}

func copyOutNothing(e *env) { e.noFile(e.filedRunning(), "/no-such-file") }

// noFile requires CopyOut to find nothing at a path.
func (e *env) noFile(inst compute.Instance, path string) {
	e.Helper()
	r, err := compute.CopyOut(e.ctx, inst, path, compute.CopyOptions{})
	if err == nil {
		// What reads lazily says so when it is read.
		_, err = io.ReadAll(r)
		_ = r.Close()
	}
	e.fails(err, errdefs.ErrNotFound)
}

func copyOutEarly(e *env) {
	r, err := compute.CopyOut(e.ctx, e.filedRunning(), "/etc", compute.CopyOptions{})
	require.NoError(e, err)
	_, err = r.Read(make([]byte, 1))
	require.NoError(e, err)
	require.NoError(e, r.Close())
}

func filesRead(e *env) {
	inst := e.filedRunning()
	dir := e.folder(inst)
	require.NoError(e, e.copyIn(inst, dir, file("new", "content"), file("old", "content")))
	files, err := compute.Files(e.ctx, inst)
	require.NoError(e, err)
	content, err := fs.ReadFile(files, dir[1:]+"/new")
	require.NoError(e, err)
	require.Equal(e, "content", string(content))
	entries, err := fs.ReadDir(files, dir[1:])
	require.NoError(e, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	require.Equal(e, []string{"new", "old"}, names)
	_, err = fs.Stat(files, "no/such/file")
	require.ErrorIs(e, err, fs.ErrNotExist)
	_, err = fs.Stat(files, "../etc")
	require.ErrorIs(e, err, fs.ErrInvalid)
}

func copyInHostile(e *env) {
	inst := e.filed()
	link := func(kind byte, name, to string) tarEntry {
		return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: to}, ""}
	}
	for i, entries := range [][]tarEntry{
		{file("../../escaped", "x")},
		{file("/escaped", "x")},
		{file("a/../../../escaped", "x")},
		{link(tar.TypeSymlink, "out", "/"), file("out/escaped", "x")},
		{link(tar.TypeSymlink, "up", "../../.."), file("up/escaped", "x")},
		{link(tar.TypeSymlink, "s", "/escaped"), file("s", "x")},
		{link(tar.TypeLink, "hard", "../../passwd"), file("hard", "changed")},
		{link(tar.TypeLink, "hard", "/etc/passwd"), file("hard", "changed")},
	} {
		dir := e.folder(inst)
		// It may be refused, or contained below the directory.
		err := e.copyIn(inst, dir, entries...)
		if err != nil {
			e.wellFormed(err)
		}
		for _, path := range []string{"escaped", "etc/escaped"} {
			files, err := compute.Files(e.ctx, inst)
			require.NoError(e, err)
			_, err = fs.Stat(files, path)
			require.ErrorIs(e, err, fs.ErrNotExist, "the archive %d wrote to %s", i, path)
		}
		require.NotContains(e, e.copyOut(inst, "/etc/passwd")["passwd"], "changed", "the archive %d wrote to /etc/passwd", i)
	}
}

func copyInDamaged(e *env) {
	inst := e.filedRunning()
	whole := tarOf([]tarEntry{file("damaged", strings.Repeat("x", 4096))})
	for _, archive := range [][]byte{whole[:1000], bytes.Repeat([]byte("no archive "), 100)} {
		err := e.returns("CopyIn", func() error {
			return compute.CopyIn(e.ctx, inst, "/etc", bytes.NewReader(archive), compute.CopyOptions{})
		})
		e.fails(err, errdefs.ErrInvalidArgument)
	}
	e.noFile(inst, "/etc/damaged")
}

func copyInThroughLinks(e *env) {
	inst := e.filed()
	link := func(name, to string) tarEntry {
		return tarEntry{tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}, ""}
	}
	dir := e.folder(inst)
	require.NoError(e, e.copyIn(inst, dir, folder("below"),
		link("out", "/etc"), link("up", ".."), link("stays", "below"), link("na\\me", "/etc"), link("li\nne", "/etc")))
	for _, name := range []string{"out", "up", "na\\me", "li\nne"} {
		e.fails(e.copyIn(inst, dir, file(name+"/escaped", "x")), errdefs.ErrInvalidArgument)
	}
	files, err := compute.Files(e.ctx, inst)
	require.NoError(e, err)
	_, err = fs.Stat(files, "etc/escaped")
	require.ErrorIs(e, err, fs.ErrNotExist)
	require.NoError(e, e.copyIn(inst, dir, file("stays/x", "content")))
	content, err := fs.ReadFile(files, dir[1:]+"/below/x")
	require.NoError(e, err)
	require.Equal(e, "content", string(content))
}

func copyAnything(e *env) {
	inst := e.filed()
	content := make([]byte, 300<<10)
	for n := range content {
		content[n] = byte(n * n >> 7)
	}
	dir := e.folder(inst)
	want := map[string]string{"any": ""}
	entries := []tarEntry{folder("any")}
	for _, name := range []string{
		"-rf", "$(reboot)", "`reboot`; x", "a b\tc", "line\nbreak", "'\"\\", "ünïcode", ".hidden", "..twodots", "*", strings.Repeat("n", 255),
	} {
		entries = append(entries, file("any/"+name, string(content[:len(name)*1000])))
		want["any/"+name] = string(content[:len(name)*1000])
	}
	require.NoError(e, e.copyIn(inst, dir, entries...))
	require.Equal(e, want, e.copyOut(inst, dir+"/any"))
	files, err := compute.Files(e.ctx, inst)
	require.NoError(e, err)
	listed, err := fs.ReadDir(files, dir[1:]+"/any")
	require.NoError(e, err)
	require.Len(e, listed, len(want)-1)
	for _, entry := range listed {
		info, err := entry.Info()
		require.NoError(e, err)
		require.Equal(e, int64(len(want["any/"+entry.Name()])), info.Size(), "%q", entry.Name())
		got, err := fs.ReadFile(files, dir[1:]+"/any/"+entry.Name())
		require.NoError(e, err)
		require.Equal(e, want["any/"+entry.Name()], string(got), "%q", entry.Name())
	}
	for _, name := range []string{"-rf", "line\nbreak", "$(reboot)"} {
		require.Equal(e, map[string]string{name: want["any/"+name]}, e.copyOut(inst, dir+"/any/"+name))
	}
}
