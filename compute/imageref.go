package compute

import (
	"strconv"
	"strings"

	"github.com/univirt/univirt/resource"
)

// ImageReference is a parsed reference to an image in a registry.
type ImageReference struct {
	// Registry is the registry's host with its port, "docker.io" where the
	// text named none.
	Registry string
	// Repository is the path in the registry, such as "library/nginx".
	Repository string
	// Tag is the tag; "latest" where the text had neither tag nor digest.
	Tag string
	// Digest is the digest, such as "sha256:...", or empty.
	Digest string
}

// ParseImageReference reads a reference as Docker writes it,
//
//	[registry/]repository[:tag][@digest]
//
// by the grammar of the OCI distribution specification
// (https://github.com/opencontainers/distribution-spec). The first part of the
// path is a registry where it has a dot or a colon, or is "localhost"; else the
// registry is docker.io, whose repositories of one part lie under library/. The
// error is Faults with the field "image".
func ParseImageReference(text string) (ImageReference, error) {
	var r ImageReference
	fail := func(reason string) (ImageReference, error) {
		return ImageReference{}, resource.Faults{{Field: "image", Reason: reason}}
	}
	if text == "" {
		return fail("must not be empty")
	}
	if len(text) > 1024 {
		return fail("must have at most 1024 bytes")
	}
	shown := resource.Quote(text)
	if strings.HasPrefix(text, "sha256:") || strings.HasPrefix(text, "sha512:") {
		// By the grammar it would be a tag of an image called sha256.
		return fail("is a digest, not a reference, or a malformed digest: " + shown)
	}
	rest, digest, found := strings.Cut(text, "@")
	if found {
		if !isDigest(digest) {
			return fail("has a malformed digest: " + shown)
		}
		r.Digest = digest
	}
	if colon := strings.LastIndexByte(rest, ':'); colon > strings.LastIndexByte(rest, '/') {
		r.Tag = rest[colon+1:]
		if !isTag(r.Tag) {
			return fail("has a malformed tag: " + shown)
		}
		rest = rest[:colon]
	}
	if r.Tag == "" && r.Digest == "" {
		r.Tag = "latest"
	}
	host, path, found := strings.Cut(rest, "/")
	if found && (strings.ContainsAny(host, ".:") || host == "localhost") {
		if !isRegistry(host) {
			return fail("has a malformed registry: " + shown)
		}
		r.Registry, r.Repository = host, path
	} else {
		r.Registry, r.Repository = "docker.io", rest
	}
	if r.Registry == "index.docker.io" {
		// The name under which Docker Hub was known first.
		r.Registry = "docker.io"
	}
	if r.Registry == "docker.io" && !strings.Contains(r.Repository, "/") {
		r.Repository = "library/" + r.Repository
	}
	if len(r.Repository) > 255 {
		return fail("has a repository of more than 255 bytes")
	}
	for part := range strings.SplitSeq(r.Repository, "/") {
		if !isPathPart(part) {
			return fail("has a malformed repository: " + shown)
		}
	}
	return r, nil
}

// String returns the reference in full.
func (r ImageReference) String() string {
	s := r.Registry + "/" + r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + r.Digest
	}
	return s
}

// CheckImageReference says what is wrong with an image's name or ID as a spec
// has it, or returns "".
func CheckImageReference(text string) string {
	if isDigest(text) {
		return ""
	}
	if _, err := ParseImageReference(text); err != nil {
		return resource.FaultsOf(err)[0].Reason
	}
	return ""
}

func isDigest(s string) bool {
	algorithm, hex, found := strings.Cut(s, ":")
	length := map[string]int{"sha256": 64, "sha512": 128}[algorithm]
	if !found || length == 0 || len(hex) != length {
		return false
	}
	return strings.Trim(hex, "0123456789abcdef") == ""
}

func isTag(s string) bool {
	if s == "" || len(s) > 128 || s[0] == '.' || s[0] == '-' {
		return false
	}
	return all(s, func(c byte) bool { return isAlphanumeric(c) || c == '_' || c == '.' || c == '-' })
}

// isPathPart accepts lower-case letters and digits, separated by one dot, one
// or two underscores, or any number of hyphens.
func isPathPart(s string) bool {
	if s == "" {
		return false
	}
	separator := 0
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			if !isSeparator(s[i-separator : i]) {
				return false
			}
			if separator == i && i > 0 {
				return false
			}
			separator = 0
		case c == '.' || c == '_' || c == '-':
			separator++
		default:
			return false
		}
	}
	return separator == 0
}

func isSeparator(s string) bool {
	return s == "" || s == "." || s == "_" || s == "__" || strings.Trim(s, "-") == ""
}

func isRegistry(s string) bool {
	host, port, found := s, "", false
	if after, ok := strings.CutPrefix(s, "["); ok {
		// An IPv6 address in brackets.
		host, port, found = strings.Cut(after, "]")
		if !found || !all(host, func(c byte) bool {
			return c == ':' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
		}) || host == "" {
			return false
		}
		port, found = strings.CutPrefix(port, ":")
		if !found && port != "" {
			return false
		}
	} else {
		host, port, found = strings.Cut(s, ":")
		for label := range strings.SplitSeq(host, ".") {
			if label == "" || label[0] == '-' || label[len(label)-1] == '-' ||
				!all(label, func(c byte) bool { return isAlphanumeric(c) || c == '-' }) {
				return false
			}
		}
	}
	if !found {
		return true
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '+'
}

func isAlphanumeric(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func all(s string, ok func(byte) bool) bool {
	for i := range len(s) {
		if !ok(s[i]) {
			return false
		}
	}
	return true
}
