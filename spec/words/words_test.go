package words

import (
	"fmt"
	"testing"
)

func TestKnown(t *testing.T) {
	var many []string
	for i := range 22 {
		many = append(many, fmt.Sprintf("f%02d", i))
	}
	for _, c := range []struct {
		word  string
		known []string
		want  string
	}{
		{"x", nil, " (none is known)"},
		{"m1.large", []string{"m1.small"}, " (known: m1.small)"},
		{"m1.lage", []string{"m1.small", "m1.large", "m1.large"}, ` (known: m1.large, m1.small; did you mean "m1.large"?)`},
		{"ubuntu", []string{"debian", "fedora"}, " (known: debian, fedora)"},
		{"zzz", many, " (known: f00, f01, f02, f03, f04, f05, f06, f07, f08, f09, f10, f11, f12, f13, f14, f15, f16, f17, f18, f19, and 2 more)"},
	} {
		if got := Known(c.word, Set(c.known)); got != c.want {
			t.Errorf("%s: got %q; want %q", c.word, got, c.want)
		}
	}
}

func TestEdits(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"", "abc", 3}, {"kitten", "sitting", 3}, {"flaw", "lawn", 2}, {"same", "same", 0}, {"lokcs", "locks", 1}, {"ab", "xyab", 2}} {
		if got := distance(c.a, c.b, 100); got != c.want {
			t.Errorf("%s, %s: got %d; want %d", c.a, c.b, got, c.want)
		}
	}
}
