package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/univirt/univirt/resource"
)

// progressBar draws a resource.Progress on one line of a terminal.
type progressBar struct {
	w     io.Writer
	drawn bool
}

func newProgressBar(w io.Writer) *progressBar { return &progressBar{w: w} }

func (b *progressBar) show(p resource.Progress) {
	const width = 30
	filled := 0
	if p.Total > 0 {
		filled = int(min(p.Done, p.Total) * width / p.Total)
	}
	b.drawn = true
	fmt.Fprintf(b.w, "\r\x1b[Kpull       [%s%s] %5.1f of %.1f MB  %s",
		strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		float64(p.Done)/1e6, float64(p.Total)/1e6, p.Phase)
}

func (b *progressBar) done() {
	if b.drawn {
		fmt.Fprintln(b.w)
	}
}
