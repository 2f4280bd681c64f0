package logfile

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func TestParseRecord(t *testing.T) {
	at := time.Date(2016, 10, 6, 0, 17, 9, 669794202, time.UTC)
	for line, want := range map[string]Entry{
		"2016-10-06T00:17:09.669794202Z stdout F hello":          {Time: at, Stream: Stdout, Line: []byte("hello")},
		"2016-10-06T00:17:09.669794202Z stderr P  a b ":          {Time: at, Stream: Stderr, Line: []byte(" a b "), Partial: true},
		"2016-10-06T00:17:09.669794202Z stdout F ":               {Time: at, Stream: Stdout, Line: []byte{}},
		"2016-10-06T07:17:09.669794202+07:00 stdout F x":         {Time: at, Stream: Stdout, Line: []byte("x")},
		"2016-10-06T00:17:09.669794202Z stdout F:a:b x":          {Time: at, Stream: Stdout, Line: []byte("x")},
		"2016-10-06T00:17:09.669794202Z stderr F:lost=7 gone":    {Time: at, Stream: Stderr, Line: []byte("gone"), Lost: 7},
		"2016-10-06T00:17:09.669794202Z stdout F \x00\xff\x1b\r": {Time: at, Stream: Stdout, Line: []byte("\x00\xff\x1b\r")},
	} {
		got, ok := parseRecord([]byte(line))
		assert.True(t, ok, "%q", line)
		assert.Equal(t, want, got, "%q", line)
	}
	for _, line := range []string{
		"", " ", "x", "   ", "stdout F x",
		"2016-10-06T00:17:09.669794202Z",
		"2016-10-06T00:17:09.669794202Z stdout",
		"2016-10-06T00:17:09.669794202Z stdout F",
		"2016-10-06T00:17:09.669794202Z stdout X x",
		"2016-10-06T00:17:09.669794202Z stdin F x",
		"2016-10-06T00:17:09.669794202Z  stdout F x",
		"2016-13-06T00:17:09.669794202Z stdout F x",
		"2016-10-06T00:17:09.669794202Z stdout F:lost=x x",
		"2016-10-06T00:17:09.669794202Z stdout F:lost=-1 x",
		strings.Repeat("9", 1000) + " stdout F x",
	} {
		_, ok := parseRecord([]byte(line))
		assert.False(t, ok, "%q", line)
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout F hello"))
	f.Add([]byte("2016-10-06T00:17:09Z stderr P:x \x00"))
	f.Add([]byte("2016-10-06T07:17:09.6+07:00 stdout F:lost=12 x"))
	f.Add([]byte("2016-10-06T00:17:09.669794202Z stdout"))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, ok := parseRecord(line)
		if !ok || e.Lost > 0 || e.Time.Year() > 9999 || e.Time.Year() < 0 {
			return
		}
		// What was read can be written, and is read alike.
		again := appendHeader(nil, e.Time, e.Stream)
		if e.Partial {
			again = append(again, "P "...)
		} else {
			again = append(again, "F "...)
		}
		require.Len(t, again, headerSize)
		got, ok := parseRecord(append(again, e.Line...))
		require.True(t, ok)
		require.True(t, got.Time.Equal(e.Time))
		require.Equal(t, e, got)
	})
}

func TestRunTokens(t *testing.T) {
	for _, run := range []string{"a", "0", "a.b", "a-b_c.0", strings.Repeat("x", 128), "1.000001", "r.log", "x.writer"} {
		assert.NoError(t, CheckRun(run), "%q", run)
		for _, seq := range []int{1, 999999, 1000000} {
			got, n, ok := parseLogName(logName(run, seq))
			assert.True(t, ok)
			assert.Equal(t, run, got)
			assert.Equal(t, seq, n)
		}
	}
	for _, run := range []string{"", ".", "..", "-a", "_", "a/b", "../a", "a b", "a\x00", "a\n", "é", strings.Repeat("x", 129)} {
		assert.ErrorIs(t, CheckRun(run), ErrRun, "%q", run)
	}
	for _, name := range []string{
		"", ".log", "a.log", "a.1.log", "a.000000.log", "a.-00001.log", "a.+00001.log", "a.0000001.log",
		".000001.log", "a.000001.log.tmp", "-a.000001.log", "a.99999999999999999999.log", "a.000001",
	} {
		_, _, ok := parseLogName(name)
		assert.False(t, ok, "%q", name)
	}
}

func FuzzParseLogName(f *testing.F) {
	f.Add("run.000001.log")
	f.Add("a.b.1000000.log")
	f.Fuzz(func(t *testing.T, name string) {
		if run, seq, ok := parseLogName(name); ok {
			require.Equal(t, name, logName(run, seq))
			require.NoError(t, CheckRun(run))
			require.False(t, strings.ContainsRune(name, '/'))
		}
	})
}

func TestHeaderHasOneSize(t *testing.T) {
	for _, s := range []Stream{Stdout, Stderr} {
		assert.Len(t, append(appendHeader(nil, noon, s), "F "...), headerSize)
	}
	line := appendLost(nil, noon, Stderr, 12, "no space left on device")
	e, ok := parseRecord(bytes.TrimSuffix(line, []byte("\n")))
	require.True(t, ok)
	assert.Equal(t, Entry{
		Time: noon, Stream: Stderr, Lost: 12,
		Line: []byte("[12 bytes of output lost: no space left on device]"),
	}, e)
	assert.Equal(t, "stream(7)", Stream(7).String())
}
