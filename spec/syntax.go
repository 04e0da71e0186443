package spec

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/errors"
	"cuelang.org/go/cue/scanner"
	"cuelang.org/go/cue/token"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// loadErrors reports what kept the package from being parsed.
func (s *source) loadErrors(errs *diag.List, inst *build.Instance) {
	var rest []errors.Error
	before := len(*errs)
	var syntax errors.Error
	for _, e := range errors.Errors(inst.Err) {
		if in := imported(e); in != nil && s.anyPlace(in).IsValid() { // in a package of the same module
			syntax = errors.Append(syntax, in)
		} else if s.anyPlace(e).IsValid() && !isImport(e) {
			syntax = errors.Append(syntax, e)
		} else {
			rest = append(rest, e)
		}
	}
	if syntax != nil {
		s.syntaxErrors(errs, syntax)
	}
	for _, e := range rest {
		s.loadError(errs, e)
	}
	if len(*errs) == before {
		errs.Addf(s.folder(), "", "%s", s.hidePaths(cleanText(inst.Err.Error())))
	}
	*errs = firstPerFile(*errs)
}

func (s *source) folder() diag.Pos {
	if len(s.args) == 1 && strings.HasSuffix(s.args[0], ".cue") {
		return diag.Pos{File: s.args[0], Line: 1, Col: 1}
	}
	if only := s.onlyFile(); only != "" {
		return diag.Pos{File: only, Line: 1, Col: 1}
	}
	return diag.Pos{File: "."}
}

// onlyFile is the folder's first CUE file, or "".
func (s *source) onlyFile() string {
	names, _ := filepath.Glob(filepath.Join(s.dir, "*.cue"))
	for name := range s.overlay {
		if filepath.Dir(name) == s.dir && strings.HasSuffix(name, ".cue") {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return filepath.Base(names[0])
}

// imported is the cause of a failed import, if that lies in the imported package.
func imported(e errors.Error) errors.Error {
	if format, _ := e.Msg(); format != "import failed" {
		return nil
	}
	var in errors.Error
	if errors.As(errors.Unwrap(e), &in) && in.Position().IsValid() && in.Position().Filename() != e.Position().Filename() {
		return in
	}
	return nil
}

func isImport(e errors.Error) bool {
	format, _ := e.Msg()
	text := e.Error()
	return strings.Contains(format, "import failed") || strings.Contains(text, "cannot find package") || strings.Contains(text, "package dependency")
}

func (s *source) anyPlace(e errors.Error) diag.Pos {
	for _, t := range errors.Positions(e) {
		if p := s.pos(t); p.IsValid() {
			return p
		}
	}
	return diag.Pos{}
}

// loadError reports an error of the loader that is not one of syntax.
func (s *source) loadError(errs *diag.List, e errors.Error) {
	at := s.anyPlace(e)
	text := e.Error()
	switch {
	case isImport(e):
		if !at.IsValid() {
			at = s.folder()
		}
		path := between(text, `"`)
		msg := "no package " + quote(path) + " in this module"
		switch {
		case words.Nearest(path, []string{SchemaPath}) != "" && path != SchemaPath:
			msg += " (did you mean " + quote(SchemaPath) + "?)"
		case path == "":
			msg = s.hidePaths(cleanText(text))
		default:
			msg += "; dlx's own is " + quote(SchemaPath) + ", and others are folders below the one that holds cue.mod"
		}
		errs.Addf(at, "", "%s", msg)
	case strings.Contains(text, "matched no packages"), strings.Contains(text, "no CUE files"), strings.Contains(text, "build constraints exclude all"):
		if only := s.onlyFile(); only != "" {
			errs.Addf(diag.Pos{File: only, Line: 1, Col: 1}, "", "belongs to no package; write one first, such as: package study")
			return
		}
		errs.Addf(diag.Pos{File: "."}, "", "no CUE files in this folder; a study is a folder with a CUE package (dlx init writes one)")
	case strings.Contains(text, "found packages"), strings.Contains(text, "Multiple packages"), strings.Contains(text, "multiple packages"):
		errs.Addf(s.folder(), "", "several packages in this folder; all files of a study name the same package")
	default:
		if !at.IsValid() {
			at = s.folder()
		}
		errs.Addf(at, "", "%s", s.hidePaths(cleanText(text)))
	}
}

func between(s, q string) string {
	_, rest, _ := strings.Cut(s, q)
	in, _, ok := strings.Cut(rest, q)
	if !ok {
		return ""
	}
	return in
}

// hidePaths takes this machine's folders out of a message.
func (s *source) hidePaths(msg string) string {
	msg = strings.ReplaceAll(msg, s.dir+string(filepath.Separator), "")
	msg = strings.ReplaceAll(msg, s.root+string(filepath.Separator), "")
	msg = strings.ReplaceAll(msg, s.dir, ".")
	return strings.ReplaceAll(msg, s.root, ".")
}

// syntaxErrors reports parse errors: where brackets do not pair up, the one without a partner.
func (s *source) syntaxErrors(errs *diag.List, err error) {
	done := map[string]bool{}
	for _, e := range errors.Errors(err) {
		at := s.anyPlace(e)
		if !at.IsValid() || done[at.File] {
			continue
		}
		text, readErr := s.read(filepath.Join(s.dir, filepath.FromSlash(at.File)))
		if readErr == nil {
			if m := unpaired(text, at.File); m != nil {
				done[at.File] = true
				*errs = append(*errs, m)
				continue
			}
			at = inside(at, text)
		}
		format, args := e.Msg()
		msg := cleanText(fmt.Sprintf(format, args...))
		if want, found, ok := strings.Cut(strings.TrimPrefix(msg, "expected "), ", found "); ok {
			msg = "found " + found + " where " + want + " is expected"
		}
		if strings.HasPrefix(msg, "string literal not terminated") {
			msg = `a string without its closing quote; write "` // the parser loses its way after it
			done[at.File] = true
		}
		errs.Addf(at, "", "%s", s.hidePaths(msg))
	}
}

// inside moves a place behind the end of a file to its last line.
func inside(at diag.Pos, text []byte) diag.Pos {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	if at.Line > len(lines) {
		at.Line = len(lines)
		at.Col = len(lines[at.Line-1]) + 1
	}
	at.Col = min(at.Col, len(lines[at.Line-1])+1)
	return at
}

// firstPerFile keeps, of syntax errors that follow from one another in a line, the first.
func firstPerFile(l diag.List) diag.List {
	l.Sort()
	return slices.CompactFunc(l, func(a, b *diag.Error) bool {
		return a.Pos.File == b.Pos.File && a.Pos.Line == b.Pos.Line && a.Path == "" && b.Path == ""
	})
}

type bracket struct {
	tok    token.Token
	pos    diag.Pos
	indent int // of its line
}

// unpaired finds a bracket without a partner, or returns nil. Where the indentation says which
// of several brackets lost its partner, it is that one.
func unpaired(text []byte, file string) *diag.Error {
	tf := token.NewFile(file, -1, len(text))
	var sc scanner.Scanner
	bad := false
	sc.Init(tf, text, func(token.Pos, string, []interface{}) { bad = true }, 0)
	lines := strings.Split(string(text), "\n")
	indentOf := func(line int) int {
		l := lines[line-1]
		return len(l) - len(strings.TrimLeft(l, " \t"))
	}
	closes := map[token.Token]token.Token{token.RBRACE: token.LBRACE, token.RBRACK: token.LBRACK, token.RPAREN: token.LPAREN}
	var stack []bracket
	var suspect *bracket    // opened deeper than where it was closed: its own partner is missing
	var closing *diag.Error // closed deeper than where it was opened: the opening one is missing
	for n := 0; n <= len(text)+1; n++ {
		pos, tok, _ := sc.Scan()
		if tok == token.EOF || bad {
			break
		}
		at := pos.Position()
		p := diag.Pos{File: file, Line: at.Line, Col: at.Column}
		switch tok {
		case token.LBRACE, token.LBRACK, token.LPAREN:
			stack = append(stack, bracket{tok, p, indentOf(p.Line)})
		case token.INTERPOLATION:
			return nil // the scanner needs the parser's help from here on
		case token.RBRACE, token.RBRACK, token.RPAREN:
			if len(stack) == 0 {
				if closing != nil {
					return closing
				}
				return &diag.Error{Pos: p, Msg: fmt.Sprintf("%s closes nothing; remove it, or write the %s it belongs to", tok, closes[tok])}
			}
			top := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			first := strings.TrimSpace(lines[p.Line-1][:p.Col-1]) == ""
			if top.tok != closes[tok] {
				if closing != nil {
					return closing
				}
				if slices.ContainsFunc(stack, func(b bracket) bool { return b.tok == closes[tok] && b.pos.Line == p.Line }) || top.pos.Line == p.Line || first {
					return neverClosed(top, lines)
				}
				if m := missingOpen(lines, p, closes[tok], file); m != nil {
					return m
				}
				return neverClosed(top, lines)
			}
			if opener := lines[top.pos.Line-1]; !first && top.pos.Line != p.Line && closing == nil &&
				strings.TrimSpace(opener[top.pos.Col:]) == "" { // amid a line, what a block before it opened
				closing = missingOpen(lines, p, closes[tok], file)
			}
			if first && top.pos.Line != p.Line {
				if in := indentOf(p.Line); in < top.indent && suspect == nil {
					suspect = &top
				} else if in > top.indent && closing == nil {
					closing = missingOpen(lines, p, closes[tok], file)
				}
			}
		}
	}
	switch {
	case bad || len(stack) == 0:
		return nil
	case suspect != nil && (closing == nil || suspect.pos.Line < closing.Pos.Line):
		return neverClosed(*suspect, lines)
	case closing != nil:
		return closing
	default:
		return neverClosed(stack[len(stack)-1], lines)
	}
}

// neverClosed also points to where the indentation ends that the bracket began: there its partner
// is missed.
func neverClosed(b bracket, lines []string) *diag.Error {
	want := map[token.Token]string{token.LBRACE: "}", token.LBRACK: "]", token.LPAREN: ")"}[b.tok]
	e := &diag.Error{Pos: b.pos, Msg: fmt.Sprintf("%s is never closed; write the %s it lacks", b.tok, want)}
	last := b.pos.Line // the last line that belongs to it
	for i := b.pos.Line; i < len(lines); i++ {
		text := strings.TrimLeft(lines[i], " \t")
		switch {
		case text == "" || strings.HasPrefix(text, "//"):
		case len(lines[i])-len(text) > b.indent:
			last = i + 1
		default:
			i = len(lines)
		}
	}
	if last > b.pos.Line && last < len(lines) {
		e.Related = []diag.Pos{{File: b.pos.File, Line: last + 1, Col: 1}}
	}
	return e
}

// missingOpen looks, above a closing bracket, for the line of its indentation that lacks the
// opening one.
func missingOpen(lines []string, p diag.Pos, open token.Token, file string) *diag.Error {
	line := lines[p.Line-1]
	indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]
	if strings.TrimSpace(line[:p.Col-1]) != "" { // in the middle of a line
		return &diag.Error{Pos: p, Msg: fmt.Sprintf("%s has no partner; write the %s it lacks", line[p.Col-1:p.Col], open)}
	}
	for i := p.Line - 2; i >= 0; i-- {
		l := lines[i]
		rest, ok := strings.CutPrefix(l, indent)
		if !ok || rest == "" || rest[0] == ' ' || rest[0] == '\t' || rest[0] == '}' || rest[0] == ']' || strings.HasPrefix(rest, "//") {
			continue
		}
		return &diag.Error{Pos: diag.Pos{File: file, Line: i + 1, Col: len(strings.TrimRight(l, " \t\r")) + 1},
			Msg: fmt.Sprintf("a %s is missing here: the %s in line %d has no partner", open, line[p.Col-1:p.Col], p.Line)}
	}
	return nil
}
