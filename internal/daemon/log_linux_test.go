package daemon

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestLogIsBounded(t *testing.T) {
	dir, config := begin(t)
	behave(t, dir, "chatty")
	config.LogLimit = 20_000
	d, err := Start(background, config)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		kept, err := os.Stat(filepath.Join(config.Dir, logFile+".1"))
		if err != nil {
			return false
		}
		assert.LessOrEqual(t, kept.Size(), config.LogLimit)
		return true
	}, 20*time.Second, time.Millisecond)
	require.NoError(t, d.Close(background, false))
}

func TestLogThatGrewUnwatchedIsTrimmed(t *testing.T) {
	_, config := begin(t)
	config.LogLimit = 1000
	f, err := claim(background, config.Dir, config.Name)
	require.NoError(t, err)
	f.unlock()
	require.NoError(t, os.WriteFile(f.path(logFile), []byte(strings.Repeat("old\n", 1000)), 0o600))
	d, err := Start(background, config)
	require.NoError(t, err)
	now, err := os.Stat(f.path(logFile))
	require.NoError(t, err)
	assert.Less(t, now.Size(), config.LogLimit)
	kept, err := os.Stat(f.path(logFile + ".1"))
	require.NoError(t, err)
	assert.Equal(t, config.LogLimit, kept.Size())
	require.NoError(t, d.Close(background, false))
}

func TestTail(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	assert.Nil(t, tail(path, 0), "no log")
	long := strings.Repeat("x", tailBytes)
	for name, tt := range map[string]struct {
		text string
		from int64
		want []string
	}{
		"empty":              {"", 0, nil},
		"one":                {"a\n", 0, []string{"a"}},
		"without newline":    {"a\nb", 0, []string{"a", "b"}},
		"from an offset":     {"old\nnew\n", 4, []string{"new"}},
		"offset after trim":  {"new\n", 4000, []string{"new"}},
		"blank lines":        {"\n \na\n\n", 0, []string{"a"}},
		"carriage return":    {"a\r\n", 0, []string{"a"}},
		"last ten":           {strings.Repeat("a\n", 5) + strings.Repeat("b\n", 10), 0, strings.Fields(strings.Repeat("b ", 10))},
		"cut within a line":  {long + "\nb\n", 0, []string{"b"}},
		"one line, too long": {long + long, 0, []string{long}},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, os.WriteFile(path, []byte(tt.text), 0o600))
			assert.Equal(t, tt.want, tail(path, tt.from))
		})
	}
}

func FuzzLastLines(f *testing.F) {
	f.Add("a\nb\n")
	f.Add("\x1b[31m\xff\x00\u2028")
	f.Fuzz(func(t *testing.T, text string) {
		lines := lastLines(text)
		assert.LessOrEqual(t, len(lines), tailLines)
		for _, line := range lines {
			assert.NotEmpty(t, line)
			for _, r := range line {
				assert.True(t, unicode.IsPrint(r), "%q", line)
			}
		}
	})
}
