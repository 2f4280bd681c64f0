package containerd

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

const (
	zeros      = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
	layerPart  = `{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"` + zeros + `","size":5}`
	configPart = `{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + zeros + `","size":5}`
)

func TestParseManifest(t *testing.T) {
	m, err := parseManifest([]byte(`{"schemaVersion":2,"config":`+configPart+`,"layers":[`+layerPart+`]}`), ocispec.MediaTypeImageManifest)
	require.NoError(t, err)
	assert.Len(t, m.layers, 1)

	for text, kind := range map[string]error{
		``:     errdefs.ErrDataLoss,
		`null`: errdefs.ErrDataLoss,
		`[]`:   errdefs.ErrDataLoss,
		`{}`:   errdefs.ErrDataLoss,
		`{"config":` + configPart + `,"manifests":[` + configPart + `]}`:                                                                                      errdefs.ErrDataLoss,
		`{"mediaType":"application/vnd.oci.image.index.v1+json","config":` + configPart + `}`:                                                                 errdefs.ErrDataLoss,
		`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"x","size":1}}`:                                                           errdefs.ErrDataLoss,
		`{"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + zeros + `","size":0}}`:                                               errdefs.ErrDataLoss,
		`{"config":` + configPart + `,"layers":[` + strings.Repeat(layerPart+",", maxParts) + layerPart + `]}`:                                                errdefs.ErrDataLoss,
		`{"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"` + zeros + `","size":5}}`:                                               errdefs.ErrFailedPrecondition,
		`{"config":` + configPart + `,"layers":[{"mediaType":"application/vnd.in-toto+json","digest":"` + zeros + `","size":5}]}`:                             errdefs.ErrFailedPrecondition,
		`{"fsLayers":[{"blobSum":"` + zeros + `"}],"schemaVersion":1}`:                                                                                        errdefs.ErrDataLoss,
		`{"config":` + configPart + `,"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"` + zeros + `","size":9223372036854775808}]}`: errdefs.ErrDataLoss,
	} {
		_, err := parseManifest([]byte(text), ocispec.MediaTypeImageManifest)
		assert.ErrorIs(t, err, kind, "%.200s", text)
	}
}

func TestParseIndex(t *testing.T) {
	all, err := parseIndex([]byte(`{"manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"`+zeros+`","size":5,"urls":["http://169.254.169.254/"],"annotations":{"containerd.io/snapshot/x":"y"},"data":"aGVsbG8=","platform":{"os":"linux","architecture":"arm64"}}]}`), ocispec.MediaTypeImageIndex)
	require.NoError(t, err)
	require.Len(t, all, 1)
	assert.Equal(t, ocispec.Descriptor{
		MediaType: ocispec.MediaTypeImageManifest, Digest: zeros, Size: 5,
		Platform: &ocispec.Platform{OS: "linux", Architecture: "arm64"},
	}, all[0])
	for _, text := range []string{
		``, `{}`, `{"manifests":[]}`, `{"manifests":[` + layerPart + `],"config":` + configPart + `}`,
		`{"manifests":[` + layerPart + `],"layers":[` + layerPart + `]}`, `{"manifests":[{}]}`, `{"manifests":{}}`,
	} {
		_, err := parseIndex([]byte(text), ocispec.MediaTypeImageIndex)
		assert.ErrorIs(t, err, errdefs.ErrDataLoss, text)
	}
}

func TestParseConfig(t *testing.T) {
	c, err := parseConfig([]byte(`{
		"created":"2024-05-06T07:08:09Z","os":"linux","architecture":"arm64","variant":"v8",
		"config":{"User":"user","ExposedPorts":{"80/tcp":{},"53/udp":{}},"Env":["A=b"],"Entrypoint":["/e"],"Cmd":["c"],
			"Volumes":{"/v":{}},"WorkingDir":"/w","Labels":{"free":"text, any"},"StopSignal":"SIGQUIT"},
		"rootfs":{"type":"layers","diff_ids":["` + zeros + `"]},"history":"ignored"}`))
	require.NoError(t, err)
	assert.Equal(t, compute.ImageConfig{
		Entrypoint: []string{"/e"}, Cmd: []string{"c"}, Env: []string{"A=b"}, User: "user", Dir: "/w", StopSignal: "SIGQUIT",
		Ports: []string{"53/udp", "80/tcp"}, Volumes: []string{"/v"}, Labels: map[string]string{"free": "text, any"},
	}, c.run)
	assert.Equal(t, compute.Platform{OS: "linux", Architecture: "arm64"}, portable(c.platform))
	assert.Equal(t, 2024, c.created.Year())
	assert.Equal(t, zeros, c.chainID())

	none, err := parseConfig([]byte(`{"os":"linux","architecture":"amd64","config":null}`))
	require.NoError(t, err)
	assert.Empty(t, none.chainID())

	for _, text := range []string{
		``, `{}`, `[]`, `"x"`, `{"os":"linux"}`, `{"os":7,"architecture":"amd64"}`,
		`{"os":"linux","architecture":"amd64","config":{"Env":"PATH=/"}}`,
		`{"os":"linux","architecture":"amd64","config":{"Env":["A=\u0000"]}}`,
		`{"os":"linux","architecture":"amd64","config":{"User":"a\u0000"}}`,
		`{"os":"linux","architecture":"amd64","rootfs":{"type":"other"}}`,
		`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":["../x"]}}`,
		`{"os":"linux","architecture":"amd64","rootfs":{"diff_ids":[` + strings.Repeat(`"`+zeros+`",`, maxParts) + `"` + zeros + `"]}}`,
		`{"os":"linux","architecture":"amd64","created":"yesterday"}`,
		strings.Repeat("[", 100_000),
	} {
		_, err := parseConfig([]byte(text))
		assert.ErrorIs(t, err, errdefs.ErrDataLoss, "%.200s", text)
	}
	// Of several faults it is always the same one.
	for range 10 {
		_, err := parseConfig([]byte(`{"os":"linux","architecture":"amd64","config":{"Cmd":["\u0000"],"StopSignal":"\u0000","Env":["\u0000"]}}`))
		assert.ErrorContains(t, err, "Env contains NUL")
	}
}

// library is a store of documents in memory.
type library map[digest.Digest][]byte

func (l library) add(mediaType string, doc any) ocispec.Descriptor {
	data, err := json.Marshal(doc)
	if err != nil {
		panic(err)
	}
	id := digest.FromBytes(data)
	l[id] = data
	return ocispec.Descriptor{MediaType: mediaType, Digest: id, Size: int64(len(data))}
}

// parseLayers makes descriptors of so many layers.
func parseLayers(l library, count int) []ocispec.Descriptor {
	var out []ocispec.Descriptor
	for n := range count {
		out = append(out, l.add(ocispec.MediaTypeImageLayer, n))
	}
	return out
}

func (l library) read(_ context.Context, desc ocispec.Descriptor) ([]byte, error) {
	data, ok := l[desc.Digest]
	if !ok {
		return nil, fmt.Errorf("%s: %w", desc.Digest, errdefs.ErrNotFound)
	}
	return data, nil
}

func (l library) manifest(arch string) ocispec.Descriptor {
	config := l.add(ocispec.MediaTypeImageConfig, map[string]any{"os": "linux", "architecture": arch})
	return l.add(ocispec.MediaTypeImageManifest, ocispec.Manifest{Config: config})
}

func (l library) index(children ...ocispec.Descriptor) ocispec.Descriptor {
	return l.add(ocispec.MediaTypeImageIndex, ocispec.Index{Manifests: children})
}

func TestFindContent(t *testing.T) {
	l := library{}
	host, _ := choosePlatform(compute.Platform{Architecture: "riscv64"})
	own, other := l.manifest("riscv64"), l.manifest("s390x")
	on := func(desc ocispec.Descriptor, arch string) ocispec.Descriptor {
		desc.Platform = &ocispec.Platform{OS: "linux", Architecture: arch}
		return desc
	}
	missing := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: zeros, Size: 5}
	huge := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: own.Digest, Size: maxDocument + 1}
	many := make([]ocispec.Descriptor, 100)
	for n := range many {
		many[n] = other
	}
	deep := own
	for range maxDepth + 1 {
		deep = l.index(deep)
	}
	layer := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: zeros, Size: 5}
	another := strings.Replace(zeros, "0", "1", 1)
	torn := l.add(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Config: l.add(ocispec.MediaTypeImageConfig, map[string]any{
			"os": "linux", "architecture": "riscv64", "rootfs": map[string]any{"diff_ids": []string{zeros, another}},
		}),
		Layers: []ocispec.Descriptor{layer, layer},
	})
	for name, c := range map[string]struct {
		target ocispec.Descriptor
		kind   error
	}{
		"one layer that is two":             {torn, errdefs.ErrDataLoss},
		"manifest":                          {own, nil},
		"manifest for another platform":     {other, errdefs.ErrFailedPrecondition},
		"index":                             {l.index(on(other, "s390x"), on(own, "riscv64")), nil},
		"index without platforms":           {l.index(other, own), nil},
		"index that lies once":              {l.index(on(other, "riscv64"), own), nil},
		"index that lies":                   {l.index(on(other, "riscv64")), errdefs.ErrFailedPrecondition},
		"index for others":                  {l.index(on(other, "s390x"), on(missing, "mips64le")), errdefs.ErrFailedPrecondition},
		"index that lacks the other":        {l.index(on(missing, "s390x"), on(own, "riscv64")), nil},
		"index that lacks it":               {l.index(on(missing, "riscv64"), on(other, "s390x")), errdefs.ErrNotFound},
		"index that may lack it":            {l.index(missing), errdefs.ErrNotFound},
		"index within an index":             {l.index(l.index(own)), nil},
		"indexes without end":               {deep, errdefs.ErrDataLoss},
		"index of very many of no platform": {l.index(many...), errdefs.ErrFailedPrecondition},
		"huge manifest":                     {huge, errdefs.ErrDataLoss},
		"what is neither":                   {ocispec.Descriptor{MediaType: "text/html", Digest: own.Digest, Size: 5}, errdefs.ErrFailedPrecondition},
		"malformed digest":                  {ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: "x", Size: 5}, errdefs.ErrDataLoss},
	} {
		t.Run(name, func(t *testing.T) {
			found, err := findContent(context.Background(), l.read, c.target, host)
			if c.kind != nil {
				assert.ErrorIs(t, err, c.kind)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "riscv64", found.platform.Architecture)
			assert.Equal(t, c.target.Digest, found.path[0].Digest)
			assert.Equal(t, own.Digest, found.path[len(found.path)-1].Digest)
			assert.Len(t, found.children, len(found.path))
		})
	}
	any, err := findAny(context.Background(), l.read, l.index(on(missing, "riscv64"), on(other, "s390x")))
	require.NoError(t, err)
	assert.Equal(t, "s390x", any.platform.Architecture)
}

func TestContentCache(t *testing.T) {
	c := contentCache{budget: 100}
	c.put("a", &imageContent{read: 40})
	c.put("b", &imageContent{read: 40})
	require.NotNil(t, c.get("a"))
	c.put("c", &imageContent{read: 40})
	assert.Nil(t, c.get("b"), "the one that was not used has made room")
	assert.NotNil(t, c.get("a"))
	assert.NotNil(t, c.get("c"))
	c.put("d", &imageContent{read: 51})
	assert.Nil(t, c.get("d"), "what is very large is not kept")
	for range 3 {
		c.put("a", &imageContent{read: 40})
	}
	assert.EqualValues(t, 80, c.size)
}

func TestImageSizeDoesNotWrap(t *testing.T) {
	layer := ocispec.Descriptor{Size: 1 << 62}
	c := &imageContent{manifest: manifest{layers: []ocispec.Descriptor{layer, layer, layer}}}
	assert.Positive(t, c.size())
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Env":["A=b"],"Volumes":{"/v":{}}},"rootfs":{"type":"layers","diff_ids":["` + zeros + `"]}}`))
	f.Add([]byte(`{"os":"linux","architecture":"amd64","config":{"Env":["A=\u0000"]}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := parseConfig(data)
		if err != nil {
			assert.ErrorIs(t, err, errdefs.ErrDataLoss)
			return
		}
		c.chainID()
		for _, text := range append(c.run.Env, c.run.User, c.run.Dir) {
			assert.NotContains(t, text, "\x00")
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"config":` + configPart + `,"layers":[` + layerPart + `]}`))
	f.Add([]byte(`{"manifests":[` + layerPart + `]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, manifestErr := parseManifest(data, ocispec.MediaTypeImageManifest)
		all, indexErr := parseIndex(data, ocispec.MediaTypeImageIndex)
		assert.False(t, manifestErr == nil && indexErr == nil, "one text is both")
		if manifestErr == nil {
			all = append(m.layers, m.config)
		}
		for _, desc := range all {
			assert.NoError(t, desc.Digest.Validate())
			assert.Positive(t, desc.Size)
		}
		for _, err := range []error{manifestErr, indexErr} {
			if err != nil {
				assert.NotNil(t, resource.KindOf(err))
			}
		}
	})
}
