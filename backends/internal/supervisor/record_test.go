package supervisor

import (
	"fmt"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

func TestParseRecord(t *testing.T) {
	got, err := ParseRecord("code=143\nstarted=1521417600000000001\nelapsed=1500000000\ntimedout=1\nstopped=1\ntold=1\nend=1")
	want := Record{Told: true, Exit: backends.Exit{Code: 143, TimedOut: true, Stopped: true, Started: time.Unix(1521417600, 1).UTC(), Elapsed: 1500 * time.Millisecond}}
	if err != nil || got != want {
		t.Errorf("got %+v, %v; want %+v", got, err, want)
	}
	for name, bad := range map[string]string{
		"empty":             "",
		"torn":              "code=1\nstarted=2\nelapsed=3\n",
		"no number":         "code=x\nstarted=2\nelapsed=3\nend=1\n",
		"twice":             "code=1\ncode=1\nstarted=2\nelapsed=3\nend=1\n",
		"code out of range": "code=256\nstarted=2\nelapsed=3\nend=1\n",
		"negative time":     "code=0\nstarted=2\nelapsed=-3\nend=1\n",
		"no sign":           "code\n",
	} {
		if got, err := ParseRecord(bad); err == nil {
			t.Errorf("%s: got %+v; want an error", name, got)
		}
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add("code=0\nstarted=1521417600000000001\nelapsed=1\nend=1\n")
	f.Add("code=137\nstarted=1\nelapsed=0\nstopped=1\nend=1")
	f.Add("code=-1\n\n==")
	f.Fuzz(func(t *testing.T, text string) {
		e, err := ParseRecord(text)
		if err != nil {
			return
		}
		again := fmt.Sprintf("code=%d\nstarted=%d\nelapsed=%d\nend=1\n", e.Code, e.Started.UnixNano(), e.Elapsed)
		if e.TimedOut {
			again += "timedout=1\n"
		}
		if e.Stopped {
			again += "stopped=1\n"
		}
		if e.Told {
			again += "told=1\n"
		}
		if second, err := ParseRecord(again); err != nil || second != e {
			t.Errorf("%q: got %+v, %v; want %+v", again, second, err, e)
		}
	})
}
