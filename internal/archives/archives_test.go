package archives

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestHarmless(t *testing.T) {
	for name, want := range map[string][2]string{
		"a/b": {"a/b"}, "./a//b/": {"a/b"}, ".": {"."}, "..a/b..": {"..a/b.."},
		"": {"", "has no name"}, "/a": {"", "is absolute"}, "a\x00": {"", "contains NUL"},
		"..": {"", "leads upwards"}, "a/../b": {"", "leads upwards"},
		strings.Repeat("n", MostName+1): {"", "is too long"}, strings.Repeat("n/", MostPath): {"", "is too long"},
	} {
		clean, reason := Harmless(name)
		assert.Equal(t, want, [2]string{clean, reason}, "%q", name)
	}
}

func TestCheckInside(t *testing.T) {
	for _, path := range []string{"/", "/a", "/a/..b"} {
		assert.NoError(t, CheckInside("dir", path), path)
	}
	for _, path := range []string{"", "a", "/a/../b", "/a\x00", "/" + strings.Repeat("a", MostPath)} {
		faults := resource.FaultsOf(CheckInside("dir", path))
		require.Len(t, faults, 1, "%q", path)
		assert.Equal(t, "dir", faults[0].Field)
	}
	assert.Equal(t, "b", LastName("/a/b/"))
	assert.Equal(t, ".", LastName("/"))
}

func TestTheEndOfAnArchive(t *testing.T) {
	zeros := make([]byte, End)
	for name, c := range map[string]struct {
		content []byte
		whole   bool
	}{
		"nothing": {nil, true}, "zeros": {zeros, true}, "an end": {append([]byte("x"), zeros...), true},
		"no end": {[]byte("x"), false}, "a part of one": {append([]byte("x"), zeros[1:]...), false}, "more behind it": {append(zeros, 'x'), false},
	} {
		r := &Reader{R: iotest.OneByteReader(bytes.NewReader(c.content))}
		_, err := io.Copy(io.Discard, r)
		require.NoError(t, err, name)
		assert.Equal(t, c.whole, r.Whole(), name)
		assert.NoError(t, r.Failed, name)
	}
	failed := errors.New("the stream's")
	r := &Reader{R: iotest.ErrReader(failed)}
	_, err := io.ReadAll(r)
	require.ErrorIs(t, err, failed)
	require.ErrorIs(t, r.Failed, failed)
}
