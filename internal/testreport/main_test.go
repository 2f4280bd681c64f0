package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReport(t *testing.T) {
	for _, c := range []struct {
		name, in string
		ok       bool
		want     string
	}{
		{"passed", `{"Action":"pass","Package":"p","Test":"TestA"}`, true, "1 passed, 0 failed, 0 skipped\n"},
		{"failed", `{"Action":"output","Package":"p","Test":"TestA","Output":"why\n"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestA"}`,
			false, "--- FAIL: p TestA\nwhy\nfailed: p TestA\n0 passed, 1 failed, 0 skipped\n"},
		{"skipped as declared", `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" +
			`{"Action":"output","Package":"p","Test":"TestB","Output":"not offered: pause\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`,
			true, "1 passed, 0 failed, 1 skipped\n"},
		{"skipped for want of a daemon", `{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" +
			`{"Action":"output","Package":"p","Test":"TestB","Output":"needs root\n"}` + "\n" + `{"Action":"skip","Package":"p","Test":"TestB"}`,
			false, "skipped, and nobody declared why: p TestB\nneeds root\n1 passed, 1 failed, 0 skipped\n"},
		{"a race in the output of a test that passed", `{"Action":"output","Package":"p","Test":"TestA","Output":"==================\n"}` + "\n" +
			`{"Action":"output","Package":"p","Test":"TestA","Output":"WARNING: DATA RACE\n"}` + "\n" +
			`{"Action":"output","Package":"p","Test":"TestA","Output":"  where()\n"}` + "\n" +
			`{"Action":"output","Package":"p","Test":"TestA","Output":"==================\n"}` + "\n" +
			`{"Action":"pass","Package":"p","Test":"TestA"}` + "\n" + `{"Action":"fail","Package":"p","Test":"TestB"}`,
			false, "--- FAIL: p TestB\nWARNING: DATA RACE\n  where()\nfailed: p TestB\n1 passed, 1 failed, 0 skipped\n"},
		{"slow", `{"Action":"pass","Package":"p","Test":"TestA","Elapsed":19.9}` + "\n" + `{"Action":"pass","Package":"p","Test":"TestB","Elapsed":21.4}` + "\n" +
			`{"Action":"pass","Package":"p","Elapsed":41.5}`,
			true, "ok: p took 42s\nok: p TestB took 21s\n2 passed, 0 failed, 0 skipped\n"},
		{"nothing ran", ``, false, "0 passed, 0 failed, 0 skipped\n"},
		{"no build", `{"Action":"build-output","ImportPath":"p","Output":"undefined: x\n"}` + "\n" + `{"Action":"fail","Package":"p"}`,
			false, "undefined: x\n--- FAIL: p \nfailed: p\n0 passed, 1 failed, 0 skipped\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out bytes.Buffer
			r, err := read(strings.NewReader(c.in), &out)
			require.NoError(t, err)
			require.Equal(t, c.ok, r.print(&out))
			require.Equal(t, c.want, out.String())
		})
	}
}
