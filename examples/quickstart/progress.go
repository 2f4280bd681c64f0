package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/univirt/univirt/resource"
)

// progressBar draws a resource.Progress on one line of a terminal. Into a file it
// writes how it ended.
type progressBar struct {
	out      *os.File
	terminal bool
	last     string
}

func newProgressBar(out *os.File) *progressBar {
	info, err := out.Stat()
	return &progressBar{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0}
}

func (b *progressBar) show(p resource.Progress) {
	const width = 30
	filled := 0
	if p.Total > 0 {
		filled = int(min(p.Done, p.Total) * width / p.Total)
	}
	b.last = fmt.Sprintf("fetch      [%s%s] %5.1f of %.1f MB  %s",
		strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		float64(p.Done)/1e6, float64(p.Total)/1e6, p.Phase)
	if b.terminal {
		fmt.Fprint(b.out, "\r\x1b[K"+b.last)
	}
}

func (b *progressBar) done() {
	switch {
	case b.last == "":
	case b.terminal:
		fmt.Fprintln(b.out)
	default:
		fmt.Fprintln(b.out, b.last)
	}
}
