package openstack

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
)

func TestNames(t *testing.T) {
	label := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	seen := map[string]string{}
	for _, run := range []string{"r1", "R1x", strings.Repeat("r", 32)} {
		for _, fleet := range []string{"f", "f-m", strings.Repeat("f", 63), strings.Repeat("f", 62) + "g"} {
			for _, m := range []string{"m0", "m-m0", strings.Repeat("m", 63)} {
				o := backends.Owner{Run: run, Fleet: fleet}
				n := machineName(o, m)
				if !label.MatchString(n) || !strings.HasPrefix(n, runPrefix(run)) {
					t.Errorf("%v %s: got %q", o, m, n)
				}
				if was := seen[n]; was != "" && len(n) == maxLabel {
					t.Errorf("%v %s: got the name of %s", o, m, was)
				}
				seen[n] = run + fleet + m
				for _, tag := range tags(o, time.Unix(1521417600, 0)) {
					if len(tag) > maxTag || strings.ContainsAny(tag, ",/") {
						t.Errorf("tag %q", tag)
					}
				}
			}
		}
	}
}

func TestBelongs(t *testing.T) {
	o := backends.Owner{Run: "r1", Fleet: "f"}
	long := backends.Owner{Run: "r1", Fleet: strings.Repeat("f", 63)}
	for _, c := range []struct {
		who, of backends.Owner
		want    bool
	}{
		{o, o, true}, {backends.Owner{Run: "r1"}, o, true}, {long, long, true},
		{backends.Owner{Run: "r2"}, o, false}, {backends.Owner{Run: "r1", Fleet: "g"}, o, false}, {backends.Owner{Run: "r"}, o, false}, {o, long, false},
	} {
		if got := belongs(c.who, tags(c.of, time.Time{}), nil); got != c.want {
			t.Errorf("%v by tags of %v: got %v", c.who, c.of, got)
		}
		if got := belongs(c.who, nil, labels(c.of, "m", time.Time{})); got != c.want {
			t.Errorf("%v by labels of %v: got %v", c.who, c.of, got)
		}
	}
	for _, bad := range []backends.Owner{{}, {Run: "a b"}, {Run: strings.Repeat("r", 33)}, {Run: "a,b"}} {
		if checkOwner(bad, false) == nil {
			t.Errorf("%v is an owner", bad)
		}
	}
	if checkOwner(backends.Owner{Run: "r"}, true) == nil {
		t.Error("a fleet without a name")
	}
}

func TestKeysAreTheSameAfterARestart(t *testing.T) {
	secret := bytes.Repeat([]byte{1}, 32)
	a, err := hostKey(secret, "m")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := hostKey(secret, "m")
	other, _ := hostKey(secret, "n")
	login, _ := loginKey(secret, "m")
	if !bytes.Equal(a.public, b.public) || bytes.Equal(a.public, other.public) || bytes.Equal(a.public, login.public) {
		t.Error("keys of a purpose differ, or keys of purposes are the same")
	}
	s, err := ssh.ParsePrivateKey(a.pem)
	if err != nil || !bytes.Equal(bytes.TrimSpace(ssh.MarshalAuthorizedKey(s.PublicKey())), a.public) {
		t.Errorf("the private key does not fit: %v", err)
	}
	if _, err := hostKey(secret[:15], "m"); err == nil {
		t.Error("a short secret made a key")
	}
}

func TestAddress(t *testing.T) {
	v := &serverView{Addresses: map[string][]serverAddress{
		"a": {{"fd00::1", 6, "fixed"}, {"203.0.113.9", 4, "floating"}},
		"b": {{"10.0.0.7", 4, "fixed"}},
	}}
	if got := v.address(); got != "10.0.0.7" {
		t.Errorf("got %s", got)
	}
	delete(v.Addresses, "b")
	if got := v.address(); got != "fd00::1" {
		t.Errorf("got %s", got)
	}
	if got := (&serverView{}).address(); got != "" {
		t.Errorf("got %s", got)
	}
}
