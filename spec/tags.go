package spec

import (
	"slices"
	"strings"

	"cuelang.org/go/cue/ast"
	"cuelang.org/go/cue/build"
	"cuelang.org/go/cue/literal"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// A tag is an @tag attribute of the package: what -t may set.
type tag struct {
	name, kind string // kind: string, int, number, bool
	short      []string
	at         diag.Pos
}

// findTags reads the @tag attributes of the package's own files.
func (s *source) findTags(inst *build.Instance) []tag {
	var tags []tag
	for _, f := range inst.Files {
		ast.Walk(f, func(n ast.Node) bool {
			a, ok := n.(*ast.Attribute)
			if !ok {
				return true
			}
			key, body := a.Split()
			if key != "tag" {
				return true
			}
			t := tag{kind: "string", at: s.pos(a.Pos())}
			for i, part := range strings.Split(body, ",") {
				k, v, isKV := strings.Cut(strings.TrimSpace(part), "=")
				switch {
				case i == 0:
					t.name = k
				case isKV && k == "type":
					t.kind = v
				case isKV && k == "short":
					t.short = strings.Split(v, "|")
				}
			}
			tags = append(tags, t)
			return true
		}, nil)
	}
	return tags
}

// checkTags reports -t values that the package has no @tag for or that are of the wrong type,
// and returns the good ones.
func (s *source) checkTags(errs *diag.List, inst *build.Instance) []string {
	if len(s.tags) == 0 {
		return nil
	}
	tags := s.findTags(inst)
	var names, long []string // long: those that take a value
	for _, t := range tags {
		long = append(long, t.name)
		names = append(names, t.name)
		names = append(names, t.short...)
	}
	names, long = words.Set(names), words.Set(long)
	where := diag.Pos{File: "."}
	if len(inst.Files) > 0 {
		where = s.pos(inst.Files[0].Pos())
	}
	var good []string
	for _, given := range s.tags {
		name, value, isKV := strings.Cut(given, "=")
		i := slices.IndexFunc(tags, func(t tag) bool {
			return isKV && t.name == name || !isKV && slices.Contains(t.short, name)
		})
		switch {
		case !isKV && i < 0 && slices.ContainsFunc(tags, func(t tag) bool { return t.name == name }):
			errs.Addf(where, "", "-t %s: a value is missing; write -t %s=VALUE", given, name)
		case i < 0 && len(names) == 0:
			errs.Addf(where, "", "-t %s: no field of this study has an attribute @tag(%s); add it to the field that -t is to set", given, name)
		case i < 0 && isKV:
			errs.Addf(where, "", "-t %s: no field has an attribute @tag(%s)%s", given, name, words.Known(name, long))
		case i < 0:
			errs.Addf(where, "", "-t %s: no field has an attribute @tag(%s)%s", given, name, words.Known(name, names))
		case isKV && !tagFits(tags[i].kind, value):
			errs.Addf(tags[i].at, "", "-t %s: found %s; %s is wanted", given, quote(value), tagWants(tags[i].kind))
		default:
			good = append(good, given)
		}
	}
	return good
}

func tagFits(kind, value string) bool {
	var n literal.NumInfo
	digits := strings.TrimPrefix(value, "-")
	switch kind {
	case "int":
		return literal.ParseNum(digits, &n) == nil && n.IsInt()
	case "number":
		return literal.ParseNum(digits, &n) == nil
	case "bool":
		return value == "true" || value == "false"
	default:
		return true
	}
}

func tagWants(kind string) string {
	switch kind {
	case "int":
		return "a whole number"
	case "number":
		return "a number"
	default:
		return "true or false"
	}
}
