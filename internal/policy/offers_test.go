package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/providers/containerd"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/providers/libvirt"
	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

// offer is what one provider declares, for one column of the table.
type offer struct {
	name     string
	features resource.Features
}

// offers are taken from the declarations themselves, without a daemon.
func offers(t *testing.T) []offer {
	t.Helper()
	p := fake.New(fake.Options{})
	defer func() { require.NoError(t, p.Close()) }()
	about, err := p.Describe(context.Background())
	require.NoError(t, err)
	all := func(parts ...resource.Features) resource.Features {
		out := resource.Features{}
		for _, part := range parts {
			for feature, support := range part {
				out[feature] = support
			}
		}
		return out
	}
	rest := []resource.Features{about.Images, about.Volumes.Features, about.Networks.Features}
	return []offer{
		{"fake container", all(append(rest, about.Kinds[compute.Container].Features)...)},
		{"fake vm", all(append(rest, about.Kinds[compute.VM].Features)...)},
		{"containerd", all(containerd.Features(), containerd.ImageFeatures())},
		{"libvirt", all(libvirt.Features(), libvirt.ImageFeatures(), libvirt.VolumeFeatures(), libvirt.NetworkFeatures())},
	}
}

// known lists every feature that the core defines, in the order of the table.
func known() []resource.Feature {
	return slices.Concat(compute.Features(), compute.ImageFeatures(), storage.Features(), network.Features())
}

func TestDeclaredFeaturesAreDefined(t *testing.T) {
	for _, o := range offers(t) {
		for feature := range o.features {
			assert.Contains(t, known(), feature, "%s declares a feature that nobody defines", o.name)
		}
	}
}

// TestOffersOnlyGrow compares with the list of what each provider must offer.
// Its -update adds to the list and removes nothing.
func TestOffersOnlyGrow(t *testing.T) {
	file := filepath.Join("testdata", "offers.txt")
	var now []string
	for _, o := range offers(t) {
		for _, feature := range o.features.Names() {
			now = append(now, fmt.Sprintf("%s: %s", o.name, feature))
		}
	}
	text, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	must := strings.Split(strings.TrimSpace(string(text)), "\n")
	if *update {
		merged := slices.Compact(slices.Sorted(slices.Values(slices.Concat(must, now))))
		merged = slices.DeleteFunc(merged, func(s string) bool { return s == "" })
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(file, []byte(strings.Join(merged, "\n")+"\n"), 0o644))
		return
	}
	for _, line := range must {
		assert.Contains(t, now, line, "was offered once")
	}
	for _, line := range now {
		assert.Contains(t, must, line, "new; run: go test ./internal/policy -update")
	}
}

const (
	tableBegin = "<!-- capabilities:begin -->\n"
	tableEnd   = "<!-- capabilities:end -->\n"
)

// TestTableOfREADME holds that the table of README.md is what the providers
// declare.
func TestTableOfREADME(t *testing.T) {
	text := read(t, "README.md")
	before, rest, ok := strings.Cut(text, tableBegin)
	require.True(t, ok, "README.md has no %s", tableBegin)
	have, after, ok := strings.Cut(rest, tableEnd)
	require.True(t, ok, "README.md has no %s", tableEnd)
	want := table(offers(t))
	if *update {
		require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), []byte(before+tableBegin+want+tableEnd+after), 0o644))
		return
	}
	assert.Empty(t, changed(have, want), "run: go test ./internal/policy -update")
}

// table renders what is offered as Markdown, a feature a line; its parts, such as
// exec.tty, stand in the same line where one of them is missing. What nobody
// offers is left out.
func table(columns []offer) string {
	var b strings.Builder
	b.WriteString("| feature |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, feature := range known() {
		if whole(feature) != "" {
			continue
		}
		row, offered := fmt.Sprintf("| %s |", feature), false
		for _, c := range columns {
			row += " " + cell(c.features, feature) + " |"
			offered = offered || c.features.Has(feature)
		}
		if offered {
			b.WriteString(row + "\n")
		}
	}
	return b.String()
}

// whole returns the feature that one is a part of, or "".
func whole(part resource.Feature) resource.Feature {
	at := strings.IndexByte(string(part), '.')
	if at < 0 || !slices.Contains(known(), part[:at]) {
		return ""
	}
	return part[:at]
}

func cell(features resource.Features, feature resource.Feature) string {
	if !features.Has(feature) {
		return "–"
	}
	var missing []string
	for _, part := range known() {
		if whole(part) == feature && !features.Has(part) {
			missing = append(missing, strings.TrimPrefix(string(part), string(feature)+"."))
		}
	}
	if len(missing) == 0 {
		return "yes"
	}
	return "yes, but not " + strings.Join(missing, ", ")
}
