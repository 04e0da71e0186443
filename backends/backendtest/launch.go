package backendtest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"dlx.dev/dlx/backends"
)

func startTwice(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "trial=1/worker", Args: b.Program(Program{Out: "once\n", Sleep: 0.1})})); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first, err := l.Wait(t.Context(), m, "trial=1/worker-0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "trial=1/worker", Args: b.Program(Program{Out: "again\n"})})); err != nil {
		t.Error(err)
	}
	if second, err := l.Wait(t.Context(), m, "trial=1/worker-0"); err != nil || second != first {
		t.Errorf("got %+v, %v; want %+v", second, err, first)
	}
	if got := text(t, l, m, "trial=1/worker-0", backends.Stdout, 0); got != "once\n" {
		t.Errorf("got output %q", got)
	}
}

func exits(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	for code, p := range map[int]Program{0: {}, 1: {Exit: 1}, 42: {Exit: 42}, 137: {Kill: true}} {
		if e := b.run(t, l, m, backends.Process{ID: fmt.Sprint("exit-", code)}, p); e.Code != code || e.TimedOut || e.Stopped {
			t.Errorf("got %+v; want code %d", e, code)
		}
	}
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "missing", Args: []string{"no-such-program"}})); err != nil {
		t.Errorf("a program that is not there: %v", err)
	}
	if e, err := l.Wait(t.Context(), m, "missing-0"); err != nil || e.Code != 127 {
		t.Errorf("a program that is not there: got %+v, %v; want code 127", e, err)
	}
}

func elapsed(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Sleep: 0.3})})); err != nil {
		t.Fatal(err)
	}
	if b.Virtual {
		time.Sleep(time.Hour) // nobody looks for an hour
	}
	e, err := l.Wait(t.Context(), m, "p-0")
	if err != nil {
		t.Fatal(err)
	}
	// The upper bound allows for a machine that is busy with something else.
	if e.Elapsed < 290*time.Millisecond || e.Elapsed > 20*time.Second {
		t.Errorf("got %v; want 0.3 s", e.Elapsed)
	}
	if e.Started.IsZero() {
		t.Error("no time of start")
	}
}

func timeout(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	e := b.run(t, l, m, backends.Process{ID: "p", Timeout: 300 * time.Millisecond}, Program{Out: "begun", Children: true, Sleep: 3600})
	if !e.TimedOut || e.Stopped || e.Code == 0 || e.Elapsed < 290*time.Millisecond || e.Elapsed > 20*time.Second {
		t.Errorf("got %+v", e)
	}
	if e := b.run(t, l, m, backends.Process{ID: "q", Timeout: time.Hour}, Program{}); e.TimedOut {
		t.Errorf("in time: got %+v", e)
	}
}

func stops(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Children: true, Sleep: 3600})})); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Stop(t.Context(), m, "p-0", time.Minute); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	if e, err := l.Wait(t.Context(), m, "p-0"); err != nil || !e.Stopped || e.Code == 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	b.run(t, l, m, backends.Process{ID: "q"}, Program{})
	if err := l.Stop(t.Context(), m, "q-0", 0); err != nil {
		t.Errorf("stop of one that has ended: %v", err)
	}
	if e, err := l.Wait(t.Context(), m, "q-0"); err != nil || e.Stopped {
		t.Errorf("one that has ended before: got %+v, %v", e, err)
	}
}

func stopStubborn(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Stubborn: true, Sleep: 3600})})); err != nil {
		t.Fatal(err)
	}
	if err := l.Stop(t.Context(), m, "p-0", 200*time.Millisecond); err != nil {
		t.Errorf("stop: %v", err)
	}
	if e, err := l.Wait(t.Context(), m, "p-0"); err != nil || !e.Stopped || e.Code != 137 {
		t.Errorf("got %+v, %v; want code 137", e, err)
	}
}

func waitCanceled(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Sleep: 3600})})); err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error)
	go func() {
		_, err := l.Wait(ctx, m, "p-0")
		done <- err
	}()
	cancel(why)
	if err := <-done; !errors.Is(err, why) {
		t.Errorf("got %v; want %v", err, why)
	}
	if err := l.Stop(t.Context(), m, "p-0", time.Minute); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func unknownProcess(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if _, err := l.Wait(t.Context(), m, "nobody/0"); !errors.Is(err, backends.ErrNotFound) {
		t.Errorf("wait: got %v", err)
	}
	if err := l.Stop(t.Context(), m, "nobody/0", time.Second); err != nil {
		t.Errorf("stop: got %v", err)
	}
	if _, err := l.Open(t.Context(), m, "nobody/0", backends.Stdout, 0); !errors.Is(err, backends.ErrNotFound) {
		t.Errorf("open: got %v", err)
	}
}

func outputWhole(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	const size = 64 << 20
	b.run(t, l, m, backends.Process{ID: "p"}, Program{Bytes: size})
	r, err := l.Open(t.Context(), m, "p-0", backends.Stdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, r); n != size || err != nil {
		t.Errorf("got %d bytes, %v; want %d", n, err, size)
	}
	r.Close()
	// Closing early is fine.
	if r, err = l.Open(t.Context(), m, "p-0", backends.Stdout, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	if err := r.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

func openOffset(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: b.Program(Program{Out: "0123456789", Err: "oops", Sleep: 0.4})})); err != nil {
		t.Fatal(err)
	}
	r, err := l.Open(t.Context(), m, "p-0", backends.Stdout, 0)
	if err != nil {
		t.Errorf("while it runs: %v", err)
	} else {
		r.Close()
	}
	if _, err := l.Wait(t.Context(), m, "p-0"); err != nil {
		t.Fatal(err)
	}
	for offset, want := range map[int64]string{0: "0123456789", 4: "456789", 10: "", 99: ""} {
		if got := text(t, l, m, "p-0", backends.Stdout, offset); got != want {
			t.Errorf("from %d: got %q; want %q", offset, got, want)
		}
	}
	if got := text(t, l, m, "p-0", backends.Stderr, 0); got != "oops" {
		t.Errorf("stderr: got %q", got)
	}
}

func openMissing(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	b.run(t, l, m, backends.Process{ID: "p"}, Program{})
	if _, err := l.Open(t.Context(), m, "p-0", "metrics.csv", 0); !errors.Is(err, backends.ErrNotFound) {
		t.Errorf("got %v", err)
	}
}

func processFiles(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	b.run(t, l, m, backends.Process{ID: "p"}, Program{Out: "12 images/s", File: "metrics.csv"})
	if got := text(t, l, m, "p-0", "metrics.csv", 3); got != "images/s" {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{"../p/stdout", "/etc/passwd", ""} {
		if r, err := l.Open(t.Context(), m, "p-0", name, 0); err == nil {
			r.Close()
			t.Errorf("%q could be opened", name)
		}
	}
}

func arguments(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	args := []string{"", "a b", "it's", `"quoted"`, "$HOME `id` \\", "line\nbreak\n", "täst 図 🙂", "-n", "*", "a=b", "\t", "!!", strings.Repeat("long", 5000)}
	b.run(t, l, m, backends.Process{ID: "args"}, Program{Args: args})
	if got, want := text(t, l, m, "args-0", backends.Stdout, 0), strings.Join(args, "\x00")+"\x00"; got != want {
		t.Errorf("got %q; want %q", got, want)
	}
	value := "two words, 'quotes' and\na line"
	b.run(t, l, m, backends.Process{ID: "env", Env: map[string]string{"DLX_VALUE": value, "PATH": "/usr/bin:/bin"}}, Program{Env: "DLX_VALUE"})
	if got := text(t, l, m, "env-0", backends.Stdout, 0); got != value {
		t.Errorf("got %q; want %q", got, value)
	}
	for _, p := range []backends.Process{
		{ID: "no program"}, {ID: "bad", Args: []string{""}}, {ID: "zero", Args: []string{"echo", "a\x00b"}}, {ID: "name", Args: []string{"true"}, Env: map[string]string{"a b": ""}},
		{ID: "", Args: []string{"true"}}, {ID: "too many", Args: []string{"true"}}, {ID: "cpus", Args: []string{"true"}, CPUs: 4096},
	} {
		classIs(t, l.Start(t.Context(), backends.Single(m, p)), backends.Config)
	}
}

func probe(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	b.run(t, l, m, backends.Process{ID: "p", CPUs: 1}, Program{})
	got, err := backends.ParseProbe(strings.NewReader(text(t, l, m, "p-0", backends.Probe, 0)))
	if err != nil || len(got) == 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

func probeKeys(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	b.run(t, l, m, backends.Process{ID: "p"}, Program{})
	got, err := backends.ParseProbe(strings.NewReader(text(t, l, m, "p-0", backends.Probe, 0)))
	if err != nil {
		t.Error(err)
	}
	for _, key := range []string{"kernel", "hostname", "virtualisation", "cpu.model", "cpu.allowed", "memory.kib", "boot.id"} {
		if got[key] == "" {
			t.Errorf("no %s in %v", key, got)
		}
	}
}

// tool is a program that says where it is.
const tool = "#!/bin/sh\necho \"I am $0\"\n"

// file makes a local file to stage.
func file(t *testing.T) backends.File {
	t.Helper()
	local := filepath.Join(t.TempDir(), "tool")
	if err := os.WriteFile(local, []byte(tool), 0o600); err != nil {
		t.Fatal(err)
	}
	return backends.File{Name: "tool", Path: local, Mode: 0o755}
}

func staged(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	f := file(t)
	var paths [4]string
	var wg sync.WaitGroup
	for i := range paths {
		wg.Go(func() {
			var err error
			if paths[i], err = l.Stage(t.Context(), m, f); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, p := range paths {
		if p != paths[0] || !strings.HasPrefix(p, "/") {
			t.Fatalf("got paths %q", paths)
		}
	}
	// What is there is not read again.
	sum := sha256.Sum256([]byte(tool))
	again := backends.File{Name: "tool", Path: f.Path + "-moved", SHA256: hex.EncodeToString(sum[:]), Mode: 0o755}
	if p, err := l.Stage(t.Context(), m, again); err != nil || p != paths[0] {
		t.Errorf("a second time: got %s, %v", p, err)
	}
	f.SHA256 = strings.Repeat("0", 64)
	_, err := l.Stage(t.Context(), m, f)
	classIs(t, err, backends.Config)
	_, err = l.Stage(t.Context(), m, backends.File{Name: "none", Path: f.Path + "-none"})
	classIs(t, err, backends.Config)
}

func stagedRun(t *testing.T, b *Bed) {
	m, l, release := b.one(t)
	defer release()
	path, err := l.Stage(t.Context(), m, file(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context(), backends.Single(m, backends.Process{ID: "p", Args: []string{path}})); err != nil {
		t.Fatal(err)
	}
	if e, err := l.Wait(t.Context(), m, "p-0"); err != nil || e.Code != 0 {
		t.Errorf("got %+v, %v", e, err)
	}
	if got := text(t, l, m, "p-0", backends.Stdout, 0); got != "I am "+path+"\n" {
		t.Errorf("got %q", got)
	}
}
