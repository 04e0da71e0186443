package spec

import (
	"strconv"
	"strings"
)

// clip shortens text from a file for use in a message.
func clip(s string) string { return clipTo(s, 80) }

func clipTo(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "..."
}

func quote(s string) string {
	if len(s) > 80 {
		return strconv.Quote(strings.ToValidUTF8(s[:80], "")) + "..."
	}
	return strconv.Quote(s)
}
