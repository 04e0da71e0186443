package all_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/sandbox"
)

// victim, set to a state folder, makes this test program one that is killed in the middle.
const victim = "DLX_TEST_VICTIM"

var request = backends.FleetRequest{
	Owner: backends.Owner{Run: "r1", Fleet: "f"}, Ledger: quiet{}, Until: time.Unix(1521417600, 0),
	Machines: []backends.MachineRequest{
		{Name: "vm", Spec: json.RawMessage(`{"flavor": "sandbox.small", "image": "sandbox", "network": "sandbox", "user": "sandbox"}`)},
		{Name: "bm", Spec: json.RawMessage(`{"service": "ironic", "resourceClass": "baremetal", "image": "sandbox", "user": "sandbox"}`)},
	},
}

// After kill -9 of the whole program, the next one finds the same machines at the same
// addresses, and the processes that ran on them meanwhile.
func TestSandboxSurvivesKill(t *testing.T) {
	options := backends.Options{Cloud: "here", Secret: bytes.Repeat([]byte{9}, 32), State: os.Getenv(victim)}
	if options.State != "" {
		b, err := factory(t, "sandbox").Open(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		ms, err := b.Provision(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range ms {
			p := backends.Process{ID: "long", Args: []string{"sh", "-c", "sleep 1; echo done; exit 7"}}
			if err := b.Launchers["ssh"].Start(t.Context(), backends.Single(m, p)); err != nil {
				t.Fatal(err)
			}
			fmt.Println("victim", m.ID, m.Access.SSH.Addr, limit(m)) //nolint:forbidigo // to the test that started us
		}
		fmt.Println("victim ready") //nolint:forbidigo // as above
		select {}
	}

	options.State = t.TempDir()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSandboxSurvivesKill$")
	cmd.Env = append(os.Environ(), victim+"="+options.State)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var before []string
	for s := bufio.NewScanner(out); s.Scan() && s.Text() != "victim ready"; {
		if line, ok := strings.CutPrefix(s.Text(), "victim "); ok {
			before = append(before, line)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()

	b, err := factory(t, "sandbox").Open(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	ms, err := b.Provision(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	for i, m := range ms {
		if limit(m) == "" {
			t.Errorf("%s does not say what holds it to its cores: %v", m.Name, m.Facts)
		}
		if got := m.ID + " " + m.Access.SSH.Addr + " " + limit(m); i >= len(before) || got != before[i] {
			t.Errorf("got %s; want one of %v", got, before)
		}
		l := b.Launchers["ssh"]
		e, err := l.Wait(t.Context(), m, "long-0")
		if err != nil || e.Code != 7 || e.Elapsed < time.Second {
			t.Errorf("%s: got %+v, %v", m.Name, e, err)
		}
		r, err := l.Open(t.Context(), m, "long-0", backends.Stdout, 0)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := io.ReadAll(r); string(text) != "done\n" || err != nil {
			t.Errorf("%s: got %q, %v", m.Name, text, err)
		}
		r.Close()
	}
	if err := b.Release(t.Context(), backends.Owner{Run: "r1"}, quiet{}); err != nil {
		t.Error(err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	s, err := sandbox.Start(t.Context(), sandbox.Config{State: options.State})
	if err != nil {
		t.Fatal(err)
	}
	if left := s.Groups(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	s.Close()
	if left, err := os.ReadDir(options.State); len(left) != 0 || err != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// limit is what holds a machine to its cores.
func limit(m backends.Machine) string {
	return m.Facts["metadata.cpu.limit"] + m.Facts["properties.cpu.limit"]
}

func TestSandboxSettings(t *testing.T) {
	for _, bad := range []string{`{"host": 1}`, `{"hosts": -1}`, `{"hosts": "two"}`, `[]`} {
		_, err := factory(t, "sandbox").Open(t.Context(), backends.Options{State: t.TempDir(), Secret: make([]byte, 32), Config: json.RawMessage(bad)})
		if backends.ClassOf(err) != backends.Config {
			t.Errorf("%s: got %v", bad, err)
		}
	}
	if _, err := factory(t, "sandbox").Open(t.Context(), backends.Options{State: t.TempDir(), Secret: []byte("short")}); backends.ClassOf(err) != backends.Internal {
		t.Errorf("a short secret: got %v", err)
	}
}
