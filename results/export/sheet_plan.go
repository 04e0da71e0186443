package export

import (
	"strconv"
	"strings"

	"dlx.dev/dlx/compiler/plan"
)

// fillPlan writes the cells: what was asked for.
func (b *workbook) fillPlan() error {
	p := b.book.Run.Plan
	axes, header := axisColumns(p, []string{"cell", "block"}, []string{"fleet", "key", "roles"})
	s := &sheet{name: planSheet, frozen: 1, widths: []float64{44, 14}}
	for range axes {
		s.widths = append(s.widths, 14)
	}
	s.widths = append(s.widths, 16, 34, 100)
	var head []any
	for _, h := range header {
		head = append(head, styled(b.style.head, h))
	}
	s.add(head...)
	var values []value
	return b.write(s, len(p.Cells), func(i int, buf []any) []any {
		c := &p.Cells[i]
		values = append(values[:0], text(c.Name), text(c.Block))
		values = appendAxes(values, axes, c)
		values = append(values, text(p.Fleets[c.Fleet].Name), text(c.Key), text(rolesText(p, c)))
		for _, v := range values {
			buf = append(buf, cellOf(v, 0))
		}
		return buf
	})
}

// rolesText writes the roles of a cell, a line each: "worker x2 on m0, m1: program --flag=...".
func rolesText(p *plan.Plan, c *plan.Cell) string {
	var out []string
	for i := range c.Roles {
		r := &c.Roles[i]
		var on, args []string
		for _, m := range r.Machines {
			on = append(on, p.Fleets[c.Fleet].Machines[m].Name)
		}
		for _, e := range r.Env {
			args = append(args, e.Name+"="+e.Value)
		}
		for _, a := range r.Args {
			args = append(args, argText(a))
		}
		out = append(out, r.Name+" x"+strconv.Itoa(len(r.Machines))+" on "+strings.Join(on, ", ")+": "+strings.Join(args, " "))
	}
	return strings.Join(out, "\n")
}

// argText writes an argument with what is known only during the run in angle brackets.
func argText(a plan.Arg) string {
	switch l := a.Late; {
	case l == nil:
		return a.Text
	case l.Index:
		return a.Text + "<index>"
	case l.Role != "":
		return a.Text + "<addresses of " + l.Role + ", from port " + strconv.Itoa(l.Port) + ">"
	case l.Dataset != "":
		return a.Text + "<dataset " + l.Dataset + ">"
	default:
		return a.Text + "<file " + l.File + ">"
	}
}
