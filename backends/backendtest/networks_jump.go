package backendtest

import (
	"fmt"
	"io"
	"sync"
	"testing"

	"dlx.dev/dlx/backends"
)

// jumped checks that a machine is reached over another, which sshd allows where nobody forbids it, and
// that a process there outlives the way to it.
func jumped(t *testing.T, b *Bed) {
	l := newBook(t, nil)
	ms, err := b.Backend.Provision(t.Context(), b.request(l, "one", 2))
	if err != nil {
		t.Fatal(err)
	}
	defer b.release(t, l, "")
	m, launcher := ms[1], b.Backend.Launchers["ssh"]
	far := *m.Access.SSH
	far.Via = ms[0].Access.SSH
	m.Access.SSH = &far
	throughDrops(t, b, launcher, m)
}

// throughDrops starts a process that writes much, and breaks all connections while it runs and while its
// output is read.
func throughDrops(t *testing.T, b *Bed, launcher backends.Launcher, m backends.Machine) {
	t.Helper()
	const size = 9 << 20
	if err := launcher.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Bytes: size, Sleep: 0.5, Exit: 3})})); err != nil {
		t.Fatal(err)
	}
	var waiting sync.WaitGroup
	waiting.Go(func() {
		if e, err := launcher.Wait(t.Context(), m, "p-0"); err != nil || e.Code != 3 {
			t.Errorf("got %+v, %v", e, err)
		}
	})
	b.Drop()
	b.Drop()
	waiting.Wait()
	r, err := launcher.Open(t.Context(), m, "p-0", backends.Stdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	n, buf := 0, make([]byte, 1<<20)
	for i := 0; ; i++ {
		k, err := r.Read(buf)
		for _, c := range buf[:k] {
			if c != 'x' {
				t.Fatalf("byte %d is %q", n, c)
			}
		}
		n += k
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(fmt.Errorf("after %d bytes: %w", n, err))
		}
		if i == 2 {
			b.Drop()
		}
	}
	if n != size {
		t.Errorf("read %d bytes; want %d", n, size)
	}
}
