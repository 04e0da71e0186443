package supervisor

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

// A real shell gives back what was quoted.
func FuzzQuote(f *testing.F) {
	for _, s := range []string{"", "a b", "it's", `"$HOME" \`, "line\nbreak", "täst 図", "'", "''", "\\'", "\xff\xfe", "-n", "`id`;$(id)&|<>*?[]{}~!#%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ContainsRune(s, 0) || len(s) > 64<<10 {
			return // check refuses the first; the kernel takes no script that long by -c
		}
		out, err := exec.CommandContext(t.Context(), "/bin/sh", "-c", "printf %s "+Quote(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("got %q, %v; want %q", out, err, s)
		}
	})
}

// Folder names are plain words that no two IDs share.
func FuzzFolderOf(f *testing.F) {
	f.Add("trial/worker-0", "trial%2Fworker-0")
	f.Add("..", ".")
	f.Add(strings.Repeat("a/", 150), strings.Repeat("a/", 151))
	f.Fuzz(func(t *testing.T, a, b string) {
		x, err := Folder(a)
		if err != nil {
			return
		}
		if x == "." || x == ".." || strings.ContainsAny(x, "/ \t\n'\"\\$;&|<>*?~()") || len(x) > maxFolder || strings.HasPrefix(x, "-") || strings.HasPrefix(x, ".") {
			t.Errorf("%q gives the folder %q", a, x)
		}
		if y, err := Folder(b); err == nil && x == y && a != b {
			t.Errorf("%q and %q share the folder %q", a, b, x)
		}
	})
}

func TestFolderOf(t *testing.T) {
	for id, want := range map[string]string{"trial/worker-0": "trial%2Fworker-0", "a=b,c": "a=b,c", "..": "%2E.", "-x": "%2Dx", "=x": "%3Dx"} {
		if got, err := Folder(id); got != want || err != nil {
			t.Errorf("%q: got %q, %v; want %q", id, got, err, want)
		}
	}
	for _, id := range []string{"", "a b", "a;b", "a%b", "ä", "a\nb"} {
		if got, err := Folder(id); err == nil {
			t.Errorf("%q: got %q; want an error", id, got)
		}
	}
}

func TestSeconds(t *testing.T) {
	for d, want := range map[time.Duration]string{0: "0", -time.Second: "0", time.Nanosecond: "0.001", 1500 * time.Millisecond: "1.500", 48 * time.Hour: "172800.000"} {
		if got := Seconds(d); got != want {
			t.Errorf("%v: got %q; want %q", d, got, want)
		}
	}
}

func TestScriptSetsNamesInOrder(t *testing.T) {
	got := Script(backends.Process{Args: []string{"echo", "it's"}, Env: map[string]string{"B": "2", "A": "1 1"}})
	want := "export A='1 1'\nexport B='2'\nexec 'echo' 'it'\\''s'\n"
	if got != want {
		t.Errorf("got %q; want %q", got, want)
	}
}
