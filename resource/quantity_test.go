package resource_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1024": 1024, "007": 7, "1B": 1, "1 B": 1, " 1KiB\n": 1 << 10,
		"512MiB": 512 << 20, "512Mi": 512 << 20, "2GiB": 2 << 30, "2Gi": 2 << 30, "1TiB": 1 << 40, "1Ti": 1 << 40, "1Ki": 1 << 10,
		"1kB": 1000, "1KB": 1000, "1MB": 1e6, "10GB": 1e10, "1TB": 1e12,
		"1.5GiB": 3 << 29, "0.5 KiB": 512, ".5KiB": 512, "5.KiB": 5120, "1.0B": 1, "0.001kB": 1,
		"9223372036854775807":   math.MaxInt64,
		"9223372036854775807.0": math.MaxInt64,
		"9007199254740993.0":    1<<53 + 1, // no float64 holds it
		"8388607TiB":            8388607 << 40,
	} {
		got, err := resource.ParseSize(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for text, reason := range map[string]string{
		"":                                "must be a number with an optional unit",
		".":                               "must be a number with an optional unit",
		"1.2.3":                           "must be a number with an optional unit",
		"MiB":                             "must be a number with an optional unit",
		"-1":                              "must have one of the units",
		"+1":                              "must have one of the units",
		"512m":                            "must have one of the units",
		"512M":                            "must have one of the units",
		"1K":                              "must have one of the units",
		"1e3":                             "must have one of the units",
		"0x10":                            "must have one of the units",
		"1_000":                           "must have one of the units",
		"1,5GiB":                          "must have one of the units",
		"1 G iB":                          "must have one of the units",
		"1gib":                            "must have one of the units",
		"1PiB":                            "must have one of the units",
		"NaN":                             "must have one of the units",
		"Inf":                             "must have one of the units",
		"١":                               "must have one of the units", // a digit, but not of ASCII
		"1\x00":                           "must have one of the units",
		"0.1KiB":                          "is not a whole number of bytes",
		"0.5":                             "is not a whole number of bytes",
		"9223372036854775808":             "is larger than an int64 can hold",
		"8388608TiB":                      "is larger than an int64 can hold",
		strings.Repeat("9", 64):           "is larger than an int64 can hold",
		strings.Repeat("9", 65):           "is too long for a number",
		"0." + strings.Repeat("1", 1<<20): "is too long for a number",
	} {
		got, err := resource.ParseSize(text)
		require.Error(t, err, "%.80q", text)
		assert.Zero(t, got)
		assert.True(t, errdefs.IsInvalidArgument(err))
		faults := resource.FaultsOf(err)
		require.Len(t, faults, 1)
		assert.Equal(t, "size", faults[0].Field)
		assert.True(t, strings.HasPrefix(faults[0].Reason, reason), "%.80q: %s", text, faults[0].Reason)
		assert.Less(t, len(err.Error()), 300, "a message holds no more of the text than it needs")
	}
}

func TestParseSizeIsExact(t *testing.T) {
	for thousandths := range int64(10000) {
		for unit, factor := range map[string]int64{"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12} {
			text := fmt.Sprintf("%d.%03d%s", thousandths/1000, thousandths%1000, unit)
			got, err := resource.ParseSize(text)
			require.NoError(t, err, text)
			require.Equal(t, thousandths*factor/1000, got, text)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for bytes, want := range map[int64]string{
		0: "0B", 1: "1B", 1023: "1023B", 1024: "1KiB", 1025: "1025B", 1536: "1536B", 3 << 19: "1536KiB",
		512 * resource.MiB: "512MiB", resource.GiB: "1GiB", 1024 * resource.TiB: "1024TiB",
		math.MaxInt64: "9223372036854775807B", -1: "-1B", -1024: "-1KiB",
	} {
		assert.Equal(t, want, resource.FormatSize(bytes))
	}
}

func TestParseCPUs(t *testing.T) {
	for text, want := range map[string]float64{
		"0": 0, "2": 2, "0.5": 0.5, ".5": 0.5, "2.": 2, " 1 ": 1, "500m": 0.5, "100m": 0.1, "1500m": 1.5, "0.5m": 0.0005,
	} {
		got, err := resource.ParseCPUs(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
	}
	for _, text := range []string{
		"", "m", ".", "-1", "+1", "1e3", "NaN", "nan", "Inf", "-Inf", "infinity", "0x1p-2", "1_0", "1,5", "1 m", "1mm", "500M", "1u",
		"1\x00", "٢", strings.Repeat("9", 65), strings.Repeat("9", 1<<20),
	} {
		got, err := resource.ParseCPUs(text)
		require.Error(t, err, "%.80q", text)
		assert.Zero(t, got)
		assert.True(t, errdefs.IsInvalidArgument(err))
		faults := resource.FaultsOf(err)
		require.Len(t, faults, 1)
		assert.Equal(t, "cpus", faults[0].Field)
		assert.Less(t, len(err.Error()), 300)
	}
}

func TestFormatCPUs(t *testing.T) {
	for cores, want := range map[float64]string{0: "0", 2: "2", 0.5: "0.5", 0.1: "0.1", 1e6: "1000000", 1e-6: "0.000001"} {
		assert.Equal(t, want, resource.FormatCPUs(cores))
	}
}

func FuzzParseSize(f *testing.F) {
	for _, seed := range []string{
		"0", "1024", "1.5GiB", "2Gi", "10GB", "1.001TB", "512m", "-1", ".", "9223372036854775807", "1 KiB", "00000000001B", "0.0",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		size, err := resource.ParseSize(text)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		assert.GreaterOrEqual(t, size, int64(0))
		again, err := resource.ParseSize(resource.FormatSize(size))
		require.NoError(t, err)
		assert.Equal(t, size, again)
	})
}

func FuzzParseCPUs(f *testing.F) {
	for _, seed := range []string{"0", "2", "0.5", "500m", "0.1m", "NaN", "1e9", ".", "99999999999999999999", "0.000000000001"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		cores, err := resource.ParseCPUs(text)
		if err != nil {
			assert.True(t, errdefs.IsInvalidArgument(err))
			return
		}
		assert.False(t, math.IsNaN(cores) || math.IsInf(cores, 0) || cores < 0, "%v", cores)
		if formatted := resource.FormatCPUs(cores); len(formatted) <= 64 {
			again, err := resource.ParseCPUs(formatted)
			require.NoError(t, err)
			assert.Equal(t, cores, again)
		}
	})
}
