package compute

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/univirt/univirt/network"
	"github.com/univirt/univirt/resource"
)

// The check functions say what is wrong with one value, or return "".

func checkRange(n, least, most int64) string {
	if n < least || n > most {
		return fmt.Sprintf("must be from %d to %d, is %d", least, most, n)
	}
	return ""
}

// checkText refuses what cannot be text of a process, or would not survive JSON.
func checkText(s string) string {
	switch {
	case strings.ContainsRune(s, 0):
		return "must not contain NUL"
	case !utf8.ValidString(s):
		return "must be valid UTF-8"
	}
	return ""
}

func checkEnv(name, value string) string {
	switch {
	case name == "":
		return "must have a name"
	case strings.ContainsRune(name, '='):
		return "must not have '=' in its name"
	}
	if reason := checkText(name); reason != "" {
		return reason
	}
	if len(name)+1+len(value) > maxString {
		return tooLong
	}
	return checkText(value)
}

// checkString refuses what cannot be one argument of a process.
func checkString(s string) string {
	if len(s) > maxString {
		return tooLong
	}
	return checkText(s)
}

var tooLong = fmt.Sprintf("must have at most %d bytes", maxString)

// checkPath demands an absolute path that says what it means.
func checkPath(p string) string {
	switch {
	case !strings.HasPrefix(p, "/"):
		return "must be an absolute path"
	case len(p) > 4095:
		return "must have at most 4095 bytes"
	}
	for part := range strings.SplitSeq(p, "/") {
		if part == ".." {
			return "must not contain '..'"
		}
		if len(part) > 255 {
			return "must not have a part of more than 255 bytes"
		}
	}
	return checkText(p)
}

func checkSubPath(p string) string {
	if strings.HasPrefix(p, "/") {
		return "must be relative"
	}
	return checkPath("/" + p)
}

// checkUser accepts a name or number with an optional group of either kind.
func checkUser(user string) string {
	if user == "" {
		return ""
	}
	name, group, grouped := strings.Cut(user, ":")
	for _, part := range []string{name, group} {
		if part == "" {
			if part == name || grouped {
				return "must have the form user[:group]"
			}
			continue
		}
		if n, err := strconv.ParseUint(part, 10, 63); err == nil {
			if int64(n) > maxID {
				return fmt.Sprintf("must be a number from 0 to %d", maxID)
			}
			continue
		}
		for i, c := range part {
			ok := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' ||
				i > 0 && (c >= '0' && c <= '9' || c == '-' || c == '.' || c == '$')
			if !ok || len(part) > 256 {
				return "must be a name or a number, with an optional group: user[:group]"
			}
		}
	}
	return ""
}

var rlimitNames = []string{
	"as", "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue",
	"nice", "nofile", "nproc", "rss", "rtprio", "rttime", "sigpending", "stack",
}

func checkSysctl(name, value string) string {
	for part := range strings.SplitSeq(name, ".") {
		if resource.CheckLabelValue(part) != "" || part == "" {
			return "must be a name such as net.core.somaxconn"
		}
	}
	return checkText(value)
}

// checkCPUSet accepts the kernel's list format: numbers and ranges separated
// by commas.
func checkCPUSet(set string) string {
	if set == "" {
		return ""
	}
	for part := range strings.SplitSeq(set, ",") {
		low, high, isRange := strings.Cut(part, "-")
		a, err := strconv.ParseUint(low, 10, 16)
		b := a
		if err == nil && isRange {
			b, err = strconv.ParseUint(high, 10, 16)
		}
		if err != nil || b < a {
			return `must be a list such as "0-3,6"`
		}
	}
	return ""
}

// checkSignal accepts the names that signal(7) has, and real-time signals.
func checkSignal(name string) string {
	if name == "" {
		return ""
	}
	if _, err := ParseSignal(name); err != nil {
		return "is no signal: " + resource.Quote(name)
	}
	return ""
}

// checkProbedPort accepts what FindPort finds, unless a probe cannot connect to
// it.
func checkProbedPort(ports []network.Port, text string) string {
	p, err := FindPort(ports, text)
	switch {
	case err != nil:
		return resource.FaultsOf(err)[0].Reason
	case p.Protocol == network.UDP:
		return "must be a port of TCP"
	}
	return ""
}

// checkURLPath accepts an absolute path with an optional query, as it stands in
// a request.
func checkURLPath(p string) string {
	if p == "" {
		return ""
	}
	if u, err := url.ParseRequestURI(p); err != nil || !strings.HasPrefix(p, "/") || u.Host != "" || len(p) > 4096 || strings.Contains(p, "#") {
		return "must be the absolute path of a URL"
	}
	return ""
}

// isCDIName accepts vendor/class=name, by the grammar of the Container Device
// Interface's specification.
func isCDIName(s string) bool {
	kind, name, ok := strings.Cut(s, "=")
	vendor, class, ok2 := strings.Cut(kind, "/")
	word := func(s, marks string, letterFirst bool) bool {
		return s != "" && len(s) <= 253 && isAlphanumeric(s[0]) && isAlphanumeric(s[len(s)-1]) &&
			!(letterFirst && s[0] >= '0' && s[0] <= '9') &&
			all(s, func(c byte) bool { return isAlphanumeric(c) || strings.IndexByte(marks, c) >= 0 })
	}
	return ok && ok2 && word(vendor, "_-.", true) && word(class, "_-.", true) && word(name, "_-.:", false)
}

// FindPort finds the port that text names: the name of one of the ports, or a
// number, listed or not.
func FindPort(ports []network.Port, text string) (network.Port, error) {
	for _, p := range ports {
		if p.Name != "" && p.Name == text {
			return p, nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n == 0 {
		return network.Port{}, resource.Faults{{Field: "port", Reason: "is neither a number from 1 to 65535 nor the name of a port: " + resource.Quote(text)}}
	}
	for _, p := range ports {
		if uint64(p.Instance) == n && p.Protocol != network.UDP {
			return p, nil
		}
	}
	return network.Port{Protocol: network.TCP, Instance: uint16(n)}, nil
}
