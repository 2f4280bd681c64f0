package libvirt

import (
	"bytes"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/internal/logfile"
)

// mostLine is how much of a line is given at once.
const mostLine = logfile.MaxRecord

// lineCutter cuts output into lines. A terminal ends each with a carriage return
// in front of the newline, which is none of the line's.
type lineCutter struct {
	run  string
	kept []byte
}

func (c *lineCutter) cut(data []byte) []compute.LogLine {
	var lines []compute.LogLine
	for len(data) > 0 {
		at := bytes.IndexByte(data, '\n')
		switch {
		case at >= 0 && len(c.kept)+at <= mostLine:
			text := append(c.kept, data[:at]...)
			lines = append(lines, c.line(bytes.TrimSuffix(text, []byte("\r")), false))
			c.kept, data = nil, data[at+1:]
		case at < 0 && len(c.kept)+len(data) <= mostLine:
			c.kept, data = append(c.kept, data...), nil
		default:
			n := mostLine - len(c.kept)
			text := append(c.kept, data[:n]...)
			c.kept, data = nil, data[n:]
			// A carriage return may be one that a newline follows.
			if whole, cut := bytes.CutSuffix(text, []byte("\r")); cut {
				text, c.kept = whole, []byte("\r")
			}
			lines = append(lines, c.line(text, true))
		}
	}
	return lines
}

// rest is what no newline follows.
func (c *lineCutter) rest() []compute.LogLine {
	if len(c.kept) == 0 {
		return nil
	}
	text := c.kept
	c.kept = nil
	return []compute.LogLine{c.line(text, true)}
}

func (c *lineCutter) line(text []byte, partial bool) compute.LogLine {
	return compute.LogLine{Stream: compute.Stdout, Text: text, Partial: partial, Run: c.run}
}

// tailOf keeps the last lines.
type tailOf struct {
	lines []compute.LogLine
	most  int
}

func (t *tailOf) add(line compute.LogLine) {
	t.lines = append(t.lines, line)
	if len(t.lines) >= 2*t.most {
		t.lines = append([]compute.LogLine{}, t.lines[len(t.lines)-t.most:]...)
	}
}

// all are the last lines.
func (t *tailOf) all() []compute.LogLine { return t.lines[max(0, len(t.lines)-t.most):] }
