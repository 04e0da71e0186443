package backends

import (
	"bufio"
	"fmt"
	"io"
	"strings"
)

// ParseProbe reads the Probe of a process: "key=value" lines. A value may hold anything but a
// line end, of whichever system; a key that comes twice, or a line without '=', is an error.
func ParseProbe(r io.Reader) (map[string]string, error) {
	out := map[string]string{}
	s := bufio.NewScanner(r)
	s.Buffer(nil, 1<<20) // a list of GPUs is long, but not a MiB
	for n := 1; s.Scan(); n++ {
		line := strings.TrimRight(s.Text(), "\r") // the scanner itself takes one off
		key, value, ok := strings.Cut(line, "=")
		switch _, twice := out[key]; {
		case !ok || key == "":
			return nil, fmt.Errorf("probe: line %d: %q is not key=value", n, line)
		case twice:
			return nil, fmt.Errorf("probe: line %d: %s twice", n, key)
		}
		out[key] = value
	}
	if err := s.Err(); err != nil {
		return nil, fmt.Errorf("probe: %w", err)
	}
	return out, nil
}
