package supervisor

import (
	"bytes"
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// A shell is one that machines have as their sh, with a home for the supervisor.
type shell struct {
	t     *testing.T
	words []string
	home  string
	env   []string
}

// underShells runs a test under each shell there is.
func underShells(t *testing.T, test func(*testing.T, *shell)) {
	for _, words := range [][]string{{"dash"}, {"bash", "--posix"}, {"busybox", "sh"}} {
		t.Run(words[0], func(t *testing.T) {
			if _, err := exec.LookPath(words[0]); err != nil {
				if slices.Contains(strings.Split(os.Getenv("DLX_TEST_REQUIRE"), ","), "shells") {
					t.Fatalf("%s is not installed, and DLX_TEST_REQUIRE demands it", words[0])
				}
				t.Skipf("%s is not installed; DLX_TEST_REQUIRE=shells demands it", words[0])
			}
			s := &shell{t: t, words: words, home: t.TempDir()}
			if err := os.WriteFile(filepath.Join(s.home, "supervisor.sh"), Text, 0o600); err != nil {
				t.Fatal(err)
			}
			test(t, s)
		})
	}
}

// command gives one that is ready to start.
func (s *shell) command(stdin string, words ...string) (*exec.Cmd, *bytes.Buffer) {
	args := append(append(append([]string{}, s.words[1:]...), filepath.Join(s.home, "supervisor.sh")), words...)
	cmd := exec.CommandContext(s.t.Context(), s.words[0], args...)
	var out bytes.Buffer
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = s.home, strings.NewReader(stdin), &out, &out, append(os.Environ(), s.env...)
	return cmd, &out
}

// run gives what a verb prints and its status.
func (s *shell) run(stdin string, words ...string) (string, int) {
	cmd, out := s.command(stdin, words...)
	_ = cmd.Run()
	return out.String(), cmd.ProcessState.ExitCode()
}

// exit waits for a process and gives its record in short.
func (s *shell) exit(id string) string {
	s.t.Helper()
	out, code := s.run("", "wait", id)
	e, err := ParseRecord(out)
	if code != 0 || err != nil {
		s.t.Fatalf("wait %s: %d %q: %v", id, code, out, err)
	}
	words := []string{strconv.Itoa(e.Code)}
	for word, is := range map[string]bool{"late": e.TimedOut, "stopped": e.Stopped, "told": e.Told} {
		if is {
			words = append(words, word)
		}
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}

// left complains about processes that are still there.
func (s *shell) left() {
	s.t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/environ")
	for _, f := range all {
		if env, err := os.ReadFile(f); err == nil && bytes.Contains(env, []byte("DLX_PROCESS="+s.home)) {
			s.t.Errorf("%s is left", f)
		}
	}
}

func TestDetached(t *testing.T) {
	underShells(t, func(t *testing.T, s *shell) {
		start := func(id, body string, limits ...string) {
			t.Helper()
			words := append([]string{"start", id, strconv.Itoa(len(body))}, limits...)
			if out, code := s.run(body, words...); code != 0 {
				t.Fatalf("start %s: %d %s", id, code, out)
			}
		}
		start("a", "echo out; echo err >&2; exit 3", "0", "0", "0", "0")
		if got := s.exit("a"); got != "3" {
			t.Errorf("exit: got %q", got)
		}
		if out, _ := os.ReadFile(filepath.Join(s.home, ".dlx/procs/a/stdout")); string(out) != "out\n" {
			t.Errorf("stdout: got %q", out)
		}
		// Of two processes on a machine each has CPUs and GPUs of its own.
		start("g", "echo $CUDA_VISIBLE_DEVICES", "0", "0", "2", "0", "0", "1")
		if got := s.exit("g"); got != "0" {
			t.Errorf("exit: got %q", got)
		}
		if out, _ := os.ReadFile(filepath.Join(s.home, ".dlx/procs/g/stdout")); string(out) != "1,2\n" {
			t.Errorf("GPUs after the first: got %q", out)
		}
		if out, code := s.run("", "start", "h", "0", "0", "1", "0", "0", "9998", "0"); code != Cannot || !strings.Contains(out, "1 CPUs are asked for beside 9998 of other processes") {
			t.Errorf("no CPU left: got %d %s", code, out)
		}
		if runtime.NumCPU() > 1 {
			start("i", "taskset -cp $$", "0", "1", "0", "0", "1", "0")
			if got := s.exit("i"); got != "0" {
				t.Errorf("exit: got %q", got)
			}
			start("j", "taskset -cp $$", "0", "1", "0", "0", "0", "0")
			_ = s.exit("j")
			one, _ := os.ReadFile(filepath.Join(s.home, ".dlx/procs/i/stdout"))
			other, _ := os.ReadFile(filepath.Join(s.home, ".dlx/procs/j/stdout"))
			_, a, _ := strings.Cut(string(one), ": ")
			_, b, _ := strings.Cut(string(other), ": ")
			if a == "" || a == b {
				t.Errorf("two processes are pinned to %q and %q", a, b)
			}
		}
		start("b", "exec sleep 3600", "0.2", "1", "0", "0")
		if got := s.exit("b"); got != "143 late" {
			t.Errorf("timeout: got %q", got)
		}
		start("c", "trap '' TERM; sleep 3600", "0", "0", "1", "0")
		if out, code := s.run("", "stop", "c", "0.1"); code != 0 {
			t.Errorf("stop: %d %s", code, out)
		}
		if got := s.exit("c"); got != "137 stopped" {
			t.Errorf("stop: got %q", got)
		}
		if out, code := s.run("abc", "start", "d", "99", "0", "0", "0", "0"); code != Torn {
			t.Errorf("torn script: got %d %s", code, out)
		}
		if out, code := s.run("", "wait", "nobody"); code != Unknown {
			t.Errorf("unknown: got %d %s", code, out)
		}
		if out, code := s.run("", "start", "e", "0", "0", "9999", "0", "0"); code != Cannot || !strings.Contains(out, "9999 CPUs") {
			t.Errorf("too many CPUs: got %d %s", code, out)
		}
		// A supervisor that dies leaves no record, and nobody waits for ever.
		start("f", "exec sleep 3600", "0", "0", "0", "0")
		kill(t, s.home, "supervise f")
		if out, code := s.run("", "wait", "f"); code != Vanished {
			t.Errorf("vanished: got %d %s", code, out)
		}
		if out, code := s.run("", "stop", "f", "1"); code != 0 {
			t.Errorf("stop of a vanished one: got %d %s", code, out)
		}
		s.left()
	})
}

func TestPod(t *testing.T) {
	underShells(t, func(t *testing.T, s *shell) {
		s.env = []string{"JOB_COMPLETION_INDEX=1"}
		words := []string{"pod", "0", "r%2Fw-0", "exit 9", "r%2Fw-1", "echo it\\'s; exit 3"}
		if out, code := s.run("", words...); code != 0 || out != "" {
			t.Fatalf("pod: %d %s", code, out)
		}
		if got := s.exit("r%2Fw-1"); got != "3" {
			t.Errorf("exit: got %q", got)
		}
		if out, code := s.run("", "show", "r%2Fw-1", "stdout", "2"); code != 0 || out != "5\n's\n" {
			t.Errorf("stdout: got %d %q", code, out)
		}
		for _, offset := range []string{"5", "99"} {
			if out, code := s.run("", "show", "r%2Fw-1", "stdout", offset); code != 0 || out != "5\n" {
				t.Errorf("stdout from %s: got %d %q", offset, code, out)
			}
		}
		if out, code := s.run("", "show", "r%2Fw-1", "nothing", "0"); code != Unknown || out != "" {
			t.Errorf("no such file: got %d %q", code, out)
		}
		for most, sizes := range map[string]string{"4096": ".dlx/exit stdout 5 stderr 0 probe", "4": "stderr 0"} {
			out, code := s.run("", "left", "r%2Fw-1", most)
			at := 0
			for _, word := range strings.Fields(sizes) {
				n := strings.Index(out[at:], word)
				if n < 0 {
					t.Fatalf("left %s: no %s in its place in %q (status %d)", most, word, out, code)
				}
				at += n
			}
			if most == "4096" && !strings.Contains(out, "stdout 5\nit's\nstderr 0\n") || most == "4" && out != "stderr 0\n" {
				t.Errorf("left %s: got %q", most, out)
			}
		}
		if out, code := s.run("", "left", "nobody", "9"); code != Unknown {
			t.Errorf("left of nobody: got %d %q", code, out)
		}
		// A pod in the place of one that ran does nothing.
		if out, code := s.run("", words...); code != 0 || s.exit("r%2Fw-1") != "3" {
			t.Errorf("again: got %d %s", code, out)
		}
		if out, code := s.run("", "begun", "0", "r%2Fw-1", "r%2Fw-0"); code != Unknown || out != "r%2Fw-0\n" {
			t.Errorf("begun: got %d %q", code, out)
		}

		s.env = nil
		for _, c := range []struct {
			name, body, timeout, want string
			status                    int
			end                       func(*exec.Cmd)
		}{
			{name: "late", body: "exec sleep 3600", timeout: "0.2", want: "143 late"},
			{name: "stop", body: "trap '' TERM; sleep 3600", want: "137 stopped", end: func(*exec.Cmd) {
				if out, code := s.run("", "stop", "stop", "0.1"); code != 0 {
					t.Errorf("stop: %d %s", code, out)
				}
			}},
			{name: "told", body: "setsid sleep 3600 & sleep 3600; exit 1", want: "143 told", status: 143, end: func(c *exec.Cmd) {
				_ = c.Process.Signal(syscall.SIGTERM)
			}},
		} {
			timeout := cmp.Or(c.timeout, "0")
			cmd, out := s.command("", "pod", timeout, c.name, c.body)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if out, code := s.run("", "begun", "60", c.name); code != 0 {
				t.Errorf("%s: begun: %d %s", c.name, code, out)
			}
			if c.end != nil {
				c.end(cmd)
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != c.status {
				t.Errorf("%s: got status %d (%s)", c.name, code, out)
			}
			if got := s.exit(c.name); got != c.want {
				t.Errorf("%s: got %q; want %q", c.name, got, c.want)
			}
		}
		s.left()
	})
}

func TestStagedFilesAreWhole(t *testing.T) {
	underShells(t, func(t *testing.T, s *shell) {
		const sum = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" // of abc
		at := filepath.Join(s.home, ".dlx/files", sum, "f")
		if out, code := s.run("", "have", sum, "f", "755"); code != Unknown {
			t.Errorf("before: got %d %s", code, out)
		}
		if out, code := s.run("ab", "put", sum, "f", "755", "3"); code != Torn {
			t.Errorf("torn: got %d %s", code, out)
		}
		if out, code := s.run("abd", "put", sum, "f", "755", "3"); code != Torn {
			t.Errorf("changed: got %d %s", code, out)
		}
		for _, words := range [][]string{{"put", sum, "f", "755", "3"}, {"have", sum, "f", "640"}, {"put", sum, "f", "600", "3"}} {
			if out, code := s.run("abc", words...); code != 0 || out != at+"\n" {
				t.Errorf("%v: got %d %s", words, code, out)
			}
		}
		if st, err := os.Stat(at); err != nil || st.Mode() != 0o600 || st.Size() != 3 {
			t.Errorf("got %v, %v", st, err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(at), ".new*")); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
}

// kill ends the processes whose command line holds the home and the words.
func kill(t *testing.T, home, words string) {
	t.Helper()
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range all {
		line, err := os.ReadFile(f)
		if err != nil || !strings.Contains(strings.ReplaceAll(string(line), "\x00", " "), words) || !bytes.Contains(line, []byte(home)) {
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
