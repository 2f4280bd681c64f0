package providertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func hostileCases() []testCase {
	inside := has(compute.FeatureExec)
	return []testCase{
		{"Names that mean something to a shell, a path or a template are only names", nil, hostileNames},
		{"Label values at the edges of the grammar are kept", fields("labels"), hostileLabels},
		{"Annotations with any text are kept as they are", fields("annotations"), hostileAnnotations},
		{"Annotations of the largest size are kept", fields("annotations"), hugeAnnotations},
		{"An environment with any text arrives as it is", all(inside, fields("process.env")), hostileEnv},
		{"A large environment arrives whole", all(inside, fields("process.env")), hugeEnv},
		{"Paths with any text are only paths", all(inside, fields("files[].path", "files[].data")), hostilePaths},
		{"Mounts and directories at paths with any text are where they were asked for", all(inside, fields("mounts[].type", "mounts[].path")), hostileMounts},
		{"Arguments with any text are only arguments", inside, hostileArguments},
		{"What a guest prints is only text", has(compute.FeatureLogs, compute.FeatureExec), hostileOutput},
		{"A guest's output in an error's message cannot disturb it", has(compute.FeatureLogs), hostileLastLines},
	}
}

// hostileTexts are texts that break what handles text carelessly.
var hostileTexts = []string{
	"$(reboot)", "`reboot`", "a;b", "a|b", "a&b", "a>b", "'; drop table instances; --", `"quoted"`, `back\slash`, `\n`, "%s%n%d",
	"{{.Name}}", "${HOME}", "<a href='x'>&amp;</a>", "]]>", "<!--", "../../../etc/passwd", "-rf", "--help", "=", "a=b", " ", "  leading", "trailing  ",
	"line\nbreak", "carriage\rreturn", "tab\t", "bell\a", "escape\x1b[2J", "ünïcödé", "日本語", "😀", "\u202egnirts", "\u200b", "\ufeff", strings.Repeat("long", 1000),
}

func hostileNames(e *env) {
	names := []string{"null", "true", "default", "0", "00", "1e9", "0x10", "con", "nul", "x--y", "localhost", "latest", "self", "a", strings.Repeat("a-", 31) + "b"}
	for _, name := range names {
		inst := e.stopped(name)
		got, err := e.instances().Get(e.ctx, name)
		require.NoError(e, err)
		require.Equal(e, inst.ID(), got.ID())
	}
	require.ElementsMatch(e, names, e.names(e.instances(), compute.Filter{}))
}

func hostileLabels(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Labels = resource.Labels{
		"empty": "", "long": strings.Repeat("v", 63), strings.Repeat("k", 63): "x", "MIXED.case_1-x": "A.b_C-9",
		strings.Repeat("p", 63) + ".example.com/" + strings.Repeat("n", 63): "x",
		"containerd.io/gc.root": "x", "io.kubernetes.pod": "x", "name": "other", "id": absentID, "true": "null",
	}
	inst := e.create(spec)
	require.Equal(e, spec.Labels, e.info(inst).Labels)
	for key, value := range spec.Labels {
		filter := compute.Filter{Selector: resource.Select(resource.Equals(key, value))}
		require.Equal(e, []string{"web"}, e.names(e.instances(), filter), "%s=%s", key, value)
	}
	e.start(inst)
	require.Equal(e, spec.Labels, e.info(e.open(OpenOptions{}).Instances().Handle(inst.ID())).Labels)
}

func hostileAnnotations(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Annotations = resource.Annotations{}
	for i, text := range hostileTexts {
		spec.Annotations[fmt.Sprintf("text-%d", i)] = text
	}
	inst := e.create(spec)
	require.Equal(e, spec.Annotations, e.info(inst).Annotations)
	require.Equal(e, spec.Annotations, e.info(e.open(OpenOptions{}).Instances().Handle(inst.ID())).Annotations)
}

func hugeAnnotations(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Annotations = resource.Annotations{"note": strings.Repeat("x", resource.MaxAnnotationBytes-len("note"))}
	inst := e.create(spec)
	require.Equal(e, spec.Annotations, e.info(inst).Annotations)
	e.start(inst)
}

func hostileEnv(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.Env = map[string]string{"a b": "space in the name", "LD_PRELOAD": "/no/such.so", "-x": "dash", "ü": "umlaut"}
	for i, text := range hostileTexts {
		spec.Process.Env[fmt.Sprintf("TEXT_%d", i)] = text
	}
	inst := e.create(spec)
	e.start(inst)
	names := slices.Sorted(maps.Keys(spec.Process.Env))
	values := report[[]string](e, inst, append([]string{"env"}, names...)...)
	require.Len(e, values, len(names))
	for i, name := range names {
		require.Equal(e, spec.Process.Env[name], values[i], "%q", name)
	}
	require.Equal(e, spec.Process.Env, e.info(inst).Spec.Process.Env)
}

func hugeEnv(e *env) {
	spec := e.spec("web", "sleep", "1h")
	spec.Process.Env = map[string]string{}
	for i := range 20 {
		spec.Process.Env[fmt.Sprintf("LARGE_%d", i)] = strings.Repeat("x", 50_000)
	}
	inst := e.create(spec)
	e.start(inst)
	require.Len(e, e.output(inst, "env", "LARGE_19"), 50_000)
}

func hostilePaths(e *env) {
	spec := e.spec("web", "sleep", "1h")
	names := []string{}
	for _, text := range hostileTexts {
		if !strings.ContainsAny(text, "/\n") && len(text) < 255 && text != " " {
			names = append(names, text)
			spec.Files = append(spec.Files, compute.File{Path: "/odd/" + text, Data: []byte(text)})
		}
	}
	inst := e.create(spec)
	e.start(inst)
	read := []string{"read"}
	for _, name := range names {
		read = append(read, "/odd/"+name)
	}
	require.Equal(e, strings.Join(names, ""), e.exec(inst, read...).stdout)
}

func hostileMounts(e *env) {
	spec := e.spec("web", "sleep", "1h")
	names := []string{}
	for _, text := range hostileTexts {
		if !strings.Contains(text, "/") && len(text) < 255 {
			spec.Mounts = append(spec.Mounts, compute.Mount{Type: compute.MountTmpfs, Path: "/odd/" + text})
			if spec.Validate() != nil {
				// The contract has no such paths.
				spec.Mounts = spec.Mounts[:len(spec.Mounts)-1]
				continue
			}
			names = append(names, text)
		}
	}
	require.Greater(e, len(names), 10)
	inst := e.create(spec)
	e.start(inst)
	read := []string{"read"}
	for _, name := range names {
		x := guestExec("write", "x", name)
		x.Process.Dir = "/odd/" + name
		require.Zero(e, e.execSpec(inst, x).exit.Code, "%q", name)
		read = append(read, x.Process.Dir+"/x")
	}
	require.Equal(e, strings.Join(names, ""), e.exec(inst, read...).stdout)
	require.Equal(e, spec.Mounts, e.info(inst).Spec.Mounts)
}

func hostileArguments(e *env) {
	inst := e.reachable()
	got := report[[]string](e, inst, append([]string{"args"}, hostileTexts...)...)
	require.Equal(e, hostileTexts, got)
}

func hostileOutput(e *env) {
	text := strings.Join(hostileTexts, "\n")
	require.Equal(e, text, e.exec(e.reachable(), "printf", text).stdout)
	e.idle = true
	job := e.ended("job", "printf", text)
	require.Equal(e, text, strings.Join(texts(e.logs(job, compute.LogOptions{Follow: true})), "\n"))
}

func hostileLastLines(e *env) {
	inst := e.ended("job", "printf", "\x1b[2Jfirst\r\nsecond\u202e")
	err := (&resource.Error{Op: "wait for", Logs: compute.LastLines(e.ctx, inst, "", 10)}).Error()
	require.False(e, strings.ContainsAny(err, "\x1b\r"), "%q", err)
	require.Contains(e, err, "first")
}
