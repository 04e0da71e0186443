package spec

import (
	"strings"

	"dlx.dev/dlx/spec/diag"
)

// finish makes one message of what is one mistake, and sorts. A field that a definition of the
// user's own refuses is refused once: not at each of its parts, and not if dlx has better words.
func finish(l diag.List) error {
	var out diag.List
	for _, m := range l {
		if m.Msg != refusedText || !saidBetter(l, m) {
			out = append(out, m)
		}
	}
	return out.Err()
}

func saidBetter(l diag.List, m *diag.Error) bool {
	for _, o := range l {
		if o.Path == m.Path && o.Pos == m.Pos && o.Msg != refusedText {
			return true
		}
		if inside := strings.HasPrefix(m.Path, o.Path+".") || strings.HasPrefix(m.Path, o.Path+"["); inside && o.Msg == refusedText {
			return true
		}
	}
	return false
}
