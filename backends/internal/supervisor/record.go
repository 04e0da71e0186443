package supervisor

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// A Record is how a process ended, as the supervisor wrote it down.
type Record struct {
	backends.Exit
	Told bool // the supervisor itself was told to end, as a cluster does when it wants a pod to go
}

// ParseRecord reads an exit record of the supervisor: key=value lines, `end=1` the last one.
func ParseRecord(text string) (Record, error) {
	seen := map[string]int64{}
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		n, err := strconv.ParseInt(value, 10, 64)
		if !ok || err != nil {
			return Record{}, fmt.Errorf("line %q is not key=number", strings.TrimSpace(line))
		}
		if _, twice := seen[key]; twice {
			return Record{}, fmt.Errorf("%s twice", key)
		}
		seen[key] = n
	}
	for _, key := range []string{"code", "started", "elapsed", "end"} {
		if _, ok := seen[key]; !ok {
			return Record{}, fmt.Errorf("no %s", key)
		}
	}
	// A shell knows 0 to 255, and a clock that runs backwards measures nothing.
	if c := seen["code"]; c < 0 || c > 255 {
		return Record{}, fmt.Errorf("code %d is not in 0..255", c)
	}
	if seen["elapsed"] < 0 {
		return Record{}, fmt.Errorf("elapsed %d ns is negative", seen["elapsed"])
	}
	return Record{Told: seen["told"] == 1, Exit: backends.Exit{
		Code:     int(seen["code"]),
		TimedOut: seen["timedout"] == 1,
		Stopped:  seen["stopped"] == 1,
		Started:  time.Unix(0, seen["started"]).UTC(),
		Elapsed:  time.Duration(seen["elapsed"]),
	}}, nil
}
