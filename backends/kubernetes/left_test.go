package kubernetes

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseLeft(t *testing.T) {
	for out, want := range map[string]map[string][]byte{
		"": {},
		".dlx/exit 6\nend=1\nstdout 3\na\nbstderr 0\n": {exitFile: []byte("end=1\n"), "stdout": []byte("a\nb"), "stderr": {}},
		"stdout 4\nabc":      nil, // torn
		"stdout -1\n":        nil,
		"sh: no such file\n": nil,
	} {
		got, err := parseLeft(out)
		if d := cmp.Diff(want, got); d != "" || (err != nil) != (want == nil) {
			t.Errorf("%q: %v: -want +got:\n%s", out, err, d)
		}
	}
}

func FuzzParseLeft(f *testing.F) {
	f.Add(".dlx/exit 6\nend=1\nstdout 3\na\nbstderr 0\n")
	f.Add("stdout 99\nabc")
	f.Fuzz(func(t *testing.T, out string) {
		files, err := parseLeft(out)
		n := 0
		for _, b := range files {
			n += len(b)
		}
		if err == nil && n > len(out) {
			t.Errorf("%d bytes out of %d", n, len(out))
		}
	})
}
