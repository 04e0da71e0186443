package backends_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"context"

	"github.com/google/go-cmp/cmp"

	"dlx.dev/dlx/backends"
)

func TestParseProbe(t *testing.T) {
	got, err := backends.ParseProbe(strings.NewReader("kernel=Linux 6.1\ncpu.model=A=B\nempty=\n"))
	want := map[string]string{"kernel": "Linux 6.1", "cpu.model": "A=B", "empty": ""}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, bad := range []string{"no sign\n", "=value\n", "a=1\na=2\n", "a=" + strings.Repeat("x", 2<<20)} {
		if got, err := backends.ParseProbe(strings.NewReader(bad)); err == nil {
			t.Errorf("%.20q: got %d keys; want an error", bad, len(got))
		}
	}
}

// What was read and is written again reads the same.
func FuzzParseProbe(f *testing.F) {
	f.Add("kernel=Linux 6.1\ncpu.model=A=B\nempty=\n")
	f.Add("a=1\r\nb=\x00\n\n")
	f.Fuzz(func(t *testing.T, text string) {
		first, err := backends.ParseProbe(strings.NewReader(text))
		if err != nil {
			return
		}
		var b strings.Builder
		for _, k := range slices.Sorted(maps.Keys(first)) {
			fmt.Fprintf(&b, "%s=%s\n", k, first[k])
		}
		second, err := backends.ParseProbe(strings.NewReader(b.String()))
		if err != nil {
			t.Fatalf("%q does not read: %v", b.String(), err)
		}
		for k, v := range first {
			if v != second[k] {
				t.Errorf("%q: got %q; want %q", k, second[k], v)
			}
		}
	})
}

func TestClassOf(t *testing.T) {
	quota := backends.Errorf(backends.Quota, "create server", "too many: %w", io.EOF)
	for _, c := range []struct {
		err       error
		class     backends.Class
		temporary bool
	}{
		{nil, "", false},
		{quota, backends.Quota, true},
		{fmt.Errorf("outer: %w", quota), backends.Quota, true},
		{context.Canceled, backends.Canceled, false},
		{errors.New("what is this"), backends.Infra, true},
		{backends.Errorf(backends.Config, "op", "no"), backends.Config, false},
	} {
		if got := backends.ClassOf(c.err); got != c.class || got.Temporary() != c.temporary {
			t.Errorf("%v: got %q, temporary %v", c.err, got, got.Temporary())
		}
	}
	if !errors.Is(quota, io.EOF) || quota.Error() != "create server: too many: EOF" {
		t.Errorf("got %v", quota)
	}
	if k := (backends.Access{}).Kind(); k != "" {
		t.Errorf("no access is %q", k)
	}
}
