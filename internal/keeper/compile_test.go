package keeper_test

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/internal/keeper/compile"
)

// maxBinary keeps the helper small: every importer of this module carries it.
const maxBinary = 2_500_000

const stale = "run `go generate ./internal/keeper`"

func TestBinariesComeFromTheirSource(t *testing.T) {
	text, err := os.ReadFile(compile.RecordFile)
	require.NoError(t, err)
	record, err := compile.ParseRecord(string(text))
	require.NoError(t, err)
	assert.Equal(t, string(text), record.String())
	source, err := compile.Source()
	require.NoError(t, err)
	assert.Equal(t, record.Source, source, stale)
	toolchain, err := compile.Toolchain()
	require.NoError(t, err)

	for _, arch := range compile.Architectures() {
		t.Run(arch, func(t *testing.T) {
			embedded, err := os.ReadFile(compile.BinaryFile(arch))
			require.NoError(t, err)
			assert.Equal(t, record.Binaries[arch], compile.Digest(embedded), stale)
			assert.Less(t, len(embedded), maxBinary)
			built, err := compile.Build(arch)
			require.NoError(t, err)
			if toolchain == record.Toolchain {
				assert.Equal(t, compile.Digest(embedded), compile.Digest(built), stale)
			}
		})
	}
}

func TestParseRecord(t *testing.T) {
	want := compile.Record{
		Toolchain: "go1.2.3",
		Source:    "abc",
		Binaries:  map[string]string{"amd64": "1", "arm64": "2"},
	}
	got, err := compile.ParseRecord(want.String())
	require.NoError(t, err)
	assert.Equal(t, want, got)
	_, err = compile.ParseRecord("toolchain\n")
	assert.Error(t, err)
}
