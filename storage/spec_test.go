package storage_test

import (
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

const someID = "0f8fad5b-d9cb-469f-a165-70867728950e"

// full is a spec in which every field is set.
func full() storage.Spec {
	return storage.Spec{
		Name: "data", Pool: "fast", Mode: storage.Block, Size: 10 * resource.GiB, Access: storage.ReadOnlyMany,
		Source: storage.Source{Volume: "golden", Snapshot: "v1"}, Format: "qcow2", UID: 1000, GID: 1000,
		Lifetime:    resource.Until(time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)),
		Labels:      resource.Labels{"tier": "db"},
		Annotations: resource.Annotations{"note": "any text"},
	}
}

func TestFullSpecSetsEveryField(t *testing.T) {
	set := resource.SetFields(full())
	for _, path := range resource.FieldPaths(storage.Spec{}) {
		if path != "lifetime.ephemeral" { // excludes until
			assert.Contains(t, set, path)
		}
	}
}

func TestSpecValidateAccepts(t *testing.T) {
	for _, spec := range []storage.Spec{
		full(),
		{Name: "a"},
		{Name: "a", Mode: storage.Filesystem, Access: storage.ReadWriteMany},
		{Name: "a", Mode: storage.Block, Size: 1},
		{Name: "a", Mode: storage.Block, Source: storage.Source{Volume: someID}},
		{Name: "a", Size: 1 << 60, UID: 1<<31 - 1},
	} {
		assert.Empty(t, spec.Validate())
	}
}

func TestSpecValidateFindsAllFaultsAtOnce(t *testing.T) {
	spec := storage.Spec{
		Name: "Data", Pool: "../pool", Mode: "object\n", Size: -1, Access: "sometimes", Format: "ext4;rm",
		Source: storage.Source{Snapshot: "V1"}, UID: -1, GID: -2,
		Lifetime: resource.Lifetime{Ephemeral: true, Until: time.Unix(1, 0)},
		Labels:   resource.Labels{"a": "b c"}, Annotations: resource.Annotations{"a": "\xff"},
	}
	assert.Equal(t, resource.Faults{
		{Field: "name", Reason: `must consist of a-z, 0-9 and '-', has "D"`},
		{Field: "pool", Reason: `must consist of a-z, 0-9 and '-', has "."`},
		{Field: "mode", Reason: `must be "filesystem" or "block"`},
		{Field: "access", Reason: `must be "read-write-once", "read-only-many" or "read-write-many"`},
		{Field: "size", Reason: "must be from 0 to 1048576TiB, is -1"},
		{Field: "uid", Reason: "must be from 0 to 4294967294, is -1"},
		{Field: "gid", Reason: "must be from 0 to 4294967294, is -2"},
		{Field: "source.snapshot", Reason: "needs source.volume"},
		{Field: "source.snapshot", Reason: `must consist of a-z, 0-9 and '-', has "V"`},
		{Field: "format", Reason: "must consist of a-z, 0-9 and '-'"},
		{Field: "lifetime.until", Reason: "must not be set together with ephemeral"},
		{Field: "labels[a]", Reason: "the value must consist of letters, digits, '-', '_' and '.'"},
		{Field: "annotations[a]", Reason: "must be valid UTF-8"},
	}, spec.Validate())
}

func TestSpecValidateRefuses(t *testing.T) {
	for field, spec := range map[string]storage.Spec{
		"name":          {Name: strings.Repeat("a", 64)},
		"size":          {Name: "a", Mode: storage.Block},
		"size ":         {Name: "a", Size: 1<<60 + 1},
		"source.volume": {Name: "a", Source: storage.Source{Volume: "a/b"}},
		"mode":          {Name: "a", Mode: "BLOCK"},
		"pool":          {Name: "a", Pool: "a\x00"},
		"format":        {Name: "a", Format: "-"},
	} {
		faults := spec.Validate()
		require.Len(t, faults, 1, "%+v: %v", spec, faults)
		assert.Equal(t, strings.TrimSpace(field), faults[0].Field)
	}
}

func TestSnapshotSpecValidate(t *testing.T) {
	assert.Empty(t, storage.SnapshotSpec{Name: "v1", Labels: resource.Labels{"a": "1"}}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "name", Reason: "must not be empty"},
		{Field: "labels[-]", Reason: "the key must begin and end with a letter or a digit"},
	}, storage.SnapshotSpec{Labels: resource.Labels{"-": ""}}.Validate())
}

func TestChangeAndFilterValidate(t *testing.T) {
	text := "a\x00"
	assert.Empty(t, storage.Change{}.Validate())
	assert.Equal(t, resource.Faults{
		{Field: "labels[a]", Reason: "the value must consist of letters, digits, '-', '_' and '.'"},
		{Field: "annotations[a]", Reason: "must not contain NUL"},
	}, storage.Change{Labels: resource.LabelPatch{"a": &text}, Annotations: resource.LabelPatch{"a": &text}}.Validate())
	assert.Empty(t, storage.Filter{}.Validate())
	assert.Equal(t, resource.Faults{{Field: "selector[0].key", Reason: "the key must have 1 to 63 bytes"}},
		storage.Filter{Selector: resource.Select(resource.Exists(""))}.Validate())
}

func TestFilter(t *testing.T) {
	info := storage.Info{
		Ref: resource.Ref{Name: "data", ID: someID}, Managed: true, Pool: "fast", Labels: resource.Labels{"tier": "db"},
	}
	foreign := info
	foreign.Managed = false
	for _, c := range []struct {
		filter           storage.Filter
		managed, foreign bool
	}{
		{storage.Filter{}, true, false},
		{storage.Filter{Unmanaged: true}, true, true},
		{storage.Filter{Names: []string{"other", "data"}}, true, false},
		{storage.Filter{Names: []string{"other"}, Unmanaged: true}, false, false},
		{storage.Filter{IDs: []string{someID}, Unmanaged: true}, true, true},
		{storage.Filter{IDs: []string{"other"}}, false, false},
		{storage.Filter{Pools: []string{"fast"}}, true, false},
		{storage.Filter{Pools: []string{"slow"}}, false, false},
		{storage.Filter{Selector: resource.Select(resource.Equals("tier", "db"))}, true, false},
		{storage.Filter{Selector: resource.Select(resource.DoesNotExist("tier"))}, false, false},
	} {
		assert.Equal(t, c.managed, c.filter.Matches(info), "%+v", c.filter)
		assert.Equal(t, c.foreign, c.filter.Matches(foreign), "%+v", c.filter)
	}
}

func TestSpecRoundTrip(t *testing.T) {
	for _, spec := range []storage.Spec{{}, {Name: "a"}, full()} {
		data, err := storage.Encode(spec)
		require.NoError(t, err)
		back, err := storage.Decode(data)
		require.NoError(t, err)
		assert.Equal(t, spec, back)
	}
	_, err := storage.Decode([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"volume","spec":{"name":"a","size":"1GiB"}}`))
	assert.True(t, errdefs.IsInvalidArgument(err))
	_, err = storage.Decode([]byte(`{"apiVersion":"univirt.io/v1alpha1","kind":"network","spec":{}}`))
	assert.True(t, errdefs.IsInvalidArgument(err))
	_, err = storage.Decode([]byte(`{"apiVersion":"univirt.io/v9","kind":"volume","spec":{}}`))
	assert.True(t, errdefs.IsFailedPrecondition(err))
}

func TestSpecClone(t *testing.T) {
	original := full()
	copied := original.Clone()
	assert.Equal(t, original, copied)
	copied.Labels["tier"] = "changed"
	copied.Annotations["note"] = "changed"
	assert.Equal(t, full(), original)
}

func FuzzDecode(f *testing.F) {
	for _, spec := range []storage.Spec{{}, {Name: "a"}, full()} {
		data, err := storage.Encode(spec)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := storage.Decode(data)
		if err != nil {
			return
		}
		faults := spec.Validate()
		canonical, err := storage.Encode(spec)
		if len(faults) == 0 {
			require.NoError(t, err, "a valid spec can be stored")
		}
		if err != nil {
			return
		}
		back, err := storage.Decode(canonical)
		require.NoError(t, err)
		assert.Equal(t, faults, back.Validate())
		assert.Empty(t, resource.Unmet(back, spec))
		assert.Empty(t, resource.Diff(spec, back))
		assert.Empty(t, resource.Diff(spec, spec.Clone()))
	})
}

func TestSnapshotSpecHasACanonicalForm(t *testing.T) {
	spec := storage.SnapshotSpec{Name: "v1", Labels: resource.Labels{"tier": "db"}}
	data, err := resource.MarshalSpec(resource.KindSnapshot, spec)
	require.NoError(t, err)
	assert.JSONEq(t, `{"apiVersion":"`+resource.APIVersion+`","kind":"snapshot","spec":{"name":"v1","labels":{"tier":"db"}}}`, string(data))
	var back storage.SnapshotSpec
	require.NoError(t, resource.UnmarshalSpec(data, resource.KindSnapshot, &back))
	assert.Equal(t, spec, back)
}
