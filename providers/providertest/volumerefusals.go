package providertest

import (
	"errors"
	"io"

	"github.com/containerd/errdefs"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func volumePoolMissing(e *env) {
	_, err := e.p.Volumes().Create(e.ctx, storage.Spec{Name: "data", Pool: "none-such"})
	if e.s.offer.desc.Volumes.Fields.Rule("pool").Level == resource.FieldRefused {
		e.failsField(err, errors.ErrUnsupported, "pool")
	} else {
		e.failsField(err, errdefs.ErrNotFound, "pool")
	}
	require.Empty(e, e.volumeNames(storage.Filter{}))
}

func volumeSourceMissing(e *env) {
	_, err := e.p.Volumes().Create(e.ctx, storage.Spec{Name: "copy", Source: storage.Source{Volume: "none-such"}})
	e.failsField(err, errdefs.ErrNotFound, "source.volume")
	if e.missing(hasVolumes(storage.FeatureSnapshot)[0]) == "" {
		e.volume(storage.Spec{Name: "data"})
		_, err = e.p.Volumes().Create(e.ctx, storage.Spec{Name: "copy", Source: storage.Source{Volume: "data", Snapshot: "none-such"}})
		e.failsField(err, errdefs.ErrNotFound, "source.snapshot")
	}
	require.NotContains(e, e.volumeNames(storage.Filter{}), "copy")
}

func volumeFaultsFirst(e *env) {
	_, err := e.p.Volumes().Create(e.ctx, storage.Spec{
		Name: "Data", Pool: "none-such", Access: storage.ReadWriteMany, Source: storage.Source{Volume: "none-such"}, Format: "none-such",
	})
	e.failsField(err, errdefs.ErrInvalidArgument, "name")
}

func volumeBusy(e *env) {
	e.idle = true // as nothing looks at the volume
	v := e.volume(storage.Spec{Name: "data", Size: 8 * resource.MiB})
	e.mounting("web", "data", false)
	format := storage.Tar
	if e.volumeInfo(v).Mode == storage.Block {
		format = storage.Raw
	}
	require.NoError(e, storage.Export(e.ctx, v, io.Discard, storage.TransferOptions{Format: format}))
	require.NoError(e, storage.Resize(e.ctx, v, 16*resource.MiB, storage.ResizeOptions{}))
	err := storage.Resize(e.ctx, v, 8*resource.MiB, storage.ResizeOptions{Shrink: true})
	if !isUnsupported(err) {
		e.fails(err, errdefs.ErrFailedPrecondition)
	}
	require.Equal(e, 16*resource.MiB, e.volumeInfo(v).Capacity)
}
