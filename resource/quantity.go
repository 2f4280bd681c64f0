package resource

import (
	"fmt"
	"math/big"
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
		return 0, Faults{{Field: "size", Reason: reason + ": " + Quote(text)}}
	}
	if len(text) > maxNumberLength {
		return fail("is too long for a number")
	}
	number, unit := splitNumber(strings.TrimSpace(text))
	unit = strings.TrimSpace(unit)
	for _, u := range sizeUnits {
		if unit != u.suffix {
			continue
		}
		// Binary fractions would make "1.001GB" a fraction of a byte.
		value, ok := new(big.Rat).SetString(number)
		if !ok {
			return fail("must be a number with an optional unit")
		}
		value.Mul(value, new(big.Rat).SetInt64(u.factor))
		switch {
		case !value.IsInt():
			return fail("is not a whole number of bytes")
		case !value.Num().IsInt64():
			return fail("is larger than an int64 can hold")
		}
		return value.Num().Int64(), nil
	}
	return fail("must have one of the units B, KiB, MiB, GiB, TiB, kB, MB, GB, TB")
}

// maxNumberLength bounds the text of a number, which may be anybody's.
const maxNumberLength = 64

// splitNumber splits text behind the digits and dots that it begins with.
func splitNumber(text string) (number, rest string) {
	end := strings.IndexFunc(text, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:]
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
		return 0, Faults{{Field: "cpus", Reason: reason + ": " + Quote(text)}}
	}
	const want = `must be a number of cores, such as "2", "0.5" or "500m"`
	if len(text) > maxNumberLength {
		return fail(want)
	}
	number, unit := splitNumber(strings.TrimSpace(text))
	// Digits and dots alone are neither NaN nor infinite nor negative.
	value, err := strconv.ParseFloat(number, 64)
	if err != nil || unit != "" && unit != "m" {
		return fail(want)
	}
	if unit == "m" {
		value /= 1000
	}
	return value, nil
}

// FormatCPUs writes a number of cores so that [ParseCPUs] reads the same number.
func FormatCPUs(cores float64) string { return strconv.FormatFloat(cores, 'f', -1, 64) }
