package backendtest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"
	gopherstack "github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/backendtest"
	"dlx.dev/dlx/backends/openstack"
)

// Ways to log into a real cloud, as users have them: clouds.yaml, and the variables of an openrc file, with a
// password and with an application credential that the real Keystone makes for the test.
func TestLoginsCloud(t *testing.T) {
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/cloud", Skip: why})
		return
	}
	a := openAccount(t)
	for _, c := range []struct {
		name string
		set  func(*testing.T)
	}{
		{"clouds.yaml with a password", func(*testing.T) {}},
		{"clouds.yaml with an application credential", a.credentialFile},
		{"variables with a password", a.passwordVariables},
		{"variables with an application credential", a.credentialVariables},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.set(t)
			comeAndGo(t, a)
		})
	}
	t.Run("what is wrong is said without a secret", func(t *testing.T) {
		a.passwordVariables(t)
		t.Setenv("OS_PASSWORD", "not-"+a.auth.Password)
		_, err := openstack.Open(t.Context(), backends.Options{Cloud: "here", Secret: secret})
		refused(t, err, backends.Config, "401")
		if err != nil && strings.Contains(err.Error(), a.auth.Password) {
			t.Error("the error holds the password")
		}
	})
}

// comeAndGo makes a server and removes it, as dlx logs in by itself. Nobody logs into the server: its
// Provision ends when it is seen to be up.
func comeAndGo(t *testing.T, a *account) {
	t.Helper()
	said := &words{}
	b, err := openstack.Open(t.Context(), backends.Options{Cloud: "here", Secret: secret, Log: said.add})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close(t.Context())
	o := backends.Owner{Run: novaRun + "-login"}
	list, err := b.Owned(t.Context(), o)
	if err != nil || len(list) > 0 {
		t.Errorf("got %v, %v; want nothing", list, err)
	}
	r := (&novaBed{}).request("f", 1, with(t, a.machine, "flavor", a.impossible), backends.AnyHosts)
	r.Owner.Run = o.Run
	_, err = b.Provision(t.Context(), r)
	refused(t, err, backends.Capacity, "No valid host was found.")
	said.add("%v", err)
	if list, err = b.Owned(t.Context(), o); err != nil || len(list) != 2 { // and the keypair
		t.Errorf("got %v, %v; want a server and a keypair", list, err)
	}
	if err := b.Release(t.Context(), o, forgetful{}); err != nil {
		t.Error(err)
	}
	if list, err = b.Owned(t.Context(), o); err != nil || len(list) > 0 {
		t.Errorf("got %v, %v; want nothing", list, err)
	}
	said.without(t, a.auth.Password, a.secret, string(secret))
}

// account is what the cloud of OS_CLOUD is logged into with.
type account struct {
	auth       gophercloud.AuthOptions
	region     string
	machine    json.RawMessage
	impossible string
	id, secret string // of an application credential
}

func openAccount(t *testing.T) *account {
	t.Helper()
	real := readReal(t)
	a := &account{machine: real.Machine, impossible: real.Impossible}
	var endpoint gophercloud.EndpointOpts
	var err error
	if a.auth, endpoint, _, err = clouds.Parse(clouds.WithCloudName(os.Getenv("OS_CLOUD"))); err != nil {
		t.Fatal(err)
	}
	a.region = endpoint.Region
	compute, _ := login(t, os.Getenv("OS_CLOUD"))
	identity, err := gopherstack.NewIdentityV3(compute.ProviderClient, endpoint)
	if err != nil {
		t.Fatal(err)
	}
	who, err := compute.GetAuthResult().(tokens.CreateResult).ExtractUser()
	if err != nil {
		t.Fatal(err)
	}
	at := identity.ServiceURL("users", who.ID, "application_credentials")
	var made struct {
		Credential struct {
			ID     string `json:"id"`
			Secret string `json:"secret"`
		} `json:"application_credential"`
	}
	askNova(t, identity, http.MethodPost, at, map[string]any{"application_credential": map[string]any{"name": "dlx-test-" + t.Name()}}, &made)
	t.Cleanup(func() { askNova(t, identity, http.MethodDelete, at+"/"+made.Credential.ID, nil, nil) })
	a.id, a.secret = made.Credential.ID, made.Credential.Secret
	return a
}

// credentialFile writes a clouds.yaml as Horizon hands out for an application credential.
func (a *account) credentialFile(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	text := fmt.Sprintf("clouds:\n  here:\n    auth_type: v3applicationcredential\n    region_name: %s\n    auth:\n      auth_url: %s\n      application_credential_id: %s\n      application_credential_secret: %s\n",
		a.region, a.auth.IdentityEndpoint, a.id, a.secret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	t.Setenv("OS_CLOUD", "here")
}

// passwordVariables are those of an openrc file.
func (a *account) passwordVariables(t *testing.T) {
	t.Helper()
	variables(t, map[string]string{
		"OS_AUTH_URL": a.auth.IdentityEndpoint, "OS_USERNAME": a.auth.Username, "OS_PASSWORD": a.auth.Password, "OS_REGION_NAME": a.region,
		"OS_PROJECT_NAME": a.auth.TenantName, "OS_USER_DOMAIN_NAME": "Default", "OS_PROJECT_DOMAIN_ID": "default",
		"OS_INTERFACE": "public", "OS_IDENTITY_API_VERSION": "3",
	})
}

func (a *account) credentialVariables(t *testing.T) {
	t.Helper()
	variables(t, map[string]string{
		"OS_AUTH_TYPE": "v3applicationcredential", "OS_AUTH_URL": a.auth.IdentityEndpoint, "OS_REGION_NAME": a.region, "OS_INTERFACE": "public",
		"OS_APPLICATION_CREDENTIAL_ID": a.id, "OS_APPLICATION_CREDENTIAL_SECRET": a.secret,
	})
}

// variables sets some of OpenStack's and unsets all others.
func variables(t *testing.T, set map[string]string) {
	t.Helper()
	for _, v := range os.Environ() {
		if k, _, _ := strings.Cut(v, "="); strings.HasPrefix(k, "OS_") {
			t.Setenv(k, "")
		}
	}
	for k, v := range set {
		t.Setenv(k, v)
	}
}

// A token that Keystone itself has revoked: what the services remember of it is forgotten, and dlx logs in anew.
func TestRevokedTokenCloud(t *testing.T) {
	t.Parallel()
	if why := noReal(); why != "" {
		backendtest.Run(t, backendtest.World{Name: "openstack/cloud", Skip: why})
		return
	}
	w := openReal(t)
	if w.Cache == "" {
		backendtest.Skip(t, "openstack/cloud", realVariable+` names no "cache"`)
	}
	b := &novaBed{Bed: w.bed()}
	r := b.request("f", 1, b.Spec, backends.AnyHosts)
	first, err := b.Backend.Provision(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"provision", "release"} {
		void := w.meddler.token()
		w.revoke(t, void)
		if step == "provision" {
			again, err := b.Backend.Provision(t.Context(), r)
			if err != nil || again[0].ID != first[0].ID {
				t.Errorf("provision: got %v, %v; want %s", again, err, first[0].ID)
			}
		} else {
			b.release(t)
		}
		if now := w.meddler.token(); now == void {
			t.Errorf("%s: the token is still that which was revoked", step)
		}
	}
	if left := b.Left(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
