package testregistry

import (
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"time"
)

// Status answers with an HTTP status and the error body of a registry.
func Status(status int) Effect {
	code := map[int]string{
		http.StatusUnauthorized:    "UNAUTHORIZED",
		http.StatusForbidden:       "DENIED",
		http.StatusNotFound:        "NAME_UNKNOWN",
		http.StatusTooManyRequests: "TOOMANYREQUESTS",
	}[status]
	if code == "" {
		code = "UNKNOWN"
	}
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) { fail(w, status, code) }
}

// RateLimit answers 429 and asks to come again after that time, rounded up to
// seconds.
func RateLimit(after time.Duration) Effect {
	return func(w http.ResponseWriter, _ *http.Request, _ http.Handler) {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
		fail(w, http.StatusTooManyRequests, "TOOMANYREQUESTS")
	}
}

// Corrupt inverts one byte in the middle of the answer.
func Corrupt() Effect {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		answer := record(req, next)
		if body := answer.Body.Bytes(); len(body) > 0 {
			body[len(body)/2] ^= 0xff
		}
		head(w, answer)
		_, _ = w.Write(answer.Body.Bytes())
	}
}

// Truncate announces the whole answer, sends half of it and cuts the connection.
func Truncate() Effect {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		answer := record(req, next)
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
		head(w, answer)
		_, _ = w.Write(answer.Body.Bytes()[:answer.Body.Len()/2])
		flush(w)
		cut()
	}
}

// Slow sends that many bytes a second, in twenty portions a second or byte by
// byte.
func Slow(bytesPerSecond int) Effect {
	portion := max(bytesPerSecond/20, 1)
	pause := time.Duration(float64(time.Second) * float64(portion) / float64(max(bytesPerSecond, 1)))
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		answer := record(req, next)
		head(w, answer)
		for body := answer.Body; body.Len() > 0; {
			if _, err := w.Write(body.Next(portion)); err != nil {
				return
			}
			flush(w)
			wait(req, pause)
		}
	}
}

// Delay answers properly, but later.
func Delay(d time.Duration) Effect {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		wait(req, d)
		next.ServeHTTP(w, req)
	}
}

// Stall never answers: it waits until the client goes away or the registry is
// closed.
func Stall() Effect {
	return func(_ http.ResponseWriter, req *http.Request, _ http.Handler) {
		// The end of a connection is noticed only once the body has been read.
		_, _ = io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
		cut()
	}
}

// StallAfter sends that many bytes of the answer and then nothing more.
func StallAfter(bytes int) Effect {
	return func(w http.ResponseWriter, req *http.Request, next http.Handler) {
		answer := record(req, next)
		w.Header().Set("Content-Length", strconv.Itoa(answer.Body.Len()))
		head(w, answer)
		_, _ = w.Write(answer.Body.Next(bytes))
		flush(w)
		<-req.Context().Done()
		cut()
	}
}

// record takes the proper answer down, so that no effect holds up the registry
// itself while it sends.
func record(req *http.Request, next http.Handler) *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	next.ServeHTTP(answer, req)
	return answer
}

// head sends status and header of an answer.
func head(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	for key, values := range answer.Header() {
		w.Header()[key] = values
	}
	w.WriteHeader(answer.Code)
}

func flush(w http.ResponseWriter) {
	// A writer that cannot flush sends when the handler returns.
	_ = http.NewResponseController(w).Flush()
}

// cut ends the connection instead of the answer. It does not return.
func cut() { panic(http.ErrAbortHandler) }

// wait pauses, and cuts the connection if the request ends meanwhile.
func wait(req *http.Request, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-req.Context().Done():
		cut()
	}
}
