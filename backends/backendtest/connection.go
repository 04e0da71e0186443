package backendtest

import (
	"crypto/ed25519"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"dlx.dev/dlx/backends"
)

func outlives(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Out: "whole", Sleep: 0.7, Exit: 5})})); err != nil {
		t.Fatal(err)
	}
	type answer struct {
		exit backends.Exit
		err  error
	}
	done := make(chan answer)
	go func() {
		e, err := l.Wait(t.Context(), m, "p-0")
		done <- answer{e, err}
	}()
	b.Drop()
	b.Drop()
	if a := <-done; a.err != nil || a.exit.Code != 5 {
		t.Errorf("got %+v, %v", a.exit, a.err)
	}
	b.Drop()
	if got := text(t, l, m, "p-0", backends.Stdout, 0); got != "whole" {
		t.Errorf("got %q", got)
	}
}

func wrongHostKey(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	other, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	wrong := *m.Access.SSH
	wrong.HostKey = ssh.MarshalAuthorizedKey(other)
	m.Access.SSH = &wrong
	began := time.Now()
	err = l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: []string{"true"}}))
	classIs(t, err, backends.Config)
	if err == nil || !strings.Contains(err.Error(), "host key") {
		t.Errorf("got %v; want it to say why", err)
	}
	if d := time.Since(began); d > 20*time.Second {
		t.Errorf("refused after %v", d)
	}
}

func manyProcesses(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	// More than the sessions that an SSH server gives to a connection.
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			id := fmt.Sprintf("trial%d/worker", i)
			if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: id, Args: b.Program(Program{Out: id, Sleep: 0.2, Exit: i})})); err != nil {
				t.Error(err)
				return
			}
			if e, err := l.Wait(t.Context(), m, backends.ProcessID(id, 0)); err != nil || e.Code != i {
				t.Errorf("%s: got %+v, %v", id, e, err)
			}
		})
	}
	wg.Wait()
}
