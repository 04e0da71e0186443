package backendtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A Need is what a check cannot do without.
type Need string

// Needs of checks.
const (
	Restart      Need = "restart"       // Bed.Reopen
	BootFailures Need = "boot failures" // Bed.Fail
	Names        Need = "names"         // Bed.Bad
	QuotaLimit   Need = "quota"         // Bed.Quota
	Refusals     Need = "refusals"      // Bed.Refuse
	LostAnswers  Need = "lost answers"  // Bed.HangUp
	Connections  Need = "connections"   // Bed.Drop
	Login        Need = "login"         // Bed.Revoke
	Strangers    Need = "strangers"     // Bed.Stranger
	Secrets      Need = "secrets"       // Bed.Secrets
	Processes    Need = "processes"     // Bed.Program
	Programs     Need = "programs"      // Bed.Programs
	Hosts        Need = "hosts"         // Bed.Hosts
	Peers        Need = "peers"         // Bed.Peers
	HostKeys     Need = "host keys"     // machines that are reached by SSH
)

var has = map[Need]func(*Bed) bool{
	Restart:      func(b *Bed) bool { return b.Reopen != nil },
	BootFailures: func(b *Bed) bool { return b.Fail != nil },
	Names:        func(b *Bed) bool { return len(b.Bad) > 0 },
	QuotaLimit:   func(b *Bed) bool { return b.Quota != nil },
	Refusals:     func(b *Bed) bool { return b.Refuse != nil },
	LostAnswers:  func(b *Bed) bool { return b.HangUp != nil },
	Connections:  func(b *Bed) bool { return b.Drop != nil },
	Login:        func(b *Bed) bool { return b.Revoke != nil },
	Strangers:    func(b *Bed) bool { return b.Stranger != nil },
	Secrets:      func(b *Bed) bool { return len(b.Secrets) > 0 },
	Processes:    func(b *Bed) bool { return b.Program != nil },
	Programs:     func(b *Bed) bool { return b.Programs },
	Hosts:        func(b *Bed) bool { return b.Hosts > 0 },
	Peers:        func(b *Bed) bool { return b.Peers },
	HostKeys:     func(b *Bed) bool { return b.Backend.Launchers["ssh"] != nil },
}

// falseAbsences lists what a world declares to be without and has, or has no reason for.
func (w *World) falseAbsences(b *Bed) []string {
	var out []string
	for _, n := range slices.Sorted(maps.Keys(w.Without)) {
		switch there := has[n]; {
		case there == nil:
			out = append(out, fmt.Sprintf("%q is no need of any check", n))
		case there(b):
			out = append(out, fmt.Sprintf("it has %s, and says that it cannot: %s", n, w.Without[n]))
		case w.Without[n] == "":
			out = append(out, fmt.Sprintf("it is without %s, and does not say why", n))
		}
	}
	return out
}

// absent gives the first need of a check that the world is declared to be without.
func (w *World) absent(c check) (Need, bool) {
	for _, n := range c.needs {
		if _, ok := w.Without[n]; ok {
			return n, true
		}
	}
	return "", false
}

// summary says in a line which checks do not apply to the world, and why.
func (w *World) summary() string {
	count := map[Need]int{}
	for _, c := range checks {
		if n, ok := w.absent(c); ok {
			count[n]++
		}
	}
	var parts []string
	for _, n := range slices.Sorted(maps.Keys(w.Without)) {
		parts = append(parts, fmt.Sprintf("%s (%d): %s", n, count[n], w.Without[n]))
	}
	return strings.Join(parts, "; ")
}

// lacks gives the first need of a check that a bed cannot serve.
func (c check) lacks(b *Bed) (Need, bool) {
	for _, n := range c.needs {
		if !has[n](b) {
			return n, true
		}
	}
	return "", false
}
