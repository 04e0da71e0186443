package ssh

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The supervisor under the shells that machines have as their sh.
func TestSupervisorUnderShells(t *testing.T) {
	for _, shell := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(shell[0], func(t *testing.T) {
			if _, err := exec.LookPath(shell[0]); err != nil {
				if slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), "shells") {
					t.Fatalf("%s is not installed, and DLX_TEST_REQUIRE demands it", shell[0])
				}
				t.Skipf("%s is not installed; DLX_TEST_REQUIRE=shells demands it", shell[0])
			}
			home := t.TempDir()
			script := filepath.Join(home, "supervisor.sh")
			if err := os.WriteFile(script, supervisor, 0o600); err != nil {
				t.Fatal(err)
			}
			run := func(stdin string, words ...string) (string, int) {
				args := append(append(append([]string{}, shell[1:]...), script), words...)
				cmd := exec.CommandContext(t.Context(), shell[0], args...)
				var out bytes.Buffer
				cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = home, strings.NewReader(stdin), &out, &out
				_ = cmd.Run()
				return out.String(), cmd.ProcessState.ExitCode()
			}
			start := func(id, body string, limits ...string) {
				t.Helper()
				words := append([]string{"start", id, strconv.Itoa(len(body))}, limits...)
				if out, code := run(body, words...); code != 0 {
					t.Fatalf("start %s: %d %s", id, code, out)
				}
			}
			exit := func(id string) string {
				t.Helper()
				out, code := run("", "wait", id)
				e, err := parseExit(out)
				if code != 0 || err != nil {
					t.Fatalf("wait %s: %d %q: %v", id, code, out, err)
				}
				return strings.TrimSpace(strings.Join([]string{strconv.Itoa(e.Code), map[bool]string{true: "late"}[e.TimedOut], map[bool]string{true: "stopped"}[e.Stopped]}, " "))
			}
			start("a", "echo out; echo err >&2; exit 3", "0", "0", "0", "0")
			if got := exit("a"); got != "3" {
				t.Errorf("exit: got %q", got)
			}
			if out, _ := os.ReadFile(filepath.Join(home, ".dlx/procs/a/stdout")); string(out) != "out\n" {
				t.Errorf("stdout: got %q", out)
			}
			start("b", "exec sleep 3600", "0.2", "1", "0", "0")
			if got := exit("b"); got != "143 late" {
				t.Errorf("timeout: got %q", got)
			}
			start("c", "trap '' TERM; sleep 3600", "0", "0", "1", "0")
			if out, code := run("", "stop", "c", "0.1"); code != 0 {
				t.Errorf("stop: %d %s", code, out)
			}
			if got := exit("c"); got != "137  stopped" {
				t.Errorf("stop: got %q", got)
			}
			if out, code := run("abc", "start", "d", "99", "0", "0", "0", "0"); code != 6 {
				t.Errorf("torn script: got %d %s", code, out)
			}
			if out, code := run("", "wait", "nobody"); code != statusUnknown {
				t.Errorf("unknown: got %d %s", code, out)
			}
			if out, code := run("", "start", "e", "0", "0", "9999", "0", "0"); code != statusCannot || !strings.Contains(out, "9999 CPUs") {
				t.Errorf("too many CPUs: got %d %s", code, out)
			}
			// A supervisor that dies leaves no record, and nobody waits for ever.
			start("f", "exec sleep 3600", "0", "0", "0", "0")
			kill(t, "supervise f")
			if out, code := run("", "wait", "f"); code != statusVanished {
				t.Errorf("vanished: got %d %s", code, out)
			}
			if out, code := run("", "stop", "f", "1"); code != 0 {
				t.Errorf("stop of a vanished one: got %d %s", code, out)
			}
			kinds, _ := filepath.Glob("/proc/[0-9]*/environ")
			for _, k := range kinds {
				if env, err := os.ReadFile(k); err == nil && bytes.Contains(env, []byte("DLX_PROCESS="+home)) {
					t.Errorf("%s is left", k)
				}
			}
		})
	}
}

// kill ends the processes below the test's home whose command line holds the words.
func kill(t *testing.T, words string) {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		line, err := os.ReadFile(f)
		if err != nil || !strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), words) || !bytes.Contains(line, []byte(strings.Split(t.Name(), "/")[0])) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if err != nil {
			t.Fatal(err)
		}
		p, err := os.FindProcess(pid)
		if err != nil {
			t.Fatal(err)
		}
		_ = p.Kill()
	}
}
