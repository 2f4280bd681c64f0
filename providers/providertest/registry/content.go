package testregistry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	testimage "github.com/univirt/univirt/providers/providertest/image"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Push stores an image or an index under a name such as "app:v1" and returns its
// full reference. It does not pass through the network: neither faults nor the
// need for credentials hold it up, it is not counted, and it works while the
// registry is down. Content that does not fit its digest is stored as it is.
func (r *Registry) Push(ref string, a testimage.Artifact) (string, error) {
	parsed, err := name.ParseReference(r.Ref(ref))
	if err != nil {
		return "", err
	}
	blobs, err := testimage.Blobs(a)
	if err != nil {
		return "", err
	}
	repository := parsed.Context().RepositoryStr()
	for i, b := range blobs {
		content, err := b.Content()
		if err != nil {
			return "", fmt.Errorf("read %s: %w", b.Digest, err)
		}
		if !b.MediaType.IsImage() && !b.MediaType.IsIndex() {
			err = r.PutBlob(b.Digest, content)
		} else {
			err = r.PutManifest(repository, b.Digest.String(), string(b.MediaType), content)
			if i == len(blobs)-1 && err == nil {
				err = r.PutManifest(repository, parsed.Identifier(), string(b.MediaType), content)
			}
		}
		if err != nil {
			return "", err
		}
	}
	return r.Ref(ref), nil
}

// PutBlob stores content under a digest, which need not be its own.
func (r *Registry) PutBlob(digest v1.Hash, content []byte) error {
	return r.blobs.Put(context.Background(), "", digest, io.NopCloser(bytes.NewReader(content)))
}

// PutManifest stores a manifest, which need not be one, under a tag or a digest
// of a repository.
func (r *Registry) PutManifest(repository, reference, mediaType string, content []byte) error {
	req := httptest.NewRequest(http.MethodPut, "/v2/"+repository+"/manifests/"+reference, bytes.NewReader(content))
	req.Header.Set("Content-Type", mediaType)
	w := httptest.NewRecorder()
	r.inner.ServeHTTP(w, req)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("put manifest %s of %s: %s", reference, repository, strings.TrimSpace(w.Body.String()))
	}
	return nil
}

// serveContent is the registry proper.
func (r *Registry) serveContent(w http.ResponseWriter, req *http.Request) {
	r.closeRange(req)
	r.inner.ServeHTTP(w, req)
}

// closeRange gives an open range of a blob ("from here to the end", as clients
// ask that resume a download) the end that go-containerregistry demands.
func (r *Registry) closeRange(req *http.Request) {
	from, ok := strings.CutPrefix(req.Header.Get("Range"), "bytes=")
	if !ok || !Blobs(req) {
		return
	}
	start, ok := strings.CutSuffix(from, "-")
	if !ok {
		return
	}
	if _, err := strconv.ParseInt(start, 10, 64); err != nil {
		return
	}
	digest, err := v1.NewHash(req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:])
	if err != nil {
		return
	}
	if size, err := r.blobs.Stat(req.Context(), "", digest); err == nil {
		req.Header.Set("Range", fmt.Sprintf("bytes=%s-%d", start, size-1))
	}
}
