package compute_test

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestOptionsValidate(t *testing.T) {
	badPlatform := compute.Platform{OS: "li nux", Architecture: "a/b", Variant: "\x00"}
	const word, registry = "must have at most 64 letters, digits, '_', '.' and '-'", "must be a host with a dot or a port, or localhost: "
	for name, c := range map[string]struct {
		options interface{ Validate() resource.Faults }
		faults  resource.Faults
	}{
		"no platform": {options: compute.Platform{}},
		"a platform":  {options: compute.Platform{OS: "linux", Architecture: "arm64", Variant: "v8.1"}},
		"a bad one":   {badPlatform, resource.Faults{{Field: "os", Reason: word}, {Field: "architecture", Reason: word}, {Field: "variant", Reason: word}}},
		"no pull":     {options: compute.PullOptions{}},
		"a pull":      {options: compute.PullOptions{Mirrors: map[string][]string{"docker.io": {"localhost", "[::1]:5000"}}, PlainHTTP: []string{"mirror.test:80"}}},
		"a bad pull": {
			compute.PullOptions{
				Platform: badPlatform, PlainHTTP: []string{"localhost", "a/b", ""},
				Mirrors: map[string][]string{"docker.io": {"http://x", "y.test"}, "docker io": nil},
			},
			resource.Faults{
				{Field: "platform.os", Reason: word}, {Field: "platform.architecture", Reason: word}, {Field: "platform.variant", Reason: word},
				{Field: `mirrors["docker io"]`, Reason: registry + `"docker io"`}, {Field: "mirrors[docker.io][0]", Reason: registry + `"http://x"`},
				{Field: "plainHTTP[1]", Reason: registry + `"a/b"`}, {Field: "plainHTTP[2]", Reason: registry + `""`},
			},
		},
		"no import":               {options: compute.ImportOptions{}},
		"an import":               {options: compute.ImportOptions{Name: "app:v1", Platform: compute.Platform{OS: "linux"}}},
		"an import with a digest": {compute.ImportOptions{Name: "app@" + someDigest}, resource.Faults{{Field: "name", Reason: "must not have a digest: the content decides on that"}}},
		"a bad import": {
			compute.ImportOptions{Name: "App", Platform: compute.Platform{OS: "li nux"}},
			resource.Faults{{Field: "name", Reason: `has a malformed repository: "App"`}, {Field: "platform.os", Reason: word}},
		},
		"no source":    {compute.ImageSource{Size: -1}, resource.Faults{{Field: "reader", Reason: "is required"}, {Field: "format", Reason: "is required: nothing is guessed from the content"}, {Field: "size", Reason: "must not be negative"}}},
		"a source":     {options: compute.ImageSource{Reader: &bytes.Buffer{}, Format: compute.QCOW2}},
		"a bad source": {compute.ImageSource{Reader: &bytes.Buffer{}, Format: "zip"}, resource.Faults{{Field: "format", Reason: formats}}},
		"no export":    {options: compute.ExportOptions{}},
		"an export":    {options: compute.ExportOptions{Format: compute.RawDisk}},
		"a bad export": {
			compute.ExportOptions{Format: "zip", Platform: compute.Platform{Variant: "a b"}},
			resource.Faults{{Field: "format", Reason: formats}, {Field: "platform.variant", Reason: word}},
		},
		"a screenshot":     {options: compute.ScreenshotOptions{Screen: 1}},
		"a bad screenshot": {compute.ScreenshotOptions{Screen: -1}, resource.Faults{{Field: "screen", Reason: "must not be negative"}}},
		"no filter":        {options: compute.Filter{}},
		"a filter":         {options: compute.Filter{Kinds: []compute.Kind{compute.VM, compute.Container}, States: compute.States()}},
		"a bad filter": {
			compute.Filter{Kinds: []compute.Kind{"jail"}, States: []compute.State{compute.Running, "asleep", compute.Gone}},
			resource.Faults{
				{Field: "kinds[0]", Reason: `must be "vm" or "container"`},
				{Field: "states[1]", Reason: `is not a state: "asleep"`}, {Field: "states[2]", Reason: `is not a state: "gone"`},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, c.faults, c.options.Validate())
		})
	}
}

const (
	someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	formats    = `must be "oci-archive", "docker-archive", "qcow2" or "raw"`
)
