package resource_test

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

// The tables follow what Kubernetes' own validation of labels accepts
// (k8s.io/apimachinery/pkg/util/validation, IsQualifiedName and
// IsValidLabelValue), but for the parts of a prefix: they are DNS labels here,
// so at most 63 bytes.
func TestCheckLabelKey(t *testing.T) {
	for _, good := range []string{
		"simple", "now-with-dashes", "1-starts-with-num", "1234", "simple/simple", "now-with-dashes/simple",
		"now-with-dashes/now-with-dashes", "now.with.dots/simple", "now-with.dashes-and.dots/simple",
		"1-num.2-num/3-num", "1234/5678", "1.2.3.4/5678", "Uppercase_Is_OK_123", "example.com/Uppercase_Is_OK_123",
		"requests.storage-foo", "univirt.io/reserved-may-be-read",
		strings.Repeat("a", 63),
		strings.Repeat("a.", 126) + "b" + "/" + strings.Repeat("a", 63),
	} {
		assert.Empty(t, resource.CheckLabelKey(good), good)
	}
	for _, bad := range []string{
		"", "nospecialchars%^=@", "cantendwithadash-", "-cantstartwithadash-", "only/one/slash",
		"Example.com/abc", "example_com/abc", "example.com/", "/simple", "a..b/c", ".a/b", "a./b", "-a/b",
		strings.Repeat("a", 64), strings.Repeat("a", 254) + "/abc", strings.Repeat("a.", 127) + "b/c",
		"a b", "a\x00", "a\n", "ä", "a\xff", "a,b", "a=b", "!a", "a(b",
	} {
		assert.NotEmpty(t, resource.CheckLabelKey(bad), "%q", bad)
	}
}

func TestCheckLabelValue(t *testing.T) {
	for _, good := range []string{
		"", "simple", "now-with-dashes", "1-starts-with-num", "end-with-num-1", "1234", "under_score", "1.2.3", "UPPER",
		strings.Repeat("a", 63),
	} {
		assert.Empty(t, resource.CheckLabelValue(good), good)
	}
	for _, bad := range []string{
		"nospecialchars%^=@", "Tama-nui-te-rā.is.Māori.sun", "\\backslashes\\are\\bad", "-starts-with-dash",
		"ends-with-dash-", ".starts.with.dot", "ends.with.dot.", "_a", "a_", "a b", " ", "a/b", "a\x00", "a\n", "a\xff",
		strings.Repeat("a", 64),
	} {
		assert.NotEmpty(t, resource.CheckLabelValue(bad), "%q", bad)
	}
}

func TestLabelsValidate(t *testing.T) {
	assert.Empty(t, resource.Labels(nil).Validate())
	assert.Empty(t, resource.Labels{"tier": "web", "example.com/empty": ""}.Validate())
	assert.ElementsMatch(t, resource.Faults{
		{Field: `["a\nb"]`, Reason: "the key must consist of letters, digits, '-', '_' and '.'"},
		{Field: "[-a]", Reason: "the key must begin and end with a letter or a digit"},
		{Field: "[-a]", Reason: "the value must consist of letters, digits, '-', '_' and '.'"},
		{Field: "[tier]", Reason: "the value must have 1 to 63 bytes"},
		{Field: "[univirt.io/mine]", Reason: "the prefix univirt.io/ is reserved"},
	}, resource.Labels{
		"tier":            strings.Repeat("a", 64),
		"-a":              "b c",
		"univirt.io/mine": "1",
		"a\nb":            "1",
	}.Validate())
}

func TestFaultsOfMapsComeInTheOrderOfTheKeys(t *testing.T) {
	labels, annotations, patch := resource.Labels{}, resource.Annotations{}, resource.LabelPatch{}
	for _, key := range []string{"e!", "d!", "c!", "b!", "a!"} {
		labels[key], annotations[key], patch[key] = "", "", nil
	}
	for range 10 {
		for _, faults := range []resource.Faults{
			labels.Validate(), annotations.Validate(), patch.Validate(), patch.ValidateKeys(),
		} {
			var fields []string
			for _, fault := range faults {
				fields = append(fields, fault.Field)
			}
			require.Equal(t, []string{"[a!]", "[b!]", "[c!]", "[d!]", "[e!]"}, fields)
		}
	}
}

func TestAnnotationsValidate(t *testing.T) {
	assert.Empty(t, resource.Annotations{"a": "any text, ü, \n, \x01"}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "[nul]", Reason: "must not contain NUL"},
		{Field: "[univirt.io/a]", Reason: "the prefix univirt.io/ is reserved"},
		{Field: "[utf8]", Reason: "must be valid UTF-8"},
	}, resource.Annotations{"nul": "a\x00", "utf8": "a\xff", "univirt.io/a": ""}.Validate())

	full := resource.Annotations{"a": strings.Repeat("x", resource.MaxAnnotationBytes-1)}
	assert.Empty(t, full.Validate())
	full["b"] = ""
	assert.Equal(t, resource.Faults{
		{Reason: "must have at most 262144 bytes together, have 262145"},
	}, full.Validate())
	assert.EqualError(t, full.Validate(), "must have at most 262144 bytes together, have 262145")
}

func TestLabelPatch(t *testing.T) {
	one, bad, nul := "1", "not a label", "a\x00"
	patch := resource.LabelPatch{"a": &one, "b": nil, "absent": nil}
	assert.Empty(t, patch.Validate())
	labels := resource.Labels{"a": "0", "b": "0", "c": "0"}
	assert.Equal(t, resource.Labels{"a": "1", "c": "0"}, patch.Apply(labels))
	assert.Equal(t, resource.Labels{"a": "0", "b": "0", "c": "0"}, labels, "Apply copies")
	assert.Equal(t, resource.Labels{"a": "1"}, patch.Apply(nil))

	hostile := resource.LabelPatch{"a": &bad, "b": &nul, "univirt.io/c": nil, "-": nil}
	assert.Len(t, hostile.Validate(), 4)
	assert.True(t, errdefs.IsInvalidArgument(hostile.Validate().Err()))
	assert.Equal(t, resource.Faults{
		{Field: "[-]", Reason: "the key must begin and end with a letter or a digit"},
		{Field: "[b]", Reason: "must not contain NUL"},
		{Field: "[univirt.io/c]", Reason: "the prefix univirt.io/ is reserved"},
	}, hostile.ValidateKeys())
}

func TestPatchTo(t *testing.T) {
	from := resource.Labels{"same": "1", "old": "1", "other": "1"}
	to := resource.Labels{"same": "1", "old": "2", "new": ""}
	patch := resource.PatchTo(from, to)
	assert.Len(t, patch, 2)
	assert.Equal(t, resource.Labels{"same": "1", "old": "2", "other": "1", "new": ""}, patch.Apply(from))
	assert.Nil(t, resource.PatchTo(from, resource.Labels{"same": "1"}))
	assert.Nil(t, resource.PatchTo(from, nil))
}

func FuzzCheckLabelKey(f *testing.F) {
	for _, seed := range []string{"a", "a/b", "example.com/a_b", "/", "a/", "a//b", "\x00", "A.b/c"} {
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		labels := resource.Labels{key: value}
		if len(labels.Validate()) > 0 {
			return
		}
		// What is valid can be selected by.
		s, err := resource.ParseSelector(resource.Select(resource.Equals(key, value)).String())
		require.NoError(t, err)
		assert.True(t, s.Matches(labels))
	})
}
