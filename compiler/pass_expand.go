package compiler

import (
	"fmt"
	"slices"
	"strings"

	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

// maxCells bounds a study: past it a typing mistake is likelier than a wish.
const maxCells = 2_000_000

// expand makes the cells of every block, drops the excluded ones, and sorts by name.
func (st *state) expand() {
	seen := map[string]diag.Pos{}
	var all []cell
	excludes := make([]int, len(st.study.Exclude))
	for i := range st.study.Blocks {
		b := &st.study.Blocks[i]
		before := len(all)
		for _, c := range st.block(b) {
			if first, ok := seen[c.name]; ok {
				st.errs = append(st.errs, &diag.Error{
					Pos: c.pos, Path: "study.matrix", Related: []diag.Pos{first},
					Msg: "cell " + c.name + " is there twice: give the blocks different names, or drop one",
				})
				continue
			}
			seen[c.name] = c.pos
			all = append(all, c)
		}
		if len(all) == before && !st.study.Incomplete {
			st.errs.Addf(b.Pos, "study.matrix", "block %q has no cells: its axes or its where leave nothing", b.Name)
		}
	}
	kept := all[:0]
	for _, c := range all {
		if x := st.excluded(&c, excludes); x != nil {
			st.plan.Excluded = append(st.plan.Excluded, excludedCell(&c, x))
			continue
		}
		if st.only(&c) {
			kept = append(kept, c)
		}
	}
	for i, n := range excludes {
		if n == 0 && !st.study.Incomplete {
			st.errs.Addf(st.study.Exclude[i].Pos, "study.exclude", "excludes no cell: no cell meets its where")
		}
	}
	slices.SortFunc(kept, func(a, b cell) int { return strings.Compare(a.name, b.name) })
	slices.SortFunc(st.plan.Excluded, func(a, b excludedT) int { return strings.Compare(a.Cell, b.Cell) })
	st.cells = kept
	if len(kept) == 0 && !st.study.Incomplete && len(st.errs) == 0 {
		st.errs.Addf(st.study.Pos, "study", "no cell is left: everything is excluded or not selected (axes: %s)",
			names(st.study.Axes, func(a *spec.Axis) string { return a.Name }))
	}
}

// dim is one factor of a block's product: a single axis, or axes zipped together.
type dim struct {
	axes []spec.Axis // of equal length
	when []spec.Condition
}

// block expands one block in the order in which its axes are written.
func (st *state) block(b *spec.Block) []cell {
	fixed := map[string]bool{} // axes the block gives itself
	var own []dim
	for _, a := range b.With {
		fixed[a.Name] = true
		own = append(own, dim{[]spec.Axis{a}, a.When})
	}
	if len(b.Zip) > 0 {
		for _, a := range b.Zip {
			fixed[a.Name] = true
		}
		own = append(own, dim{b.Zip, nil})
	}
	var dims []dim
	for _, a := range st.study.Axes {
		if !fixed[a.Name] {
			dims = append(dims, dim{[]spec.Axis{a}, a.When})
		}
	}
	dims = st.ordered(b, append(dims, own...))
	var out []cell
	st.product(b, dims, nil, b.Pos, b.Where, &out)
	for _, inc := range b.Include {
		rest := make([]dim, 0, len(dims))
		pos := b.Pos
		var given []dim
		for _, s := range inc {
			given = append(given, dim{[]spec.Axis{{Name: s.Axis, Values: []spec.Value{s.Value}, Pos: s.Pos}}, nil})
			pos = s.Pos
		}
		if len(inc) > 0 {
			pos = inc[0].Pos
		}
		for _, d := range dims {
			if !slices.ContainsFunc(d.axes, func(a spec.Axis) bool {
				return slices.ContainsFunc(inc, func(s spec.Setting) bool { return s.Axis == a.Name })
			}) {
				rest = append(rest, d)
			}
		}
		var where []spec.Condition // a given axis overrules the block's where
		for _, w := range b.Where {
			if !slices.ContainsFunc(inc, func(s spec.Setting) bool { return s.Axis == w.Axis }) {
				where = append(where, w)
			}
		}
		st.product(b, append(given, rest...), nil, pos, where, &out)
	}
	return out
}

// ordered puts every conditional axis behind the axes its condition speaks of.
func (st *state) ordered(b *spec.Block, dims []dim) []dim {
	var out []dim
	done := map[string]bool{}
	for len(dims) > 0 {
		var rest []dim
		for _, d := range dims {
			if slices.ContainsFunc(d.when, func(c spec.Condition) bool { return !done[c.Axis] && inDims(dims, c.Axis) }) {
				rest = append(rest, d)
				continue
			}
			for _, a := range d.axes {
				done[a.Name] = true
			}
			out = append(out, d)
		}
		if len(rest) == len(dims) {
			a := rest[0].axes[0]
			st.errs.Addf(a.Pos, "study.axes."+a.Name, "axis %q in block %q: its condition depends on itself through other axes", a.Name, b.Name)
			return out
		}
		dims = rest
	}
	return out
}

func inDims(dims []dim, axis string) bool {
	return slices.ContainsFunc(dims, func(d dim) bool {
		return slices.ContainsFunc(d.axes, func(a spec.Axis) bool { return a.Name == axis })
	})
}

func (st *state) product(b *spec.Block, dims []dim, at []spec.Setting, pos diag.Pos, where []spec.Condition, out *[]cell) {
	if len(*out) > maxCells {
		return
	}
	if len(dims) == 0 {
		if !meets(at, where) {
			return
		}
		axes := slices.Clone(at)
		slices.SortFunc(axes, func(a, b spec.Setting) int { return strings.Compare(a.Axis, b.Axis) })
		if *out = append(*out, cell{name: cellName(b.Name, axes), block: b.Name, axes: axes, pos: pos}); len(*out) > maxCells {
			st.errs.Addf(b.Pos, "study.matrix", "block %q has more than %d cells", b.Name, maxCells)
		}
		return
	}
	d := dims[0]
	if !meets(at, d.when) {
		st.product(b, dims[1:], at, pos, where, out)
		return
	}
	for i := range d.axes[0].Values {
		next := at[:len(at):len(at)]
		ok := true
		for _, a := range d.axes {
			if i >= len(a.Values) { // lengths differ: reported by spec
				ok = false
				break
			}
			next = append(next, spec.Setting{Axis: a.Name, Value: a.Values[i], Pos: a.Values[i].Pos})
		}
		if ok && possible(next, where) {
			st.product(b, dims[1:], next, pos, where, out)
		}
	}
}

// possible reports whether a partial assignment can still meet where: it prunes the product.
func possible(at []spec.Setting, where []spec.Condition) bool {
	for _, w := range where {
		i := slices.IndexFunc(at, func(s spec.Setting) bool { return s.Axis == w.Axis })
		if i >= 0 && !slices.ContainsFunc(w.Values, func(v spec.Value) bool { return v.Text == at[i].Value.Text }) {
			return false
		}
	}
	return true
}

func cellName(block string, axes []spec.Setting) string {
	var b strings.Builder
	b.WriteString(block)
	for i, s := range axes {
		b.WriteByte("/,"[min(i, 1)])
		b.WriteString(s.Axis)
		b.WriteByte('=')
		b.WriteString(s.Value.Text)
	}
	return b.String()
}

// excluded returns the first exclusion that takes the cell out, and counts it.
func (st *state) excluded(c *cell, used []int) *spec.Exclusion {
	var first *spec.Exclusion
	for i := range st.study.Exclude {
		x := &st.study.Exclude[i]
		if (x.Block == "" || x.Block == c.block) && c.meets(x.Where) {
			used[i]++
			if first == nil {
				first = x
			}
		}
	}
	return first
}

func (st *state) only(c *cell) bool {
	for _, w := range st.opt.Only {
		if w.Axis == "block" && slices.Contains(w.Values, c.block) {
			continue
		}
		v, ok := c.value(w.Axis)
		if !ok || !slices.Contains(w.Values, v.Text) {
			return false
		}
	}
	return true
}

// checkOnly reports a selection by an axis or value that the study does not have: it would
// otherwise select nothing without a word.
func (st *state) checkOnly() error {
	if st.study.Incomplete {
		return nil
	}
	axes := st.axes()
	for _, w := range st.opt.Only {
		values, known := []string(nil), names(axes, func(a *plan.Axis) string { return a.Name })
		if w.Axis == "block" {
			for _, b := range st.study.Blocks {
				values = append(values, b.Name)
			}
		} else if i := slices.IndexFunc(axes, func(a plan.Axis) bool { return a.Name == w.Axis }); i >= 0 {
			values = axes[i].Values
		} else {
			return fmt.Errorf("only: unknown axis %q (known: block, %s)", w.Axis, known)
		}
		for _, v := range w.Values {
			if !slices.Contains(values, v) {
				return fmt.Errorf("only: axis %q has no value %q (it has: %s)", w.Axis, v, strings.Join(values, ", "))
			}
		}
	}
	return nil
}
