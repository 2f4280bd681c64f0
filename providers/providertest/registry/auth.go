package testregistry

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// tokenPath is where tokens are handed out.
const tokenPath = "/token"

// auth is what a registry demands.
type auth struct {
	user, password string
	bearer         bool
	tokens         map[string]bool
}

// RequireBasic demands these credentials with every request from now on.
func (r *Registry) RequireBasic(user, password string) {
	r.require(&auth{user: user, password: password})
}

// RequireToken demands a bearer token with every request from now on, and hands
// tokens out for these credentials, both by GET with basic authentication and by
// POST as OAuth 2 has it. Tokens given out before are void.
func (r *Registry) RequireToken(user, password string) {
	r.require(&auth{user: user, password: password, bearer: true, tokens: map[string]bool{}})
}

// RevokeTokens makes all tokens invalid that were handed out, as if they had
// expired.
func (r *Registry) RevokeTokens() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.auth != nil {
		clear(r.auth.tokens)
	}
}

func (r *Registry) require(a *auth) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.auth = a
}

// admit reports whether the request may pass; else it has been answered.
func (r *Registry) admit(w http.ResponseWriter, req *http.Request) bool {
	r.mu.Lock()
	a := r.auth
	challenge := ""
	switch {
	case a == nil:
	case a.bearer:
		token, ok := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
		if !ok || !a.tokens[token] {
			challenge = fmt.Sprintf(`Bearer realm="http://%s%s",service=%q`, r.host, tokenPath, r.host)
			if scope := scopeOf(req); scope != "" {
				challenge += fmt.Sprintf(`,scope=%q`, scope)
			}
		}
	default:
		if user, password, ok := req.BasicAuth(); !ok || !a.knows(user, password) {
			challenge = `Basic realm="testregistry"`
		}
	}
	r.mu.Unlock()
	if challenge == "" {
		return true
	}
	w.Header().Set("WWW-Authenticate", challenge)
	fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
	return false
}

func (a *auth) knows(user, password string) bool {
	return subtle.ConstantTimeCompare([]byte(a.user+"\x00"+a.password), []byte(user+"\x00"+password)) == 1
}

// scopeOf names what a request needs, "repository:app:pull".
func scopeOf(req *http.Request) string {
	parts := strings.Split(strings.TrimPrefix(req.URL.Path, "/v2/"), "/")
	for i, part := range parts {
		if i > 0 && (part == "blobs" || part == "manifests" || part == "tags" || part == "referrers") {
			action := "pull"
			if req.Method != http.MethodGet && req.Method != http.MethodHead {
				action = "pull,push"
			}
			return "repository:" + strings.Join(parts[:i], "/") + ":" + action
		}
	}
	return ""
}

// token hands out a token for valid credentials.
func (r *Registry) token(w http.ResponseWriter, req *http.Request) {
	user, password, ok := req.BasicAuth()
	if req.Method == http.MethodPost {
		req.Body = http.MaxBytesReader(w, req.Body, 1<<16)
		ok = req.ParseForm() == nil && req.PostForm.Get("grant_type") == "password"
		user, password = req.PostForm.Get("username"), req.PostForm.Get("password")
	}
	r.mu.Lock()
	token := ""
	if ok && r.auth != nil && r.auth.bearer && r.auth.knows(user, password) {
		token = rand.Text()
		r.auth.tokens[token] = true
	}
	r.mu.Unlock()
	if token == "" {
		fail(w, http.StatusUnauthorized, "UNAUTHORIZED")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	// The two names are those of the two ways to ask.
	_ = json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 300})
}
