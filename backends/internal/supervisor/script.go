// Package supervisor is the shell script that runs a program on a machine, with the words that
// go to it and come back. Both launchers that run programs on real machines use it: by SSH it
// outlives the connection, in a pod it is process 1 of the container.
package supervisor

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// Text is the script; its head says what it does and what it needs.
//
//go:embed supervisor.sh
var Text []byte

// What the script answers with, as exit status.
const (
	Vanished = 3 // the supervisor of the process is gone and left no record
	Unknown  = 4 // no such process or file
	Cannot   = 5 // the machine cannot do what was asked
	Torn     = 6 // the bytes arrived incomplete or changed
)

// Seconds writes a duration as decimal seconds, in whole milliseconds, "0" for none. What is
// positive stays positive.
func Seconds(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	ms := max(d.Milliseconds(), 1)
	return fmt.Sprintf("%d.%03d", ms/1000, ms%1000)
}

// Script gives the shell script that becomes the program.
func Script(p backends.Process) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(p.Env)) {
		fmt.Fprintf(&b, "export %s=%s\n", k, Quote(p.Env[k]))
	}
	b.WriteString("exec")
	for _, a := range p.Args {
		b.WriteString(" " + Quote(a))
	}
	b.WriteString("\n")
	return b.String()
}
