package sandbox

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keypairs serves /os-keypairs of Nova.
func (s *Server) keypairs() {
	s.compute("GET /os-keypairs", func(w http.ResponseWriter, _ *http.Request, _ int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(s.st.Keypairs)) {
			list = append(list, map[string]any{"keypair": s.st.Keypairs[name]})
		}
		reply(w, http.StatusOK, map[string]any{"keypairs": list})
	})
	s.compute("GET /os-keypairs/{name}", func(w http.ResponseWriter, r *http.Request, _ int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		k := s.st.Keypairs[r.PathValue("name")]
		if k == nil {
			novaError(w, http.StatusNotFound, fmt.Sprintf("Keypair %s not found for user %s", r.PathValue("name"), userID))
			return
		}
		reply(w, http.StatusOK, map[string]any{"keypair": k.shown()})
	})
	s.compute("POST /os-keypairs", s.createKeypair)
	s.compute("DELETE /os-keypairs/{name}", func(w http.ResponseWriter, r *http.Request, minor int) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.st.Keypairs[r.PathValue("name")] == nil {
			novaError(w, http.StatusNotFound, fmt.Sprintf("Keypair %s not found for user %s", r.PathValue("name"), userID))
			return
		}
		delete(s.st.Keypairs, r.PathValue("name"))
		s.save()
		if minor >= 2 { // 2.2: 204 instead of 202
			w.WriteHeader(http.StatusNoContent)
		} else {
			w.WriteHeader(http.StatusAccepted)
		}
	})
}

// shown is a key pair as it is shown alone. There is one user.
func (k *keypair) shown() map[string]any {
	return map[string]any{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint, "type": k.Type, "user_id": userID, "id": 1,
		"created_at": nil, "updated_at": nil, "deleted_at": nil, "deleted": false}
}

func (s *Server) createKeypair(w http.ResponseWriter, r *http.Request, minor int) {
	var in struct {
		Keypair keypair `json:"keypair"`
	}
	if err := read(r, &in); err != nil || in.Keypair.Name == "" {
		novaError(w, http.StatusBadRequest, "Invalid input for field/attribute keypair.")
		return
	}
	k, private := in.Keypair, ""
	if k.PublicKey == "" {
		if minor >= generatesUntil {
			novaError(w, http.StatusBadRequest, "Invalid input for field/attribute keypair. 'public_key' is a required property")
			return
		}
		var err error
		if k.PublicKey, private, err = generateKey(); err != nil {
			novaError(w, http.StatusInternalServerError, err.Error())
			return
		}
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k.PublicKey))
	if err != nil {
		novaError(w, http.StatusBadRequest, "Keypair data is invalid: failed to generate fingerprint")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.st.Keypairs[k.Name] != nil {
		novaError(w, http.StatusConflict, "Key pair '"+k.Name+"' already exists.")
		return
	}
	if full(len(s.st.Keypairs), s.cfg.Quota.KeyPairs, maxKeyPairs) {
		novaError(w, http.StatusForbidden, "Quota exceeded, too many key pairs.")
		return
	}
	k.Fingerprint, k.Type = ssh.FingerprintLegacyMD5(key), "ssh"
	s.st.Keypairs[k.Name] = &k
	s.save()
	code := http.StatusOK
	if minor >= 2 { // 2.2: 201 instead of 200
		code = http.StatusCreated
	}
	out := map[string]any{"name": k.Name, "public_key": k.PublicKey, "fingerprint": k.Fingerprint, "type": k.Type, "user_id": userID}
	if private != "" {
		out["private_key"] = private // shown this once
	}
	reply(w, code, map[string]any{"keypair": out})
}

// generatesUntil is the microversion from which on Nova makes no keys.
const generatesUntil = 92

// generateKey makes a key pair. Nova's are RSA; these are as good and take no time.
func generateKey() (public, private string, err error) {
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return "", "", err
	}
	block, err := ssh.MarshalPrivateKey(priv, "")
	if err != nil {
		return "", "", err
	}
	key, err := ssh.NewPublicKey(pub)
	if err != nil {
		return "", "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), string(pem.EncodeToMemory(block)), nil
}
