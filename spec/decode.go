package spec

import (
	"regexp"
	"strconv"
	"strings"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// A decoder makes a Study or Testbed of nodes. Each of its methods reports what is wrong with
// its node once and returns a zero value then.
type decoder struct {
	errs    *diag.List
	catalog Catalog
	refs    []ref                             // what names an axis, checked when all axes are known
	kind    string                            // of the workload
	read    func(name string) ([]byte, error) // a file of the study's folder
	table   *refTable                         // of reference numbers, if there is one
}

func (d *decoder) errorf(n *node, format string, args ...any) {
	d.errs.Addf(n.at, n.path, format, args...)
}

// atLabel reports at the name of a field rather than at its value.
func (d *decoder) atLabel(n *node, format string, args ...any) {
	d.errs.Addf(n.label, n.path, format, args...)
}

// isStruct reports whether n is there and a struct; form shows what would do.
func (d *decoder) isStruct(n *node, form string) bool {
	if n == nil || n.kind == badKind {
		return false
	}
	if n.kind != structKind {
		d.errorf(n, "found %s; a struct is wanted, such as %s", n.found(), form)
		return false
	}
	return true
}

func (d *decoder) isList(n *node, form string) bool {
	if n == nil || n.kind == badKind {
		return false
	}
	if n.kind != listKind {
		d.errorf(n, "found %s; a list is wanted, such as %s", n.found(), form)
		return false
	}
	return true
}

// unknown reports the fields of a struct that are not among the known ones.
func (d *decoder) unknown(n *node, known ...string) {
	for _, f := range n.fields {
		ok := false
		for _, k := range known {
			ok = ok || k == f.name
		}
		if !ok {
			d.atLabel(f.node, "unknown field%s", words.DidYouMean(f.name, known))
		}
	}
}

// need returns a required field, and reports its absence at the struct.
func (d *decoder) need(n *node, name, form string) *node {
	f := n.get(name)
	if f == nil && !n.part {
		d.atLabel(n, "field %s is missing; write %s: %s", name, name, form)
	}
	return f
}

func (d *decoder) str(n *node) string {
	if n == nil || n.kind == badKind {
		return ""
	}
	if n.kind != stringKind {
		d.errorf(n, "found %s; a string is wanted%s", n.found(), quotedForm(n))
		return ""
	}
	return n.text
}

// text is a string that must not be empty.
func (d *decoder) text(n *node) string {
	s := d.str(n)
	if n != nil && n.kind == stringKind && strings.TrimSpace(s) == "" {
		d.errorf(n, "empty; write some text")
	}
	return s
}

func quotedForm(n *node) string {
	switch n.kind {
	case intKind, floatKind, boolKind:
		return ": " + strconv.Quote(n.text)
	default:
		return ""
	}
}

var dnsLabel = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

const dnsLabelForm = "a name has at most 63 lower-case letters, digits and inner hyphens"

// name is a string that is a DNS label.
func (d *decoder) name(n *node) string {
	s := d.str(n)
	if n != nil && n.kind == stringKind && !dnsLabel.MatchString(s) {
		d.errorf(n, "%s is no name: %s%s", quote(s), dnsLabelForm, suchAs(s))
		return ""
	}
	return s
}

// suchAs proposes a name near to a wrong one.
func suchAs(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		if c >= 'a' && c <= 'z' || c >= '0' && c <= '9' {
			b.WriteRune(c)
		} else {
			b.WriteByte('-')
		}
	}
	p := strings.Trim(b.String(), "-")
	if len(p) > 63 {
		p = strings.Trim(p[:63], "-")
	}
	if !dnsLabel.MatchString(p) {
		return ""
	}
	return ", such as " + strconv.Quote(p)
}

// label checks the name of a field as name does.
func (d *decoder) label(f field) bool {
	if !dnsLabel.MatchString(f.name) {
		d.atLabel(f.node, "%s is no name: %s%s", quote(f.name), dnsLabelForm, suchAs(f.name))
		return false
	}
	return true
}

// maxInt keeps whole numbers within what every platform and JSON reader holds exactly.
const maxInt = 1 << 53

// whole is a whole number of at least low.
func (d *decoder) whole(n *node, low int) (int, bool) {
	if n == nil || n.kind == badKind {
		return 0, false
	}
	wanted := "a whole number is wanted"
	if low > -maxInt {
		wanted = "a whole number of at least " + strconv.Itoa(low) + " is wanted"
	}
	if n.kind == stringKind {
		if _, err := strconv.Atoi(n.text); err == nil {
			d.errorf(n, "found %s; %s: write it without quotes", n.found(), wanted)
			return 0, false
		}
	}
	v, err := strconv.Atoi(n.text)
	if n.kind != intKind || err != nil || v < low || v > maxInt {
		if n.kind == intKind && (err != nil || v > maxInt) && !strings.HasPrefix(n.text, "-") {
			wanted = "that is more than dlx can count"
		}
		d.errorf(n, "found %s; %s", n.found(), wanted)
		return 0, false
	}
	return v, true
}

// wholeOr is whole, or def where there is no such field.
func (d *decoder) wholeOr(n *node, low, def int) int {
	if n == nil {
		return def
	}
	if v, ok := d.whole(n, low); ok {
		return v
	}
	return def
}

// oneOf is a string from a list.
func (d *decoder) oneOf(n *node, known ...string) string {
	s := d.str(n)
	if n == nil || n.kind != stringKind {
		return ""
	}
	for _, k := range known {
		if s == k {
			return s
		}
	}
	d.errorf(n, "unknown value %s%s", quote(s), words.Known(s, known))
	return ""
}

var valueText = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)

// value is one value of an axis.
func (d *decoder) value(n *node) (Value, bool) {
	if n == nil {
		return Value{}, false
	}
	v, ok := d.scalar(n)
	switch {
	case !ok:
		return Value{}, false
	case v.Number && strings.HasPrefix(v.Text, "-"):
		d.errorf(n, "found %s; an axis takes numbers of at least 0 (use a string such as %s for a negative one)", n.found(), strconv.Quote("minus"+v.Text[1:]))
		return Value{}, false
	case !valueText.MatchString(v.Text):
		d.errorf(n, "%s cannot be a value of an axis: it takes letters, digits and . _ + -, a letter or digit first%s", quote(v.Text), suchValue(v.Text))
		return Value{}, false
	}
	return v, true
}

func suchValue(s string) string {
	var b strings.Builder
	for _, c := range s {
		if c < 128 && valueText.MatchString("a"+string(c)) {
			b.WriteRune(c)
		} else {
			b.WriteByte('-')
		}
	}
	p := clip(strings.Trim(b.String(), "-._+"))
	if !valueText.MatchString(p) {
		return ""
	}
	return ", such as " + strconv.Quote(p)
}

// scalar is a string, number or boolean of any text.
func (d *decoder) scalar(n *node) (Value, bool) {
	switch n.kind {
	case stringKind, boolKind:
		return Value{Text: n.text, Pos: n.at}, true
	case intKind, floatKind:
		return Value{Text: n.text, Number: true, Pos: n.at}, true
	case badKind:
	default:
		d.errorf(n, "found %s; a string, number or boolean is wanted", n.found())
	}
	return Value{}, false
}

// values is a list of values, none twice.
func (d *decoder) values(n *node, twice bool) []Value {
	var out []Value
	if len(n.elems) == 0 {
		d.errorf(n, "an empty list; give at least one value")
	}
	seen := map[string]diag.Pos{}
	for _, e := range n.elems {
		v, ok := d.value(e)
		if !ok {
			continue
		}
		if first, dup := seen[v.Text]; dup && !twice {
			*d.errs = append(*d.errs, &diag.Error{Pos: e.at, Path: e.path, Msg: quote(v.Text) + " stands in this list already; remove one of them", Related: []diag.Pos{first}})
			continue
		}
		seen[v.Text] = e.at
		out = append(out, v)
	}
	return out
}

// settings decodes {name: scalar}, in the order of names.
func (d *decoder) settings(n *node, form string, name *regexp.Regexp, what string) []Setting {
	if !d.isStruct(n, form) {
		return nil
	}
	var out []Setting
	for _, f := range n.fields {
		if !name.MatchString(f.name) {
			d.atLabel(f.node, "%s is no name of %s", quote(f.name), what)
			continue
		}
		if v, ok := d.scalar(f.node); ok {
			out = append(out, Setting{Axis: f.name, Value: v, Pos: f.node.label})
		}
	}
	sortSettings(out)
	return out
}
