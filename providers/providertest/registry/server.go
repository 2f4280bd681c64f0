package testregistry

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
)

// server is an HTTP server whose close waits for its connections, which that of
// http.Server does not.
type server struct {
	http   http.Server
	cancel context.CancelFunc // ends the context of all requests
	accept sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]struct{}
	none *sync.Cond // open is empty
}

func serve(listener net.Listener, handler http.Handler) *server {
	ctx, cancel := context.WithCancel(context.Background())
	s := &server{cancel: cancel, open: map[net.Conn]struct{}{}}
	s.http.BaseContext = func(net.Listener) context.Context { return ctx }
	s.none = sync.NewCond(&s.mu)
	s.http.Handler = handler
	s.http.ErrorLog = log.New(io.Discard, "", 0)
	s.http.ConnState = s.watch
	s.accept.Go(func() { _ = s.http.Serve(listener) })
	return s
}

// watch counts connections. The server announces the end of one as the last
// thing in the connection's goroutine.
func (s *server) watch(conn net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.open[conn] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(s.open, conn)
		if len(s.open) == 0 {
			s.none.Broadcast()
		}
	}
}

func (s *server) close() error {
	s.cancel()
	err := s.http.Close()
	s.accept.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	// http.Server misses a connection that it accepts while it closes.
	for conn := range s.open {
		conn.Close()
	}
	for len(s.open) > 0 {
		s.none.Wait()
	}
	return err
}
