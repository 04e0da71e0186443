package backendtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// Shell gives a program to machines that have /bin/sh.
func Shell(p Program) []string {
	var b strings.Builder
	line := func(format string, a ...any) { fmt.Fprintf(&b, format+"\n", a...) }
	if p.Stubborn {
		line(`trap '' TERM`)
	}
	if p.Children {
		line(`setsid sleep 3601 &`)
		line(`env -i sleep 3602 &`)
		line(`(setsid sh -c 'trap "" TERM; sleep 3603') &`)
	}
	line(`out=$1 err=$2; shift 2`)
	line(`[ $# = 0 ] || printf '%%s\0' "$@"`)
	line(`printf %%s "$out"; printf %%s "$err" >&2`)
	if p.Bytes > 0 {
		line(`head -c %d /dev/zero | tr '\0' x`, p.Bytes)
	}
	if p.Env != "" {
		line(`printf %%s "$%s"`, p.Env)
	}
	if p.File != "" {
		line(`printf %%s "$out" >%s`, p.File)
	}
	if p.Sleep > 0 {
		// A stubborn shell's sleep ignores the signal as well.
		line(`sleep %s`, strconv.FormatFloat(p.Sleep, 'f', -1, 64))
	}
	if p.Kill {
		line(`kill -KILL $$`)
	}
	line(`exit %d`, p.Exit)
	return append([]string{"/bin/sh", "-c", b.String(), "program", p.Out, p.Err}, p.Args...)
}

// Words gives a program to machines that have none: one word, which Play understands.
func Words(p Program) []string {
	b, _ := json.Marshal(p)
	return []string{string(b)}
}

// Means are what a program that is played has of its machine.
type Means struct {
	Stdout, Stderr io.Writer
	Create         func(name string) io.Writer // makes a file in the folder of the process
	Killed         <-chan struct{}             // closed by SIGKILL; ctx ends by SIGTERM
}

// Play does what Words described, by the clock of the program, and gives the exit code.
func Play(ctx context.Context, proc backends.Process, m Means) int {
	var p Program
	if err := json.Unmarshal([]byte(proc.Args[0]), &p); err != nil {
		fmt.Fprintln(m.Stderr, err)
		return 127
	}
	for _, a := range p.Args {
		fmt.Fprintf(m.Stdout, "%s\x00", a)
	}
	fmt.Fprint(m.Stdout, p.Out)
	fmt.Fprint(m.Stderr, p.Err)
	piece := strings.Repeat("x", 1<<16)
	for n := p.Bytes; n > 0; n -= int64(len(piece)) {
		_, _ = io.WriteString(m.Stdout, piece[:min(n, int64(len(piece)))])
	}
	fmt.Fprint(m.Stdout, proc.Env[p.Env])
	if p.File != "" {
		fmt.Fprint(m.Create(p.File), p.Out)
	}
	term := ctx.Done()
	if p.Stubborn {
		term = nil
	}
	t := time.NewTimer(time.Duration(p.Sleep * float64(time.Second)))
	defer t.Stop()
	select {
	case <-t.C:
	case <-term:
		return 143
	case <-m.Killed:
		return 137
	}
	if p.Kill {
		return 137
	}
	return p.Exit
}
