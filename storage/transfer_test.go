package storage_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/univirt/univirt/resource"
	"github.com/univirt/univirt/storage"
)

func TestTransferOptionsValidate(t *testing.T) {
	const formats = `must be "tar" or "raw"`
	for _, c := range []struct {
		options storage.TransferOptions
		faults  resource.Faults
	}{
		{storage.TransferOptions{Format: storage.Tar}, nil},
		{storage.TransferOptions{Format: storage.Raw, Size: 1}, nil},
		{storage.TransferOptions{}, resource.Faults{{Field: "format", Reason: formats}}},
		{storage.TransferOptions{Format: "zip", Size: -1}, resource.Faults{{Field: "format", Reason: formats}, {Field: "size", Reason: "must not be negative"}}},
	} {
		assert.Equal(t, c.faults, c.options.Validate(), "%+v", c.options)
	}
}
