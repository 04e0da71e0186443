// Package diag holds places in the user's CUE files and mistakes that point at them.
//
// It is a leaf: every package that can find a mistake may import it.
package diag

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// Pos is a place in a file of the user's. The zero Pos is "no place".
//
// File is slash-separated and relative to the folder of the study (or, for a testbed, to the
// folder its file lies in), so that it is the same on every machine; [List.In] puts the folder
// in front for printing. Line and Col count from 1; Col counts bytes, as CUE and Go do.
type Pos struct {
	File string `json:"file"`
	Line int    `json:"line"`
	Col  int    `json:"column"`
}

// IsValid reports whether p names a place.
func (p Pos) IsValid() bool { return p.File != "" && p.Line > 0 }

// String is file:line:column, or "-" for no place.
func (p Pos) String() string {
	if !p.IsValid() {
		if p.File != "" {
			return p.File
		}
		return "-"
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Compare orders places by file, line, column.
func (p Pos) Compare(q Pos) int {
	return cmp.Or(strings.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Col, q.Col))
}

// An Error is one mistake.
type Error struct {
	Pos     Pos    `json:"pos"`            // where to look first
	Path    string `json:"path,omitempty"` // CUE path, such as "study.matrix[0].where.model"; may be empty
	Msg     string `json:"message"`        // lower case, no final period; what was found and what would do
	Related []Pos  `json:"related,omitempty"`
}

// Error is "file:line:column: path: message", without the parts that are not there.
func (e *Error) Error() string {
	text := e.Msg
	if e.Path != "" {
		text = e.Path + ": " + text
	}
	if e.Pos.File != "" {
		text = e.Pos.String() + ": " + text
	}
	return text
}

// A List is all mistakes of one pass. Its methods are not for concurrent use.
type List []*Error

// Addf appends a mistake.
func (l *List) Addf(p Pos, path, format string, args ...any) {
	*l = append(*l, &Error{Pos: p, Path: path, Msg: fmt.Sprintf(format, args...)})
}

// Err sorts the list by place, drops repeated mistakes, and returns nil when it is empty.
func (l *List) Err() error {
	l.Sort()
	if len(*l) == 0 {
		return nil
	}
	return *l
}

// Sort orders by place, path and message, and drops repeated mistakes.
func (l *List) Sort() {
	slices.SortStableFunc(*l, func(a, b *Error) int {
		return cmp.Or(a.Pos.Compare(b.Pos), strings.Compare(a.Path, b.Path), strings.Compare(a.Msg, b.Msg))
	})
	*l = slices.CompactFunc(*l, func(a, b *Error) bool {
		return a.Pos == b.Pos && a.Path == b.Path && a.Msg == b.Msg
	})
}

// Error is all mistakes, one a line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, e := range l {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// In returns the list with dir in front of every file name that is not absolute.
func (l List) In(dir string) List {
	out := make(List, len(l))
	for i, e := range l {
		c := *e
		c.Pos.File = inDir(dir, c.Pos.File)
		c.Related = slices.Clone(e.Related)
		for j := range c.Related {
			c.Related[j].File = inDir(dir, c.Related[j].File)
		}
		out[i] = &c
	}
	return out
}

func inDir(dir, file string) string {
	if dir == "" || file == "" || path.IsAbs(file) {
		return file
	}
	return path.Join(dir, file)
}

// AsList returns the mistakes in err, or nil when err is of another kind.
func AsList(err error) List {
	var l List
	if errors.As(err, &l) {
		return l
	}
	var e *Error
	if errors.As(err, &e) {
		return List{e}
	}
	return nil
}

// Print writes each mistake as "file:line:column: path: message", the guilty line and a caret
// under the column. read gives the text of a file by the name a Pos has; where it fails the
// line is left out. Other errors are written as they are.
func Print(w io.Writer, err error, read func(file string) ([]byte, error)) {
	l := AsList(err)
	if l == nil {
		fmt.Fprintln(w, err)
		return
	}
	for _, e := range l {
		fmt.Fprintln(w, e.Error())
		printLine(w, e.Pos, read)
		for _, r := range e.Related {
			fmt.Fprintf(w, "  see also %s\n", r)
			printLine(w, r, read)
		}
	}
}

func printLine(w io.Writer, p Pos, read func(string) ([]byte, error)) {
	if read == nil || !p.IsValid() {
		return
	}
	text, err := read(p.File)
	if err != nil {
		return
	}
	lines := strings.Split(string(text), "\n")
	if p.Line > len(lines) {
		return
	}
	line := strings.TrimRight(lines[p.Line-1], "\r")
	pad := []byte(line[:min(max(p.Col-1, 0), len(line))])
	for i, c := range pad { // tabs stay tabs, so that the caret stands under its column
		if c != '\t' {
			pad[i] = ' '
		}
	}
	fmt.Fprintf(w, "    %s\n    %s^\n", line, pad)
}
