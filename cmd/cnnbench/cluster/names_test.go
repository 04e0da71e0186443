package cluster

import (
	"os"
	"path/filepath"
	"testing"
)

func TestListenAddress(t *testing.T) {
	file := filepath.Join(t.TempDir(), "hosts")
	if err := os.WriteFile(file, []byte("# pods\n127.9.0.1 ps-0.fleet ps-0 # the server\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(HostsVariable, file)
	for addr, want := range map[string]string{
		"127.3.0.1:12220": "127.3.0.1:12220", "[::1]:5": "[::1]:5", "ps-0:12220": "127.9.0.1:12220", "ps-0.fleet:1": "127.9.0.1:1",
		"192.0.2.1:12220": ":12220", "no-such-host.invalid:12220": ":12220",
	} {
		if got, err := ListenAddress(t.Context(), addr); got != want || err != nil {
			t.Errorf("%s: got %q, %v; want %q", addr, got, err, want)
		}
	}
	if _, err := ListenAddress(t.Context(), "no port"); err == nil {
		t.Error("an address without port was taken")
	}
	if got := dialAddress("ps-0:12220"); got != "127.9.0.1:12220" {
		t.Errorf("dials %q", got)
	}
}
