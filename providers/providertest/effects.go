package providertest

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/providertest/guest"
	"github.com/univirt/univirt/resource"
)

// effectCases look from inside at what fields of a spec do.
func effectCases() []testCase {
	inside := has(compute.FeatureExec)
	output := has(compute.FeatureLogs)
	return []testCase{
		{"The command gets its arguments as they are", output, effectArguments},
		{"Args follow the command", all(output, fields("process.args")), effectArgs},
		{"The environment has what was asked for", all(inside, fields("process.env")), effectEnv},
		{"HOME is the user's home, or the root where the image knows no such user, unless it is given", all(has(compute.FeatureExec, compute.FeatureExecUser), fields("process.env", "process.user")), effectHome},
		{"The user is the one that was asked for, by name or number", all(output, fields("process.user")), effectUser},
		{"The working directory is the one that was asked for", all(output, fields("process.dir")), effectDir},
		{"The main process has a terminal where it was asked for", all(output, fields("process.tty")), effectTTY},
		{"The main process has no terminal and no input otherwise", output, effectNoTTY},
		{"The host name is the instance's name", all(inside, fields("hostname")), effectHostnameDefault},
		{"The host name is the one that was asked for", all(inside, fields("hostname")), effectHostname},
		{"An init ends with the main process", fields("init"), effectInit},
		{"CPUs, memory and processes are bounded", all(inside, fields("resources.cpus", "resources.memory", "resources.pids")), effectLimits},
		{"Files are there with their content, permissions and owner", all(inside, fields("files[].path", "files[].data", "files[].mode")), effectFiles},
		{"A secret file is there and nowhere else", all(inside, fields("files[].path", "files[].secret")), effectSecret},
		{"A tmpfs can be written to and is empty after a restart", all(inside, fields("mounts[].type", "mounts[].path")), effectTmpfs},
		{"A read-only root cannot be written to", all(inside, fields("security.readOnlyRoot")), effectReadOnlyRoot},
		{"What is written to the root is there at the next start", inside, effectRootKept},
		{"Two instances of one image do not share what they write", inside, effectRootsApart},
		{"Names of the spec are resolved", all(inside, fields("dns.hosts")), effectHosts},
		{"A container is hardened by default", inside, effectHardening},
		{"Capabilities are dropped and added as asked for", all(inside, fields("security.addCapabilities", "security.dropCapabilities")), effectCapabilities},
	}
}

// printed runs a program as main process and returns the lines it printed.
func (e *env) printed(spec compute.Spec) []string {
	e.Helper()
	inst := e.create(spec)
	e.start(inst)
	e.wait(inst)
	return texts(e.logs(inst, compute.LogOptions{Follow: true}))
}

func effectArguments(e *env) {
	args := []string{"plain", "", "two words", "$HOME", "`id`", "a;b|c&d", "'", `"`, `\`, "*", "-x", "ü€😀", "line\nbreak", "\t"}
	got := e.printed(e.spec("web", append([]string{"args"}, args...)...))
	want, err := json.Marshal(args)
	require.NoError(e, err)
	require.Equal(e, []string{string(want)}, got)
}

func effectArgs(e *env) {
	spec := e.spec("web", "args", "first")
	spec.Process.Args = []string{"second", "third"}
	require.Equal(e, []string{`["first","second","third"]`}, e.printed(spec))
}

func effectEnv(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.Env = map[string]string{"PLAIN": "value", "EMPTY": "", "ODD": "a=b $HOME 'x' \"y\" ü\nline", "PATH": "/bin:/none"}
	inst := e.create(spec)
	e.start(inst)
	for name, value := range spec.Process.Env {
		require.Equal(e, value, e.output(inst, "env", name), name)
	}
	require.Equal(e, 1, e.exec(inst, "env", "HOME_OF_NOBODY").exit.Code)
}

func effectHome(e *env) {
	for i, c := range []struct{ user, given, want string }{
		{"", "", "/root"},
		{GuestUser, "", "/home/" + GuestUser},
		{"1000:0", "", "/home/" + GuestUser},
		{"1234", "", "/"},
		{GuestUser, "/given", "/given"},
	} {
		spec := e.spec(fmt.Sprintf("web-%d", i), "sleep", "1h")
		spec.Process.User = c.user
		if c.given != "" {
			spec.Process.Env = map[string]string{"HOME": c.given}
		}
		inst := e.create(spec)
		e.start(inst)
		require.Equal(e, c.want, e.output(inst, "env", "HOME"), "of %q", c.user)
		if c.given != "" {
			continue
		}
		// Another user's home is another one, also where it is entered by Exec.
		x := guestExec("env", "HOME")
		x.Process.User = "1234"
		require.Equal(e, "/\n", e.execSpec(inst, x).stdout)
	}
	require.Equal(e, []string{"/root"}, e.printed(e.spec("job", "env", "HOME")), "of the main process")
}

func effectUser(e *env) {
	for i, c := range []struct{ user, want string }{
		{"", "uid=0 gid=0"},
		{GuestUser, fmt.Sprintf("uid=%d gid=%d", GuestUserID, GuestUserID)},
		{"1234", "uid=1234"},
		{"1234:56", "uid=1234 gid=56"},
		{GuestUser + ":0", fmt.Sprintf("uid=%d gid=0", GuestUserID)},
	} {
		spec := e.spec(fmt.Sprintf("web-%d", i), "id")
		spec.Process.User = c.user
		got := e.printed(spec)
		require.Len(e, got, 1)
		require.True(e, strings.HasPrefix(got[0]+" ", c.want+" "), "the user %q is %s", c.user, got[0])
	}
}

func effectDir(e *env) {
	spec := e.spec("web", "pwd")
	spec.Process.Dir = "/bin"
	require.Equal(e, []string{"/bin"}, e.printed(spec))
}

func effectTTY(e *env) {
	spec := e.spec("web", "tty")
	spec.Process.TTY = true
	got := e.printed(spec)
	require.NotEmpty(e, got)
	require.Equal(e, "stdin=true stdout=true stderr=true", strings.TrimSuffix(got[0], "\r"))
}

func effectNoTTY(e *env) {
	require.Equal(e, "stdin=false stdout=false stderr=false", e.printed(e.spec("web", "tty"))[0])
	// "cat" ends at the end of its input.
	require.Empty(e, e.printed(e.spec("cat", "cat")))
}

func effectHostnameDefault(e *env) {
	require.Equal(e, "web", e.output(e.running("web"), "hostname"))
}

func effectHostname(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Hostname = "other-name"
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, "other-name", e.output(inst, "hostname"))
}

func effectInit(e *env) {
	spec := e.spec("web", "exit", "6")
	spec.Init = true
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, 6, e.wait(inst).Code)
}

func effectLimits(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Resources = compute.Resources{CPUs: 0.5, Memory: smallMemory, PIDs: 77}
	inst := e.create(spec)
	e.start(inst)
	limits := report[guest.Limits](e, inst, "limits")
	require.InDelta(e, 0.5, limits.CPUs, 0.01)
	require.Equal(e, smallMemory, limits.Memory)
	require.Equal(e, int64(77), limits.PIDs)
}

func effectFiles(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Files = []compute.File{
		{Path: "/etc/plain", Data: []byte("plain\n")},
		{Path: "/etc/tight", Data: []byte("tight"), Mode: 0o600},
		{Path: "/new/folder/deep", Data: []byte("deep")},
		{Path: "/etc/empty"},
	}
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, "plain", e.output(inst, "read", "/etc/plain"))
	require.Equal(e, "deep", e.output(inst, "read", "/new/folder/deep"))
	require.Equal(e, "file 0644 6", e.output(inst, "stat", "/etc/plain"))
	require.Equal(e, "file 0600 5", e.output(inst, "stat", "/etc/tight"))
	require.Equal(e, "file 0644 0", e.output(inst, "stat", "/etc/empty"))
}

func effectSecret(e *env) {
	const text = "extremely-hidden"
	spec := e.spec("web", "sleep", "1h")
	spec.Files = []compute.File{{Path: "/etc/secret", Secret: resource.NewSecret(text)}}
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, text, e.output(inst, "read", "/etc/secret"))
	require.Equal(e, fmt.Sprintf("file 0400 %d", len(text)), e.output(inst, "stat", "/etc/secret"))
	info := e.info(e.open(OpenOptions{}).Instances().Handle(inst.ID()))
	require.NotContains(e, fmt.Sprintf("%+v", info), text)
	data, err := compute.Encode(*info.Spec)
	require.NoError(e, err)
	require.NotContains(e, string(data), text)
	if e.offers(compute.FeaturePlan) {
		spec.Name = "planned"
		plan, err := compute.PlanOf(e.ctx, e.instances(), spec)
		require.NoError(e, err)
		require.NotContains(e, string(plan.Native), text)
	}
}

func effectTmpfs(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Mounts = []compute.Mount{{Type: compute.MountTmpfs, Path: "/scratch"}}
	inst := e.create(spec)
	e.start(inst)
	e.output(inst, "write", "/scratch/x", "here")
	require.Equal(e, "here", e.output(inst, "read", "/scratch/x"))
	e.kill(inst)
	e.start(inst)
	require.Equal(e, 1, e.exec(inst, "read", "/scratch/x").exit.Code)
}

func effectReadOnlyRoot(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Security.ReadOnlyRoot = true
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, 1, e.exec(inst, "write", "/written", "x").exit.Code)
	require.NotEmpty(e, e.output(inst, "read", "/etc/passwd"))
}

func effectRootKept(e *env) {
	inst := e.worker("web")
	if spec := e.info(inst).Spec; spec.Image == "" {
		panic(leftOut{"the harness's instances have no image"})
	}
	e.output(inst, "write", "/kept", "here")
	e.kill(inst)
	e.start(inst)
	require.Equal(e, "here", e.output(inst, "read", "/kept"))
}

func effectRootsApart(e *env) {
	const users = "/etc/passwd"
	a := e.worker("a")
	before := e.output(a, "read", users)
	own := before + "\n# of a"
	e.output(a, "write", users, own+"\n")
	b := e.running("b")
	require.NotContains(e, e.output(b, "read", users), "# of a", "in what was made afterwards")
	e.output(b, "write", users, "changed")
	e.forgets(a)
	require.Equal(e, own, e.output(a, "read", users), "in what ran meanwhile")
	e.output(a, "write", users, before+"\n")
}

func effectHosts(e *env) {
	spec := e.spec("web", "sleep", "1h")
	samples["dns.hosts"](&spec)
	inst := e.create(spec)
	e.start(inst)
	require.Equal(e, "10.1.2.3", e.output(inst, "resolve", "db.example"))
}

// hardening asks from inside what the program is kept from doing. It is false
// where the environment has no such thing.
func (e *env) hardening(inst compute.Instance) (guest.Hardening, bool) {
	e.Helper()
	var h guest.Hardening
	r := e.exec(inst, "hardening")
	if r.exit.Code == guest.ExitUnsupported {
		return h, false
	}
	require.Zero(e, r.exit.Code, r.stderr)
	require.NoError(e, json.Unmarshal([]byte(r.stdout), &h))
	return h, true
}

// dockerCapabilities are the set that Docker gives to a container's root.
var dockerCapabilities = []string{
	"CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "MKNOD", "AUDIT_WRITE", "SETFCAP",
}

func effectHardening(e *env) {
	if e.s.kind() != compute.Container {
		return
	}
	h, ok := e.hardening(e.running("web"))
	if !ok {
		return
	}
	require.Equal(e, 2, h.Seccomp, "the seccomp filter")
	require.True(e, h.NoNewPrivs, "no_new_privs")
	require.Subset(e, dockerCapabilities, h.Effective)
	require.Subset(e, dockerCapabilities, h.Bounding)
	require.Empty(e, h.Ambient)
	for _, path := range []string{"/proc/kcore", "/sys/firmware", "/proc/keys", "/proc/timer_list"} {
		require.Contains(e, []guest.PathState{guest.PathMasked, guest.PathAbsent}, h.Paths[path], path)
	}
	for _, path := range []string{"/proc/sys", "/proc/sysrq-trigger"} {
		require.NotEqual(e, guest.PathOpen, h.Paths[path], path)
	}
}

func effectCapabilities(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Security.DropCapabilities = []string{"ALL"}
	spec.Security.AddCapabilities = []string{"NET_BIND_SERVICE"}
	inst := e.create(spec)
	e.start(inst)
	if h, ok := e.hardening(inst); ok {
		require.Equal(e, []string{"NET_BIND_SERVICE"}, h.Effective)
	}
}
