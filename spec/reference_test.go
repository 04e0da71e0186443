package spec

import (
	"testing"

	"dlx.dev/dlx/spec/diag"
)

// Whatever the bytes of a file of reference numbers are, each row that is taken has a metric of
// the study and every mistake a place in the file.
func FuzzReference(f *testing.F) {
	f.Add("model,metric,value\nresnet50,elapsed,12\n")
	f.Add("block,model,metric,unit,value,note\n,alexnet,elapsed,s,1e3,\"a, b\"\n# comment\n")
	f.Add("\ufeffmodel\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		var errs diag.List
		d := &decoder{errs: &errs}
		s := &Study{
			Axes:    []Axis{{Name: "model", Values: []Value{{Text: "resnet50"}, {Text: "alexnet"}}}},
			Blocks:  []Block{{Name: "all"}},
			Metrics: []Metric{{Name: "elapsed", Unit: "s"}}, Reference: &Reference{},
		}
		d.table = d.readTable("r.csv", []byte(text))
		d.checkReference(s)
		for _, r := range s.Reference.Rows {
			if r.Metric != "elapsed" || r.Pos.Line < 2 {
				t.Errorf("took %+v", r)
			}
		}
		for _, e := range errs {
			if e.Pos.File != "r.csv" || e.Pos.Line < 1 || e.Pos.Col < 1 {
				t.Errorf("%v has no place", e)
			}
		}
	})
}
