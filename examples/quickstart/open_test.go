package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/providers/fake"
	"github.com/univirt/univirt/resource"
)

func TestQuickstart(t *testing.T) {
	for _, url := range []string{"fake:", "fake:?seed=1", "fake:?namespace=demo&owner=me", "FAKE:"} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, quickstart(t.Context(), url, source{image: "docker.io/library/busybox:latest"}))
		})
	}
}

func TestQuickstartOfAnArchive(t *testing.T) {
	const name = "example.test/shell:v1"
	p := fake.Test(t, fake.Options{})
	_, err := p.Images().Pull(t.Context(), name, compute.PullOptions{})
	require.NoError(t, err)
	var archive bytes.Buffer
	require.NoError(t, p.Images().Export(t.Context(), &archive, []string{name}, compute.ExportOptions{Format: compute.DockerArchive}))
	path := filepath.Join(t.TempDir(), "shell.tar")
	require.NoError(t, os.WriteFile(path, archive.Bytes(), 0o600))

	from := source{image: name, archive: path, format: compute.DockerArchive}
	require.NoError(t, quickstart(t.Context(), "fake:", from))
	from.format = ""
	err = quickstart(t.Context(), "fake:", from)
	require.NotEmpty(t, resource.FaultsOf(err), "%v", err)
	require.Equal(t, "format", resource.FaultsOf(err)[0].Field)
}

func TestOpenNamesTheFieldAtFault(t *testing.T) {
	for url, field := range map[string]string{
		"fake:?seed=x":   "url.query[seed]",
		"fake:?color=no": "url.query[color]",
		"nothing:":       "url.scheme",
		"%":              "url",
	} {
		_, err := open(t.Context(), url)
		require.NotEmpty(t, resource.FaultsOf(err), "%s: %v", url, err)
		require.Equal(t, field, resource.FaultsOf(err)[0].Field)
	}
}
