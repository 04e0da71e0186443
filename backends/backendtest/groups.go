package backendtest

import (
	"net"
	"strings"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

// peers has one process of a group wait for a connection, and the other look for it under the
// address it was given before both were started.
func peers(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	r := b.request(l, "f", 2)
	if b.Hosts > 1 {
		r.Hosts = backends.DifferentHosts
	}
	ms, err := b.Backend.Provision(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer b.release(t, l, "")
	launcher := b.Backend.Launchers[ms[0].Access.Kind()]
	const nc = `nc=$(command -v nc) || nc='busybox nc'; `
	g := backends.Group{
		ID: "trial=1/pair", Machines: ms, Timeout: 2 * time.Minute,
		Args: [][]string{
			{"/bin/sh", "-c", nc + `echo "I am $1" | $nc -l -p "$2"`, "server", "process 0", freePort(t)},
			{"/bin/sh", "-c", nc + `for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30; do
				answer=$($nc "$1" "$2" </dev/null 2>/dev/null)
				if [ -n "$answer" ]; then echo "$answer"; exit 0; fi
				sleep 1
			done
			exit 9`, "client", launcher.Address(ms[0], "trial=1/pair", 0), ""},
		},
	}
	g.Args[1][5] = g.Args[0][5]
	for range 2 {
		if err := launcher.Start(t.Context(), g); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range ms {
		id := backends.ProcessID(g.ID, i)
		if e, err := launcher.Wait(t.Context(), m, id); err != nil || e.Code != 0 || e.TimedOut {
			t.Errorf("process %d: got %+v, %v: %s", i, e, err, text(t, launcher, m, id, backends.Stderr, 0))
		}
	}
	if got := text(t, launcher, ms[1], backends.ProcessID(g.ID, 1), backends.Stdout, 0); strings.TrimSpace(got) != "I am process 0" {
		t.Errorf("got %q", got)
	}
}

// freePort gives a port that nobody uses on this computer now, for worlds whose machines are
// processes of it.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// oneStops has one process of a group stopped while the other goes on.
func oneStops(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	g := backends.Group{ID: "g", Machines: []backends.Machine{m, m}, Args: [][]string{b.Program(Program{Sleep: 3600}), b.Program(Program{Out: "done", Sleep: 2, Exit: 7})}}
	if err := l.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context(), m, "g-0", time.Minute); err != nil {
		t.Errorf("stop: %v", err)
	}
	if e, err := l.Wait(t.Context(), m, "g-0"); err != nil || !e.Stopped {
		t.Errorf("the stopped one: got %+v, %v", e, err)
	}
	if e, err := l.Wait(t.Context(), m, "g-1"); err != nil || e.Stopped || e.Code != 7 {
		t.Errorf("the other: got %+v, %v", e, err)
	}
	if got := text(t, l, m, "g-1", backends.Stdout, 0); got != "done" {
		t.Errorf("the other: got output %q", got)
	}
}

// hosts has machines stand on one host and on different ones.
func hosts(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	for _, how := range []backends.Hosts{backends.SameHost, backends.DifferentHosts} {
		r := b.request(l, string(how), 2)
		r.Hosts = how
		ms, err := b.Backend.Provision(t.Context(), r)
		if err != nil {
			t.Errorf("%s: %v", how, err)
			continue
		}
		if ms[0].Host == "" || (ms[0].Host == ms[1].Host) != (how == backends.SameHost) {
			t.Errorf("%s: got hosts %q and %q", how, ms[0].Host, ms[1].Host)
		}
		b.release(t, l, string(how))
	}
	r := b.request(l, "many", b.Hosts+1)
	r.Hosts = backends.DifferentHosts
	if _, err := b.Backend.Provision(t.Context(), r); err == nil {
		t.Errorf("%d machines are on different ones of %d hosts", b.Hosts+1, b.Hosts)
	} else if c := backends.ClassOf(err); c != backends.Config && c != backends.Capacity {
		t.Errorf("too few hosts: got class %q (%v)", c, err)
	}
	b.release(t, l, "")
	if open := l.open(); len(open) > 0 {
		t.Errorf("the ledger holds %v", open)
	}
}
