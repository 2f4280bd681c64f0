package containerd

import (
	"testing"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/typeurl/v2"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

func TestRecordCache(t *testing.T) {
	var cache recordCache
	container := func(r record, labels map[string]string) containers.Container {
		extended, err := r.encode()
		require.NoError(t, err)
		return containers.Container{ID: "id", Labels: labels, Extensions: map[string]typeurl.Any{extension: extended}}
	}
	spec := compute.Spec{Name: "web", Image: "x"}
	one, err := cache.read(container(record{Name: "web", spec: spec}, map[string]string{labelRevision: "1"}))
	require.NoError(t, err)
	require.Equal(t, 1, one.Revision)
	same, err := cache.read(container(record{Name: "web", spec: spec}, map[string]string{labelRevision: "2", "a": "b"}))
	require.NoError(t, err)
	require.Equal(t, resource.Labels{"a": "b"}, same.spec.Labels, "labels are never out of date")
	require.Equal(t, 2, same.Revision)
	require.Empty(t, one.spec.Labels)
	two, err := cache.read(container(record{Name: "app", spec: spec}, nil))
	require.NoError(t, err)
	require.Equal(t, "app", two.Name)
	require.Empty(t, two.spec.Labels)
	require.Len(t, cache.byID, 1)
	cache.drop("id")
	require.Empty(t, cache.byID)

	none, err := cache.read(containers.Container{ID: "foreign"})
	require.NoError(t, err)
	require.Nil(t, none)
	for _, any := range []*anypb.Any{
		{TypeUrl: recordType, Value: []byte("{")}, {TypeUrl: recordType + "0", Value: []byte("{}")},
	} {
		_, err = cache.read(containers.Container{ID: "bad", Extensions: map[string]typeurl.Any{extension: any}})
		require.Error(t, err)
	}
	require.Empty(t, cache.byID)
	for i := range mostRecords + 5 {
		c := container(record{Name: "web", spec: spec}, nil)
		c.ID = resource.NewID()
		_, err := cache.read(c)
		require.NoError(t, err, i)
	}
	require.LessOrEqual(t, len(cache.byID), mostRecords)
}
