package spec

import "dlx.dev/dlx/spec/diag"

type kind uint8

const (
	badKind kind = iota // a mistake was reported for it: say nothing more
	structKind
	listKind
	stringKind
	intKind
	floatKind
	boolKind
	nullKind
)

// A node is a value the user wrote, free of CUE.
type node struct {
	kind   kind
	path   string   // CUE path
	at     diag.Pos // the value
	label  diag.Pos // its field's name; the value's place in a list
	text   string   // of a scalar: canonical
	fields []field  // in the order written
	elems  []*node
	part   bool // something that belongs to it could not be read: what is missing may be there
}

type field struct {
	name string
	node *node
}

// get returns a field's node, or nil.
func (n *node) get(name string) *node {
	if n == nil || n.kind != structKind {
		return nil
	}
	for _, f := range n.fields {
		if f.name == name {
			return f.node
		}
	}
	return nil
}

// found names what was found, for messages.
func (n *node) found() string {
	switch n.kind {
	case structKind:
		return "a struct {...}"
	case listKind:
		return "a list"
	case stringKind:
		return "the string " + quote(n.text)
	case intKind, floatKind:
		return "the number " + clip(n.text)
	case boolKind:
		return n.text
	case nullKind:
		return "null"
	default:
		return "a mistake"
	}
}
