package sandbox

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fixed IDs of the one project.
const (
	projectID = "5a6e64626f78000000000000000000aa"
	userID    = "5a6e64626f78000000000000000000bb"
)

const unauthorized = "The request you have made requires authentication."

func (s *Server) keystone() {
	version := func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"version": s.identityVersion()})
	}
	s.root("/identity", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusMultipleChoices, map[string]any{"versions": map[string]any{"values": []any{s.identityVersion()}}})
	})
	s.mux.HandleFunc("GET /identity/v3", version)
	s.mux.HandleFunc("GET /identity/v3/{$}", version)
	s.mux.HandleFunc("POST /identity/v3/auth/tokens", s.issueToken)
	s.mux.HandleFunc("DELETE /identity/v3/auth/tokens", s.auth(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		delete(s.tokens, r.Header.Get("X-Subject-Token"))
		s.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	}))
}

func (s *Server) identityVersion() map[string]any {
	return map[string]any{"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links": []any{map[string]any{"rel": "self", "href": s.base + "/identity/v3/"}}}
}

// issueToken is POST /v3/auth/tokens with a password or an application credential.
func (s *Server) issueToken(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Auth struct {
			Identity struct {
				Methods  []string `json:"methods"`
				Password struct {
					User struct {
						ID       string `json:"id"`
						Name     string `json:"name"`
						Password string `json:"password"`
					} `json:"user"`
				} `json:"password"`
				ApplicationCredential struct {
					ID     string `json:"id"`
					Secret string `json:"secret"`
				} `json:"application_credential"`
			} `json:"identity"`
			Scope any `json:"scope"`
		} `json:"auth"`
	}
	if err := read(r, &in); err != nil {
		keystoneError(w, http.StatusBadRequest, "Bad Request", "Expecting to find auth in request body.")
		return
	}
	id := in.Auth.Identity
	ok := false
	switch strings.Join(id.Methods, ",") {
	case "password":
		u := id.Password.User
		ok = (u.Name == User || u.ID == userID) && u.Password == s.password
	case "application_credential":
		if in.Auth.Scope != nil {
			keystoneError(w, http.StatusUnauthorized, "Unauthorized", "Application credentials cannot request a scope.")
			return
		}
		ok = id.ApplicationCredential.ID == s.appID && id.ApplicationCredential.Secret == s.appSecret
	}
	if !ok {
		keystoneError(w, http.StatusUnauthorized, "Unauthorized", unauthorized)
		return
	}
	token := "gAAAAA" + hexID() + hexID()
	now := time.Now()
	s.mu.Lock()
	for t, until := range s.tokens {
		if now.After(until) {
			delete(s.tokens, t)
		}
	}
	s.tokens[token] = now.Add(s.cfg.TokenLife)
	s.mu.Unlock()
	w.Header().Set("X-Subject-Token", token)
	reply(w, http.StatusCreated, map[string]any{"token": map[string]any{
		"methods":    id.Methods,
		"expires_at": now.Add(s.cfg.TokenLife).UTC().Format("2006-01-02T15:04:05.000000Z"),
		"issued_at":  now.UTC().Format("2006-01-02T15:04:05.000000Z"),
		"user":       map[string]any{"id": userID, "name": User, "domain": map[string]any{"id": "default", "name": "Default"}},
		"project":    map[string]any{"id": projectID, "name": "sandbox", "domain": map[string]any{"id": "default", "name": "Default"}},
		"roles":      []any{map[string]any{"id": "member", "name": "member"}, map[string]any{"id": "admin", "name": "admin"}},
		"catalog":    s.catalog(),
	}})
}

func (s *Server) catalog() []any {
	s.mu.Lock()
	regions := slices.Clone(s.regions)
	s.mu.Unlock()
	entry := func(kind, name, path string) any {
		var ends []any
		for _, r := range regions {
			base := r.base
			if kind == "identity" {
				base = s.base
			}
			for _, i := range []string{"public", "internal", "admin"} {
				ends = append(ends, map[string]any{"id": kind + "-" + r.cfg.Region + "-" + i, "interface": i, "region": r.cfg.Region, "region_id": r.cfg.Region, "url": base + path})
			}
		}
		return map[string]any{"id": kind, "type": kind, "name": name, "endpoints": ends}
	}
	return []any{
		entry("identity", "keystone", "/identity"),
		entry("compute", "nova", "/compute/v2.1"),
		entry("image", "glance", "/image"),
		entry("network", "neutron", "/network"),
		entry("baremetal", "ironic", "/baremetal"),
		entry("container-infra", "magnum", "/container-infra/v1"),
	}
}

// auth lets requests with a living token through.
func (s *Server) auth(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		s.keys.mu.Lock()
		until, known := s.keys.tokens[r.Header.Get("X-Auth-Token")]
		s.keys.mu.Unlock()
		if !known || time.Now().After(until) {
			w.Header().Set("WWW-Authenticate", `Keystone uri="`+s.keys.base+`/identity"`)
			keystoneError(w, http.StatusUnauthorized, "Unauthorized", unauthorized)
			return
		}
		next(w, r)
	}
}

// Revoke makes all tokens void, as a Keystone that was restarted with new keys.
func (s *Server) Revoke() {
	s.keys.mu.Lock()
	defer s.keys.mu.Unlock()
	clear(s.keys.tokens)
}

func keystoneError(w http.ResponseWriter, code int, title, message string) {
	reply(w, code, map[string]any{"error": map[string]any{"code": code, "title": title, "message": message}})
}

func hexID() string { return strings.ReplaceAll(randomID(), "-", "") }
