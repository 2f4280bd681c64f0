package testregistry

import (
	"net/http"
	"slices"
)

// Request is a request that came over the network and has been answered.
type Request struct {
	// Method and Path are those of the request line.
	Method, Path string
	// Range is the part that was asked for, as in the header; usually empty.
	Range string
	// Status is the answer's; 0 if there was none.
	Status int
	// Bytes is the size of the answer's body, as far as it was sent.
	Bytes int64
}

// Requests returns what has been asked for so far, in the order in which it was
// answered, requests for tokens included.
func (r *Registry) Requests() []Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.requests)
}

// Count returns how many requests were answered with one of the statuses, or how
// many there were at all if none is given.
func (r *Registry) Count(statuses ...int) int {
	n := 0
	for _, req := range r.Requests() {
		if len(statuses) == 0 || slices.Contains(statuses, req.Status) {
			n++
		}
	}
	return n
}

// Forget empties the list of requests.
func (r *Registry) Forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = nil
}

func (r *Registry) count(req *http.Request, seen *recorder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, Request{
		Method: req.Method, Path: req.URL.Path, Range: req.Header.Get("Range"),
		Status: seen.status, Bytes: seen.bytes,
	})
}

// recorder notes the outcome of a request.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
