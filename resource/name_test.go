package resource_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

const someID = "0f8fad5b-d9cb-469f-a165-70867728950e"

func TestCheckName(t *testing.T) {
	for _, good := range []string{
		"a", "0", "web", "web-1", "a--b", "123", "xn--bcher-kva",
		strings.Repeat("a", resource.MaxNameLength),
		"0f8fad5b-d9cb-469f-a165-70867728950", // one short of an ID
		"0f8fad5b-d9cb-469f-a165-70867728950g",
	} {
		assert.Empty(t, resource.CheckName(good), good)
	}
	for bad, reason := range map[string]string{
		"":                      "must not be empty",
		strings.Repeat("a", 64): "must have at most 63 bytes, has 64",
		"-a":                    "must begin and end with a letter or a digit",
		"a-":                    "must begin and end with a letter or a digit",
		"-":                     "must begin and end with a letter or a digit",
		"Web":                   `must consist of a-z, 0-9 and '-', has "W"`,
		"a.b":                   `must consist of a-z, 0-9 and '-', has "."`,
		"a_b":                   `must consist of a-z, 0-9 and '-', has "_"`,
		"a/../b":                `must consist of a-z, 0-9 and '-', has "/"`,
		"a b":                   `must consist of a-z, 0-9 and '-', has " "`,
		"a\x00b":                `must consist of a-z, 0-9 and '-', has "\x00"`,
		"a\nb":                  `must consist of a-z, 0-9 and '-', has "\n"`,
		"büro":                  `must consist of a-z, 0-9 and '-', has "\u00fc"`,
		"a\u202eb":              `must consist of a-z, 0-9 and '-', has "\u202e"`,
		"a\xffb":                `must consist of a-z, 0-9 and '-', has "\xff"`,
		someID:                  "must not have the shape of an ID",
	} {
		assert.Equal(t, reason, resource.CheckName(bad), "%q", bad)
	}
}

func TestCheckNamespace(t *testing.T) {
	assert.Empty(t, resource.CheckNamespace("default"))
	assert.Empty(t, resource.CheckNamespace(someID), "a namespace has no ID to be taken for")
	assert.NotEmpty(t, resource.CheckNamespace("Default"))
	assert.NotEmpty(t, resource.CheckNamespace(""))
}

func TestNewID(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		id := resource.NewID()
		require.True(t, resource.IsID(id), id)
		require.Equal(t, byte('4'), id[14], "the version of %s", id)
		require.Contains(t, "89ab", string(id[19]), "the variant of %s", id)
		require.False(t, seen[id])
		seen[id] = true
	}
}

func TestNewIDFrom(t *testing.T) {
	id, err := resource.NewIDFrom(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16)))
	require.NoError(t, err)
	assert.Equal(t, "ffffffff-ffff-4fff-bfff-ffffffffffff", id)
	again, err := resource.NewIDFrom(iotest.OneByteReader(bytes.NewReader(bytes.Repeat([]byte{0xff}, 16))))
	require.NoError(t, err)
	assert.Equal(t, id, again)

	_, err = resource.NewIDFrom(strings.NewReader("short"))
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	broken := errors.New("broken")
	_, err = resource.NewIDFrom(iotest.ErrReader(broken))
	assert.ErrorIs(t, err, broken)
}

func TestIsID(t *testing.T) {
	assert.True(t, resource.IsID(someID))
	assert.True(t, resource.IsID("00000000-0000-0000-0000-000000000000"), "any version")
	for _, no := range []string{
		"", "web", strings.ToUpper(someID), "{" + someID + "}", "urn:uuid:" + someID,
		strings.ReplaceAll(someID, "-", ""), someID[:35], someID + "0",
		strings.Replace(someID, "-", "_", 1), strings.Replace(someID, "0", "g", 1),
		someID[:35] + "\n",
	} {
		assert.False(t, resource.IsID(no), "%q", no)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{
		"":          `""`,
		"web":       `"web"`,
		"a\nb":      `"a\nb"`,
		"a\x1b[31m": `"a\x1b[31m"`,
		"\xff":      `"\xff"`,
		"büro":      `"büro"`,
		"a\u202eb":  `"a\u202eb"`,
	} {
		assert.Equal(t, want, resource.Quote(in))
	}
	long := resource.Quote(strings.Repeat("ü", 1000))
	assert.Equal(t, `"`+strings.Repeat("ü", 128)+`"...`, long)
	assert.True(t, utf8.ValidString(resource.Quote(strings.Repeat("a\xff\x00", 1000))))
}

func FuzzCheckName(f *testing.F) {
	for _, seed := range []string{"", "web", "-a", someID, "a\x00", "ü", strings.Repeat("a", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		reason := resource.CheckName(name)
		assert.True(t, utf8.ValidString(reason))
		if reason == "" {
			assert.Empty(t, resource.CheckLabelValue(name), "a name can be a label's value")
			assert.False(t, resource.IsID(name))
		}
	})
}
