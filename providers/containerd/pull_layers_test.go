package containerd

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/remotes"
	"github.com/containerd/errdefs"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/univirt/univirt/compute"
	testimage "github.com/univirt/univirt/providers/providertest/image"
	testregistry "github.com/univirt/univirt/providers/providertest/registry"
)

func TestPullOfUnusualImages(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	r := testregistry.Test(t)
	ctx := context.Background()
	twice := func() v1.Image {
		image := dataImage(t, 2, 1000)
		layers, err := image.Layers()
		require.NoError(t, err)
		image, err = mutate.AppendLayers(image, layers[0], layers[1], layers[0])
		require.NoError(t, err)
		return image
	}
	docker, err := testimage.Data(testimage.Options{Layers: 2, LayerSize: 100, Seed: seeds.Add(1), Docker: true})
	require.NoError(t, err)
	list, err := testimage.Index(docker)
	require.NoError(t, err)
	for name, image := range map[string]testimage.Artifact{
		"no layers":               mutate.ConfigMediaType(dataImage(t, 0, 0), types.OCIConfigJSON),
		"many layers":             dataImage(t, 3*parallelDownloads+1, 100),
		"one layer several times": twice(),
		"types of Docker":         docker,
		"list of Docker":          mutate.IndexMediaType(list, types.DockerManifestList),
	} {
		t.Run(name, func(t *testing.T) {
			ref := push(t, r, "app:"+fmt.Sprint(seeds.Add(1)), image)
			empty := stock(t, p)
			for range 2 {
				got, err := p.Images().Pull(ctx, ref, compute.PullOptions{})
				require.NoError(t, err)
				assert.Equal(t, idOf(t, image), got.Ref.ID)
			}
			var b bytes.Buffer
			require.NoError(t, p.Images().Export(ctx, &b, []string{ref}, compute.ExportOptions{Format: compute.DockerArchive}))
			require.NoError(t, p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}))
			assert.Equal(t, empty, stock(t, p))
			for _, format := range []compute.ImageFormat{compute.OCIArchive, compute.DockerArchive} {
				_, err := p.Images().Import(ctx, from(b.Bytes(), format), compute.ImportOptions{})
				require.NoError(t, err)
				require.NoError(t, p.Images().Delete(ctx, ref, compute.DeleteImageOptions{}))
			}
			assert.Equal(t, empty, stock(t, p))
		})
	}
}

func TestPullRefusesWhatIsNoImage(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	hex := v1.Hash{Algorithm: "sha256", Hex: digest.FromString("{}").Encoded()}
	require.NoError(t, r.PutBlob(hex, []byte("{}")))
	chart := fmt.Sprintf(`{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":%q,"size":2},"layers":[]}`, hex)
	for name, c := range map[string]struct {
		mediaType, text string
		kind            error
	}{
		"chart":                           {ocispec.MediaTypeImageManifest, chart, errdefs.ErrFailedPrecondition},
		"web page":                        {"text/html", "<html>", errdefs.ErrFailedPrecondition},
		"manifest of 5 MB":                {ocispec.MediaTypeImageManifest, `{"x":"` + string(bytes.Repeat([]byte("x"), 5<<20)) + `"}`, errdefs.ErrDataLoss},
		"manifest as index":               {ocispec.MediaTypeImageIndex, chart, errdefs.ErrDataLoss},
		"manifest of Docker's first form": {"application/vnd.docker.distribution.manifest.v1+prettyjws", "{}", errdefs.ErrFailedPrecondition},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, r.PutManifest("app", "v1", c.mediaType, []byte(c.text)))
			unchanged(t, p)
			_, err := p.Images().Pull(context.Background(), r.Ref("app:v1"), compute.PullOptions{})
			assert.ErrorIs(t, err, c.kind)
			assert.Less(t, len(fmt.Sprint(err)), 1000)
		})
	}
}

// leaveOff begins to bring a layer, as a process does that is killed, and
// returns the layer's digest.
func leaveOff(t *testing.T, p *Provider, image v1.Image, change func([]byte)) {
	t.Helper()
	ctx, done, err := p.begin(context.Background())
	require.NoError(t, err)
	defer done()
	layers, err := image.Layers()
	require.NoError(t, err)
	rc, err := layers[0].Compressed()
	require.NoError(t, err)
	data, err := io.ReadAll(rc)
	require.NoError(t, err)
	change(data)
	id, err := layers[0].Digest()
	require.NoError(t, err)
	desc := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayerGzip, Digest: digest.Digest(id.String()), Size: int64(len(data))}
	w, err := p.client.ContentStore().Writer(ctx, content.WithRef(remotes.MakeRefKey(ctx, desc)), content.WithDescriptor(desc))
	require.NoError(t, err)
	_, err = w.Write(data[:len(data)/2])
	require.NoError(t, err)
	require.NoError(t, w.Close())
}

func TestPullGoesOnWhereAnotherProcessLeftOff(t *testing.T) {
	p := open(t, Options{})
	r := testregistry.Test(t)
	for name, c := range map[string]struct {
		change  func([]byte)
		fetches int
	}{
		"sound":   {func([]byte) {}, 1},
		"corrupt": {func(data []byte) { data[100] ^= 0xff }, 2},
	} {
		t.Run(name, func(t *testing.T) {
			image := dataImage(t, 1, 200_000)
			ref := push(t, r, "app:"+name, image)
			leaveOff(t, p, image, c.change)
			r.Forget()
			_, err := p.Images().Pull(context.Background(), ref, compute.PullOptions{})
			require.NoError(t, err)
			fetches, ranges := 0, 0
			for _, req := range r.Requests() {
				if req.Method == "GET" && req.Bytes > 10_000 {
					fetches++
				}
				if req.Range != "" {
					ranges++
				}
			}
			assert.Equal(t, c.fetches, fetches)
			assert.Equal(t, 1, ranges)
		})
	}
}
