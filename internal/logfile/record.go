package logfile

import (
	"bytes"
	"strconv"
	"time"
)

// MaxRecord is the number of bytes of content that one record holds at most; a
// longer line takes several.
const MaxRecord = 16 << 10

// maxRecordLine bounds a record with its header; what is longer is corrupt.
const maxRecordLine = MaxRecord + 128

// timeLayout is RFC 3339 with all nine digits, so that records align.
const timeLayout = "2006-01-02T15:04:05.000000000Z07:00"

// Stream says which of its two outputs an instance wrote to.
type Stream uint8

// The streams of an instance. With a terminal everything is Stdout.
const (
	Stdout Stream = 1
	Stderr Stream = 2
)

// String returns the name that the stream has in a file, "stdout" or "stderr".
func (s Stream) String() string {
	switch s {
	case Stdout:
		return "stdout"
	case Stderr:
		return "stderr"
	}
	return "stream(" + strconv.Itoa(int(s)) + ")"
}

// Entry is one record: a line, or a piece of one.
type Entry struct {
	// Time is when the writer read the content, in UTC.
	Time time.Time
	// Stream is where the instance wrote it.
	Stream Stream
	// Line is the content without its newline: any bytes at all. It belongs to
	// the receiver.
	Line []byte
	// Partial says that no newline followed: the next entry of the stream goes
	// on with the line, or the run ended within it.
	Partial bool
	// Lost is zero for what the instance wrote. Otherwise that many bytes of
	// the stream could not be stored, and Line says why.
	Lost int64
	// Run is the token of the run.
	Run string
}

func appendHeader(b []byte, at time.Time, s Stream) []byte {
	b = at.AppendFormat(b, timeLayout)
	b = append(b, ' ')
	b = append(b, s.String()...)
	return append(b, ' ')
}

func appendLost(b []byte, at time.Time, s Stream, lost int64, reason string) []byte {
	b = appendHeader(b, at, s)
	b = append(b, "F:lost="...)
	b = strconv.AppendInt(b, lost, 10)
	b = append(b, " ["...)
	b = strconv.AppendInt(b, lost, 10)
	b = append(b, " bytes of output lost: "...)
	b = append(b, reason...)
	return append(b, "]\n"...)
}

// parseRecord reads one record without its newline. Line shares the memory of
// line. It is false for anything that a Writer does not write.
func parseRecord(line []byte) (Entry, bool) {
	var e Entry
	stamp, rest, ok := bytes.Cut(line, []byte{' '})
	if !ok || len(stamp) > len(timeLayout) {
		return e, false
	}
	at, err := time.Parse(time.RFC3339Nano, string(stamp))
	if err != nil {
		return e, false
	}
	e.Time = at.UTC()
	name, rest, ok := bytes.Cut(rest, []byte{' '})
	switch {
	case !ok:
		return e, false
	case string(name) == "stdout":
		e.Stream = Stdout
	case string(name) == "stderr":
		e.Stream = Stderr
	default:
		return e, false
	}
	tags, content, ok := bytes.Cut(rest, []byte{' '})
	if !ok {
		return e, false
	}
	tag, extra, _ := bytes.Cut(tags, []byte{':'})
	switch string(tag) {
	case "F":
	case "P":
		e.Partial = true
	default:
		return e, false
	}
	if n, ok := bytes.CutPrefix(extra, []byte("lost=")); ok {
		e.Lost, err = strconv.ParseInt(string(n), 10, 64)
		if err != nil || e.Lost <= 0 {
			return e, false
		}
	}
	e.Line = content
	return e, true
}
