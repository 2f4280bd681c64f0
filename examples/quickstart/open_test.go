package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/resource"
)

func TestQuickstart(t *testing.T) {
	for _, url := range []string{"fake:", "fake:?seed=1", "fake:?namespace=demo&owner=me", "FAKE:"} {
		t.Run(url, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, quickstart(t.Context(), url, "docker.io/library/busybox:latest"))
		})
	}
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
