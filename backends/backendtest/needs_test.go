package backendtest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"dlx.dev/dlx/backends"
)

func TestAnAbsenceIsDeclaredOnlyWhereItIsReal(t *testing.T) {
	none := &Bed{Backend: &backends.Backend{}}
	all := &Bed{
		Backend: &backends.Backend{Launchers: map[string]backends.Launcher{"ssh": struct{ backends.Launcher }{}}},
		Bad:     map[string]json.RawMessage{"nosuch": nil}, Programs: true, Secrets: []string{"x"}, Hosts: 2, Peers: true,
		Program: func(Program) []string { return nil },
		Reopen:  func() *backends.Backend { return nil }, Fail: func(string, string) {}, Quota: func(int) {},
		Refuse: func(int, int, int) {}, HangUp: func() {}, Drop: func() {}, Revoke: func() {}, Stranger: func(string) func() { return nil },
	}
	for n := range has {
		w := World{Without: map[Need]string{n: "by its nature"}}
		if got := w.falseAbsences(none); len(got) > 0 {
			t.Errorf("%s is not there: got %v", n, got)
		}
		if got := w.falseAbsences(all); len(got) != 1 || !strings.Contains(got[0], string(n)) {
			t.Errorf("%s is there: got %v", n, got)
		}
		w.Without[n] = ""
		if got := w.falseAbsences(none); len(got) != 1 || !strings.Contains(got[0], "why") {
			t.Errorf("%s without a reason: got %v", n, got)
		}
	}
	w := World{Without: map[Need]string{"wings": "it swims"}}
	if got := w.falseAbsences(none); len(got) != 1 || !strings.Contains(got[0], "wings") {
		t.Errorf("an unknown need: got %v", got)
	}
}

func TestTheSummaryCountsChecks(t *testing.T) {
	w := World{Without: map[Need]string{Connections: "nothing to lose", LostAnswers: "nor here"}}
	if got, want := w.summary(), "connections (2): nothing to lose; lost answers (1): nor here"; got != want {
		t.Errorf("got %s; want %s", got, want)
	}
}

func TestEveryNeedIsOfACheck(t *testing.T) {
	for n := range has {
		if !slices.ContainsFunc(checks, func(c check) bool { return slices.Contains(c.needs, n) }) {
			t.Errorf("no check needs %s", n)
		}
	}
	for _, c := range checks {
		for _, n := range c.needs {
			if has[n] == nil {
				t.Errorf("%s: nobody knows when there is %s", c.name, n)
			}
		}
	}
}
