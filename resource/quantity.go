package resource

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Byte sizes, for specs written in code: Memory: 512 * resource.MiB.
const (
	KiB int64 = 1 << 10
	MiB int64 = 1 << 20
	GiB int64 = 1 << 30
	TiB int64 = 1 << 40
)

var sizeUnits = []struct {
	suffix string
	factor int64
}{
	{"KiB", KiB}, {"MiB", MiB}, {"GiB", GiB}, {"TiB", TiB},
	{"Ki", KiB}, {"Mi", MiB}, {"Gi", GiB}, {"Ti", TiB},
	{"kB", 1e3}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12},
	{"B", 1}, {"", 1},
}

// ParseSize reads a number of bytes: "1024", "512MiB", "1.5 GiB", "2Gi",
// "10GB". Units with an i are powers of 1024 (IEC 80000-13), those without of
// 1000. A lone letter ("512m") is refused: it means MiB to Docker and a
// thousandth to Kubernetes. The error is Faults with the field "size".
func ParseSize(text string) (int64, error) {
	fail := func(reason string) (int64, error) {
		return 0, Faults{{Field: "size", Reason: reason + ": " + quote(text)}}
	}
	s := strings.TrimSpace(text)
	digits := strings.IndexFunc(s, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if digits < 0 {
		digits = len(s)
	}
	number, unit := s[:digits], strings.TrimSpace(s[digits:])
	for _, u := range sizeUnits {
		if unit != u.suffix {
			continue
		}
		if whole, err := strconv.ParseInt(number, 10, 64); err == nil {
			if whole > math.MaxInt64/u.factor {
				return fail("is larger than an int64 can hold")
			}
			return whole * u.factor, nil
		}
		value, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return fail("must be a number with an optional unit")
		}
		value *= float64(u.factor)
		if value >= math.MaxInt64 {
			return fail("is larger than an int64 can hold")
		}
		if value != math.Trunc(value) {
			return fail("is not a whole number of bytes")
		}
		return int64(value), nil
	}
	return fail("must have one of the units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")
}

// FormatSize writes a number of bytes so that [ParseSize] reads the same
// number: in the largest binary unit that leaves it whole.
func FormatSize(bytes int64) string {
	for _, u := range []struct {
		suffix string
		factor int64
	}{{"TiB", TiB}, {"GiB", GiB}, {"MiB", MiB}, {"KiB", KiB}} {
		if bytes != 0 && bytes%u.factor == 0 {
			return fmt.Sprintf("%d%s", bytes/u.factor, u.suffix)
		}
	}
	return fmt.Sprintf("%dB", bytes)
}

// ParseCPUs reads a number of processor cores: "2", "0.5", or "500m" for a
// thousandth as Kubernetes writes it. The error is Faults with the field "cpus".
func ParseCPUs(text string) (float64, error) {
	fail := func(reason string) (float64, error) {
		return 0, Faults{{Field: "cpus", Reason: reason + ": " + quote(text)}}
	}
	number, milli := strings.CutSuffix(strings.TrimSpace(text), "m")
	if strings.IndexFunc(number, func(r rune) bool { return (r < '0' || r > '9') && r != '.' }) >= 0 {
		return fail(`must be a number of cores, such as "2", "0.5" or "500m"`)
	}
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || math.IsInf(value, 0) {
		return fail(`must be a number of cores, such as "2", "0.5" or "500m"`)
	}
	if milli {
		value /= 1000
	}
	return value, nil
}

// FormatCPUs writes a number of cores so that [ParseCPUs] reads the same number.
func FormatCPUs(cores float64) string { return strconv.FormatFloat(cores, 'f', -1, 64) }
