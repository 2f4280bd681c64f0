package policy

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write generated files anew")

// root is the module's folder, as seen from this one.
var root = filepath.Join("..", "..")

// rules are all rules that look at nothing but source.
var rules = map[string]func(*Source) []Finding{
	"imports":       Imports,
	"documentation": Documentation,
	"interfaces":    Interfaces,
	"names":         Names,
	"sizes":         Sizes,
	"sleeps":        Sleeps,
	"error texts":   ErrorTexts,
	"contexts":      Contexts,
	"features":      Features,
}

func load(t *testing.T) *Source {
	t.Helper()
	s, err := Load(root)
	require.NoError(t, err)
	require.Greater(t, len(s.Packages), 8, "packages found")
	return s
}

// read reads a text file below the module's folder.
func read(t *testing.T, elem ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(append([]string{root}, elem...)...))
	require.NoError(t, err)
	return string(text)
}

func TestModuleKeepsTheRules(t *testing.T) {
	s := load(t)
	for name, rule := range rules {
		t.Run(name, func(t *testing.T) {
			for _, finding := range rule(s) {
				t.Error(finding)
			}
		})
	}
	t.Run("links", func(t *testing.T) {
		for _, finding := range Linked(s, append([]string{"providers/fake"}, core...)...) {
			t.Error(finding)
		}
	})
}

// TestRulesFindWhatBreaksThem shows each rule source that breaks it, and source
// that looks like it and does not.
func TestRulesFindWhatBreaksThem(t *testing.T) {
	type files map[string]string
	long := strings.Repeat("\n", maxLines+1)
	for _, c := range []struct {
		name, rule string
		files      files
		want       []string
	}{
		{
			"the core imports downwards and errdefs only", "imports",
			files{
				"resource/a.go": "package resource\nimport (\n\t\"fmt\"\n\t\"github.com/containerd/errdefs\"\n\t\"example.com/m/compute\"\n\t\"github.com/pkg/errors\"\n)",
				"storage/a.go":  "package storage\nimport \"example.com/m/network\"",
				"compute/a.go":  "package compute\nimport (\n\t\"example.com/m/storage\"\n\t\"example.com/m\"\n\t\"example.com/m/internal/x\"\n)",
				"a.go":          "package m\nimport (\n\t\"example.com/m/compute\"\n\t\"example.com/m/providers/fake\"\n)",
				"a_test.go":     "package m\nimport _ \"example.com/m/providers/fake\"",
			},
			[]string{
				"a.go:4: must not import example.com/m/providers/fake",
				"compute/a.go:4: must not import example.com/m",
				"compute/a.go:5: must not import example.com/m/internal/x",
				"resource/a.go:5: must not import example.com/m/compute",
				"resource/a.go:6: must not import github.com/pkg/errors",
				"storage/a.go:2: must not import example.com/m/network",
			},
		},
		{
			"no provider knows another", "imports",
			files{
				"providers/a/a.go":                      "package a\nimport (\n\t\"sdk.com/a\"\n\t\"example.com/m/internal/x\"\n\t\"example.com/m/providers/a/b\"\n\t\"example.com/m/providers/fake\"\n)",
				"providers/a/b/b.go":                    "package b\nimport \"example.com/m/providers/a\"",
				"providers/fake/a.go":                   "package fake\nimport (\n\t\"sdk.com/a\"\n\t\"example.com/m/internal/x\"\n)",
				"providers/providertest/a.go":           "package providertest\nimport \"example.com/m/providers/a\"",
				"providers/providertest/fakeguest/a.go": "package fakeguest\nimport \"example.com/m/providers/fake\"",
			},
			[]string{
				"providers/a/a.go:6: must not import example.com/m/providers/fake",
				"providers/fake/a.go:3: must not import sdk.com/a",
				"providers/fake/a.go:4: must not import example.com/m/internal/x",
				"providers/providertest/a.go:2: must not import example.com/m/providers/a",
			},
		},
		{
			"what is internal is for providers", "imports",
			files{
				"internal/x/a.go":       "package x\nimport (\n\t\"example.com/m/internal/y\"\n\t\"example.com/m/compute\"\n)",
				"internal/y/a_linux.go": "package y\nimport (\n\t\"sdk.com/a\"\n\t\"golang.org/x/sys/unix\"\n)",
				"examples/e/a.go":       "package main\nimport (\n\t\"example.com/m/providers/a\"\n\t\"example.com/m/internal/x\"\n)",
				"other/a.go":            "package other",
			},
			[]string{
				"examples/e/a.go:4: links sdk.com/a, which is for providers",
				"examples/e/a.go:4: must not import example.com/m/internal/x",
				"internal/x/a.go:4: must not import example.com/m/compute",
				"other: the folder has no place in the map: give it a layer",
			},
		},
		{
			"everything exported is documented", "documentation",
			files{
				"a.go": "// Package m is documented.\npackage m\n\n" + // 3
					"func F() {}\n\n// It does.\nfunc G() {}\n\n// The H does.\nfunc H() {}\n\n// Hello is another word.\nfunc Hell() {}\n\n" + // 14
					"type T struct{}\n\nfunc (T) M() {}\n\nfunc (*T) m() {}\n\ntype t struct{ F int }\n\nfunc (t) M() {}\n", // 23
				"b/b.go": "package b\n\n// S is.\ntype S struct {\n\tA int\n\n\t// B is.\n\tB int\n\tC int\n\n\tD int\n\tE int // E is.\n\tLabels int\n\td int\n\tS2\n}\n\n" + // 17
					"// I is.\ntype I interface {\n\tM()\n\n\t// N does.\n\tN()\n\tO()\n}\n\n" + // 26
					"// The constants.\nconst (\n\tX = 1\n\tY = 2\n)\n\nconst Z = 3\n\nvar (\n\tV int // V is.\n\tW int\n)\n\ntype (\n\t// A is.\n\tA int\n\tB int\n)\n",
				"internal/c/c.go": "package c\n\nfunc F() {}\n",
				"cmd/d/d.go":      "package main\n\nfunc F() {}\n",
				"b/b_test.go":     "package b\n\nfunc F() {}\n",
			},
			[]string{
				"a.go:15: type T is not documented",
				"a.go:17: method T.M is not documented",
				"a.go:4: func F is not documented",
				"a.go:7: the comment of func G does not begin with its name",
				"a.go:13: the comment of func Hell does not begin with its name",
				"b/b.go:11: field S.D is not documented",
				"b/b.go:20: method I.M is not documented",
				"b/b.go:33: const Z is not documented",
				"b/b.go:37: var W is not documented",
				"b/b.go:43: type B is not documented",
				"b/b.go:5: field S.A is not documented",
				"b: the package has no comment",
			},
		},
		{
			"interfaces are narrow and extend a base", "interfaces",
			files{
				"compute/a.go": "package compute\ntype (\n\tInstances interface{}\n\tInstance interface{ A(); B(); C(); D(); E(); F(); G(); H() }\n" + // 4
					"\tImages interface{ A(); B(); C(); D(); E(); F(); G(); H(); I() }\n\tExecution interface{}\n\tAttachment interface{}\n" + // 7
					"\tPauser interface{ Instance; Pause() }\n\tLoner interface{ Pause() }\n\tsmall interface{ Pause() }\n" + // 10
					"\tBoth interface{ Instance; Images }\n)\n",
				"internal/a/a.go": "package a\ntype Wide interface{ A(); B(); C(); D(); E(); F(); G(); H(); I() }\n",
			},
			[]string{
				"compute/a.go:11: interface Both extends no base: embed one, or list it as one",
				"compute/a.go:5: interface Images has 9 methods, 8 are allowed",
				"compute/a.go:9: interface Loner extends no base: embed one, or list it as one",
				"compute: the base Native is gone",
			},
		},
		{
			"names say something", "names",
			files{
				"internal/util/a.go": "package util", "internal/x/a.go": "package common", "internal/y/helpers.go": "package y",
				"internal/y/types_test.go": "package y", "internal/z/utility.go": "package z",
			},
			[]string{
				"internal/util: the folder's name util does not say what is in it",
				"internal/x: the package's name common does not say what is in it",
				"internal/y/helpers.go: the file's name does not say what is in it",
				"internal/y/types_test.go: the file's name does not say what is in it",
			},
		},
		{
			"files are short", "sizes",
			files{"internal/a/a.go": "package a" + long, "internal/a/a_test.go": "package a" + long, "internal/a/b.go": "package a" + long[2:]},
			[]string{
				"internal/a/a.go:1: the file has 701 lines, 700 are allowed: split it",
				"internal/a/a_test.go:1: the file has 701 lines, 700 are allowed: split it",
			},
		},
		{
			"tests do not sleep", "sleeps",
			files{
				"internal/a/a_test.go":              "package a\nimport \"time\"\nfunc f() {\n\ttime.Sleep(1)\n\ttime.Sleep(2) // The pace of a program.\n\t// A reason elsewhere.\n\tgo func() { time.Sleep(3) }()\n}\n",
				"internal/a/b_test.go":              "package a\nimport (\n\t\"testing/synctest\"\n\t\"time\"\n)\nvar _ = synctest.Wait\nfunc g() { time.Sleep(1) }\n",
				"internal/a/c.go":                   "package a\nimport \"time\"\nfunc h() { time.Sleep(1) }\n",
				"providers/providertest/a.go":       "package providertest\nimport \"time\"\nfunc h() { time.Sleep(1) }\n",
				"providers/providertest/guest/a.go": "package guest\nimport \"time\"\nfunc h() { time.Sleep(1) }\n",
			},
			[]string{
				"internal/a/a_test.go:4: a test must not sleep: wait for an event, or say behind the call why it synchronises nothing",
				"internal/a/a_test.go:7: a test must not sleep: wait for an event, or say behind the call why it synchronises nothing",
				"providers/providertest/a.go:3: a test must not sleep: wait for an event, or say behind the call why it synchronises nothing",
			},
		},
		{
			"errors are not told by their text", "error texts",
			files{
				"internal/a/a.go": "package a\nconst busy = \"busy\"\nfunc f(err error) bool {\n\tif strings.Contains(err.Error(), \"busy\") {\n\t}\n" + // 5
					"\tif err.Error() == \"busy\" || busy != x.err.Error() {\n\t}\n\tswitch err.Error() {\n\t}\n" + // 9
					"\tif pattern.MatchString(strings.ToLower(err.Error())) {\n\t}\n\tif strings.HasPrefix(fmt.Sprint(err.Error()), busy) {\n\t}\n" + // 13
					"\t_ = strings.ReplaceAll(err.Error(), \"a\", \"b\")\n\t_ = strings.Contains(err.Error(), name)\n\treturn err.Error() == other.Error()\n}\n",
				"internal/a/errors.go":            "package a\nfunc g(err error) bool { return err.Error() == \"busy\" }\n",
				"internal/a/imageerrors_linux.go": "package a\nfunc h(err error) bool { return err.Error() == \"busy\" }\n",
				"internal/a/a_test.go":            "package a\nfunc i(err error) bool { return err.Error() == \"busy\" }\n",
			},
			[]string{
				"internal/a/a.go:10: an error must not be told by its text outside of errors.go",
				"internal/a/a.go:12: an error must not be told by its text outside of errors.go",
				"internal/a/a.go:4: an error must not be told by its text outside of errors.go",
				"internal/a/a.go:6: an error must not be told by its text outside of errors.go",
				"internal/a/a.go:6: an error must not be told by its text outside of errors.go",
				"internal/a/a.go:8: an error must not be told by its text outside of errors.go",
			},
		},
		{
			"contexts come first and are not kept", "contexts",
			files{
				"compute/a.go":    "package compute\nimport \"context\"\nfunc F(a int, ctx context.Context) {}\nfunc G(ctx context.Context, a int) {}\nfunc h(a int, ctx context.Context) {}\ntype waiter struct{ ctx context.Context }\n",
				"internal/a/a.go": "package a\nimport \"context\"\nfunc F(a int, ctx context.Context) {}\ntype t struct{ ctx context.Context }\n",
			},
			[]string{
				"compute/a.go:3: the context of F must be its first parameter",
				"compute/a.go:6: a context must not be kept: it bounds the call",
			},
		},
		{
			"features are listed", "features",
			files{
				"compute/a.go": "package compute\nconst (\n\tFeatureA resource.Feature = \"a\"\n\tFeatureB resource.Feature = \"b\"\n\tother resource.Feature = \"c\"\n\tFeatureD = \"d\"\n)\nfunc Features() []resource.Feature { return []resource.Feature{FeatureA} }\n",
				"storage/a.go": "package storage\nconst FeatureA resource.Feature = \"volumes.a\"\nfunc ImageFeatures() []resource.Feature { return []resource.Feature{FeatureA, FeatureA} }\n",
			},
			[]string{
				"compute/a.go:4: FeatureB is in no list of features",
				"storage/a.go:2: FeatureA is listed 2 times",
			},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.files["go.mod"] = "module example.com/m\n\ngo 1.26\n"
			for name, text := range c.files {
				name = filepath.Join(dir, filepath.FromSlash(name))
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
				require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
			}
			s, err := Load(dir)
			require.NoError(t, err)
			var got []string
			for _, finding := range rules[c.rule](s) {
				got = append(got, finding.String())
			}
			assert.ElementsMatch(t, c.want, got)
		})
	}
}

func TestLinked(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"go.mod":                "module example.com/m\n",
		"compute/a.go":          "package compute\nimport \"example.com/m/internal/x\"",
		"internal/x/a.go":       "package x\nimport (\n\t\"fmt\"\n\t\"github.com/containerd/errdefs\"\n)",
		"internal/x/a_plan9.go": "package x\nimport \"sdk.com/a\"",
		"internal/x/a_test.go":  "package x\nimport \"sdk.com/test\"",
		"internal/y/a.go":       "package y\nimport \"sdk.com/b\"",
	} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	s, err := Load(dir)
	require.NoError(t, err)
	assert.Equal(t, []Finding{{"internal/x", "links sdk.com/a"}}, Linked(s, "compute"), "through others, on any system")
	assert.Empty(t, Linked(s, "resource"))
}
