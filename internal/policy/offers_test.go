package policy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
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
	fields   resource.FieldTable
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
		{"fake container", all(append(rest, about.Kinds[compute.Container].Features)...), about.Kinds[compute.Container].Fields},
		{"fake vm", all(append(rest, about.Kinds[compute.VM].Features)...), about.Kinds[compute.VM].Fields},
		{"containerd", all(containerd.Features(), containerd.ImageFeatures()), containerd.Fields()},
		{"libvirt", all(libvirt.Features(), libvirt.ImageFeatures(), libvirt.VolumeFeatures(), libvirt.NetworkFeatures()), libvirt.Fields()},
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

// TestTablesOfREADME holds that the tables of README.md are what the providers
// declare.
func TestTablesOfREADME(t *testing.T) {
	all := offers(t)
	for name, want := range map[string]string{"capabilities": table(all), "fields": fieldsTable(all)} {
		begin, end := "<!-- "+name+":begin -->\n", "<!-- "+name+":end -->\n"
		before, rest, ok := strings.Cut(read(t, "README.md"), begin)
		require.True(t, ok, "README.md has no %s", begin)
		have, after, ok := strings.Cut(rest, end)
		require.True(t, ok, "README.md has no %s", end)
		if *update {
			require.NoError(t, os.WriteFile(filepath.Join(root, "README.md"), []byte(before+begin+want+end+after), 0o644))
			continue
		}
		assert.Empty(t, changed(have, want), "run: go test ./internal/policy -update")
	}
}

// fieldsTable renders which fields of a spec are taken as Markdown, a field of
// compute.Spec a line, with those in it that some provider treats unlike others.
func fieldsTable(columns []offer) string {
	var b strings.Builder
	head(&b, "field", columns)
	for field := range reflect.TypeFor[compute.Spec]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		fmt.Fprintf(&b, "| %s |", name)
		if field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct {
			name += "[]"
		}
		for _, c := range columns {
			b.WriteString(" " + fieldCell(columns, c.fields, name) + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// fieldCell says what a table does with a field of a spec and what is in it.
func fieldCell(columns []offer, fields resource.FieldTable, name string) string {
	words := map[resource.FieldLevel]string{resource.FieldHonored: "yes", resource.FieldHint: "a hint", resource.FieldRefused: absent}
	if fields.Rule(name).Level == resource.FieldRefused {
		return words[resource.FieldRefused]
	}
	const most = 4
	but := map[resource.FieldLevel][]string{}
	within := inField(columns, name)
	for _, pattern := range within {
		level := fields.Rule(pattern).Level
		but[level] = append(but[level], strings.TrimPrefix(pattern, name+"."))
	}
	if len(within) == 0 {
		return words[fields.Rule(name).Level]
	}
	if len(but[resource.FieldHonored]) == 0 {
		return words[resource.FieldHint]
	}
	cell := words[resource.FieldHonored]
	if refused := but[resource.FieldRefused]; len(refused) > 0 {
		if len(refused) > most {
			refused = append(refused[:most], "…")
		}
		cell += ", but not " + strings.Join(refused, ", ")
	}
	return cell
}

// inField lists the patterns of what is in a field that some provider speaks of.
func inField(columns []offer, name string) (patterns []string) {
	for _, c := range columns {
		for pattern := range c.fields {
			if strings.HasPrefix(pattern, name+".") && !strings.HasSuffix(pattern, ".*") && !strings.Contains(pattern, "=") {
				patterns = append(patterns, pattern)
			}
		}
	}
	slices.Sort(patterns)
	return slices.Compact(patterns)
}

// head writes the first two lines of a table.
func head(b *strings.Builder, of string, columns []offer) {
	b.WriteString("| " + of + " |")
	for _, c := range columns {
		b.WriteString(" " + c.name + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
}

// table renders what is offered as Markdown, a feature a line; its parts, such as
// exec.tty, stand in the same line where one of them is missing. What nobody
// offers is left out.
func table(columns []offer) string {
	var b strings.Builder
	head(&b, "feature", columns)
	for _, feature := range known() {
		if whole(feature) != "" {
			continue
		}
		row, offered := fmt.Sprintf("| %s |", feature), false
		for _, c := range columns {
			said := cell(c.features, feature)
			row += " " + said + " |"
			offered = offered || said != absent
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

// absent is what a table says of what is not offered.
const absent = "–"

// cell says what a provider offers of a feature. One that is missing itself may have
// parts that stand alone: attach.volume needs no attach.
func cell(features resource.Features, feature resource.Feature) string {
	var has, missing []string
	for _, part := range known() {
		if whole(part) != feature {
			continue
		}
		name := strings.TrimPrefix(string(part), string(feature)+".")
		if features.Has(part) {
			has = append(has, name)
		} else {
			missing = append(missing, name)
		}
	}
	switch {
	case !features.Has(feature) && len(has) > 0:
		return "only " + strings.Join(has, ", ")
	case !features.Has(feature):
		return absent
	case len(missing) > 0:
		return "yes, but not " + strings.Join(missing, ", ")
	}
	return "yes"
}

func TestCellsOfTheTable(t *testing.T) {
	head, volume, stdin := compute.FeatureAttach, compute.FeatureAttachVolume, compute.FeatureAttachStdin
	for want, names := range map[string][]resource.Feature{
		absent:                        nil,
		"only volume":                 {volume},
		"only stdin, volume":          {volume, stdin},
		"yes, but not stdin, network": {head, volume},
		"yes":                         {head, volume, stdin, compute.FeatureAttachNetwork},
	} {
		features := resource.Features{}
		for _, name := range names {
			features[name] = resource.Support{Supported: true}
		}
		assert.Equal(t, want, cell(features, head))
	}
	alone := offer{name: "one", features: resource.Features{volume: {Supported: true}}}
	assert.Contains(t, table([]offer{alone}), "| attach | only volume |\n", "a line that has but a part")
}
