package openstack

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
)

func TestParseSpec(t *testing.T) {
	got, err := parseSpec(json.RawMessage(`{"flavor": "gpu.large", "image": "ubuntu", "user": "ubuntu"}`))
	want := Spec{Service: "nova", Flavor: "gpu.large", Image: "ubuntu", User: "ubuntu"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, want := range map[string]string{
		`{`: "unexpected EOF",
		`{"flavor": "f", "image": "i", "user": "u"} {}`: "more than one",
		`{"flavour": "f"}`:                     `unknown field "flavour"`,
		`{"image": "i", "user": "u"}`:          "flavor is missing",
		`{"flavor": "f"}`:                      "image is missing",
		`{"service": "magic"}`:                 `service: unknown "magic" (known: ironic, magnum, nova)`,
		`{"service": "magnum", "flavor": "f"}`: "clusterTemplate is missing\npod is missing",
		`{"service": "magnum", "clusterTemplate": "t", "pod": {}, "image": "i", "masters": -1}`:    "image: not used by the service magnum\nmasters: -1 is negative",
		`{"flavor": "f", "image": "i", "user": "u", "labels": {"a": "b"}, "clusterTemplate": "t"}`: "masters, labels, pod: not used by the service nova\nclusterTemplate: not used by the service nova",

		`{"service": "ironic", "flavor": "f", "image": "i", "user": "u", "resourceClass": "baremetal"}`: "flavor: not used by the service ironic",
		`{"service": "ironic", "image": "i", "user": "u"}`:                                              "resourceClass is missing",
		`{"flavor": "f", "image": "i", "user": "u", "resourceClass": "c"}`:                              "resourceClass: not used by the service nova",
		`{"service": "ironic", "resourceClass": "c", "image": "i", "user": "u", "floatingPool": "p"}`:   "floatingPool: not used by the service ironic",
		`{"service": "magnum", "clusterTemplate": "t", "pod": {}, "floatingPool": "p"}`:                 "floatingPool: not used by the service magnum",
		`{"flavor": "f", "image": "i", "user": "u", "sshPort": 70000}`:                                  "sshPort: 70000 is no port",
	} {
		if _, err := parseSpec(json.RawMessage(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", text, err, want)
		}
	}
}

// A spec that was read is written and read the same.
func FuzzParseSpec(f *testing.F) {
	f.Add([]byte(`{"flavor": "f", "image": "i", "user": "u", "network": "n", "sshPort": 22, "zone": "z"}`))
	f.Add([]byte(`{"service": "ironic", "resourceClass": "c", "image": "i", "user": "u"}`))
	f.Add([]byte(`{"service": "magnum", "clusterTemplate": "t", "flavor": "f", "labels": {"a": "b"}, "pod": {"image": "i"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSpec(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		again, err := parseSpec(b)
		if err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if second, err := json.Marshal(again); err != nil || !bytes.Equal(b, second) {
			t.Errorf("got %s, %v; want %s", second, err, b)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	f.Add([]byte(`{"cloud": "lab", "region": "RegionOne"}`))
	f.Add([]byte(`{"password": "x"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseConfig(text)
		if err != nil {
			return
		}
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseConfig(b); err != nil || again != c {
			t.Errorf("%s: got %+v, %v; want %+v", b, again, err, c)
		}
	})
}

// clearEnv hides the environment's own clouds.
func clearEnv(t *testing.T) {
	t.Helper()
	for _, v := range os.Environ() {
		if k, _, _ := strings.Cut(v, "="); strings.HasPrefix(k, "OS_") {
			t.Setenv(k, "")
		}
	}
	t.Chdir(t.TempDir())
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
}

func TestCredentials(t *testing.T) {
	clearEnv(t)
	if _, err := credentials(Config{}); err == nil || !strings.Contains(err.Error(), "OS_AUTH_URL") {
		t.Errorf("nothing: got %v", err)
	}

	file := filepath.Join(t.TempDir(), "clouds.yaml")
	yaml := "clouds:\n  lab:\n    auth: {auth_url: 'http://127.0.0.1:5000/v3', username: u, password: p4ss, project_name: p, user_domain_id: default, project_domain_id: default}\n    region_name: R1\n"
	if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	p, err := credentials(Config{Cloud: "lab"})
	if err != nil || p.Auth.Username != "u" || p.Auth.Password != "p4ss" || p.Endpoint.Region != "R1" {
		t.Errorf("clouds.yaml: got %+v, %v", p.Endpoint, err)
	}
	if p, err = credentials(Config{Cloud: "lab", Region: "R2"}); err != nil || p.Endpoint.Region != "R2" {
		t.Errorf("region: got %+v, %v", p.Endpoint, err)
	}
	if _, err := credentials(Config{Cloud: "other"}); err == nil || !strings.Contains(err.Error(), `"other"`) {
		t.Errorf("unknown cloud: got %v", err)
	}
	t.Setenv("OS_CLOUD", "lab")
	if p, err = credentials(Config{}); err != nil || p.Auth.Username != "u" {
		t.Errorf("OS_CLOUD: got %v", err)
	}
	t.Setenv("OS_CLOUD", "")
	t.Setenv("OS_AUTH_URL", "http://127.0.0.1:5000/v3")
	t.Setenv("OS_USERNAME", "v")
	t.Setenv("OS_PASSWORD", "p4ss")
	t.Setenv("OS_PROJECT_ID", "p")
	t.Setenv("OS_DOMAIN_ID", "default")
	if p, err = credentials(Config{Region: "R3"}); err != nil || p.Auth.Username != "v" || p.Endpoint.Region != "R3" {
		t.Errorf("OS_* variables: got %+v, %v", p.Endpoint, err)
	}
	// What Horizon hands out as openrc.
	t.Setenv("OS_DOMAIN_ID", "")
	t.Setenv("OS_PROJECT_ID", "")
	t.Setenv("OS_PROJECT_NAME", "q")
	t.Setenv("OS_USER_DOMAIN_NAME", "People")
	t.Setenv("OS_PROJECT_DOMAIN_ID", "d1")
	t.Setenv("OS_PROJECT_DOMAIN_NAME", "Projects")
	t.Setenv("OS_REGION_NAME", "R4")
	t.Setenv("OS_INTERFACE", "internal")
	t.Setenv("OS_INSECURE", "true")
	p, err = credentials(Config{})
	if err != nil || p.Auth.DomainName != "People" || p.Endpoint.Region != "R4" || p.Endpoint.Availability != gophercloud.AvailabilityInternal || p.TLS == nil || !p.TLS.InsecureSkipVerify {
		t.Errorf("openrc: got domain %q, %+v, %v", p.Auth.DomainName, p.Endpoint, err)
	}
	if want := (&gophercloud.AuthScope{ProjectName: "q", DomainID: "d1"}); cmp.Diff(want, p.Auth.Scope) != "" {
		t.Errorf("openrc: got scope %+v; want %+v", p.Auth.Scope, want)
	}
	t.Setenv("OS_PASSWORD", "")
	if _, err := credentials(Config{}); err == nil || !strings.Contains(err.Error(), "OS_PASSWORD") {
		t.Errorf("no password: got %v", err)
	}
	t.Setenv("OS_APPLICATION_CREDENTIAL_ID", "a1")
	t.Setenv("OS_APPLICATION_CREDENTIAL_SECRET", "s3cret")
	if p, err = credentials(Config{}); err != nil || p.Auth.ApplicationCredentialID != "a1" || p.Auth.ApplicationCredentialSecret != "s3cret" {
		t.Errorf("application credential: got %v", err)
	}
	t.Setenv("OS_CACERT", "nosuch.pem")
	t.Setenv("OS_INSECURE", "")
	if _, err := credentials(Config{}); err == nil || !strings.Contains(err.Error(), "nosuch.pem") || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("OS_CACERT: got %v", err)
	}
	t.Setenv("OS_CACERT", "")
	t.Setenv("OS_INTERFACE", "nosuch")
	if _, err := credentials(Config{}); err == nil || !strings.Contains(err.Error(), "OS_INTERFACE") {
		t.Errorf("OS_INTERFACE: got %v", err)
	}
}

// A clouds.yaml that is wrong is not quoted: the wrong line may hold the password.
func TestBrokenCloudsFileIsNotQuoted(t *testing.T) {
	clearEnv(t)
	file := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(file, []byte("clouds:\n  lab: p4ssw0rd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OS_CLIENT_CONFIG_FILE", file)
	_, err := Open(t.Context(), backends.Options{Cloud: "here", Config: json.RawMessage(`{"cloud": "lab"}`)})
	if err == nil || strings.Contains(err.Error(), "p4ssw0rd") || backends.ClassOf(err) != backends.Config {
		t.Errorf("got %v", err)
	}
	if _, err := Open(t.Context(), backends.Options{Config: json.RawMessage(`{"clowd": "lab"}`)}); backends.ClassOf(err) != backends.Config {
		t.Errorf("unknown field: got %v", err)
	}
}

func TestAFileThatSaysTooLittleIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"clouds: {c: {region_name: x}}":  `clouds.yaml: cloud "c": auth is missing`,
		"clouds: {other: {auth: {}}}":    `cloud "c"`,
		"clouds: {c: {auth: {auth_url: ": `cloud "c"`,
	} {
		file := filepath.Join(t.TempDir(), "clouds.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("OS_CLIENT_CONFIG_FILE", file)
		if _, err := credentials(Config{Cloud: "c"}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v; want %q", text, err, want)
		}
	}
}
