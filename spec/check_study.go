package spec

import (
	"fmt"
	"slices"

	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

// checkStudy checks what joins several parts of a study, and completes it with the defaults that
// depend on others.
func (d *decoder) checkStudy(s *Study, root *node) {
	d.checkRefs(s, root)
	if wholeAxes(root) {
		d.checkDatasets(s)
		addModelDefaults(s)
		d.checkBound(s)
	}
	d.checkFlagRules(&s.Workload)
	d.checkMetrics(s, root)
	if wholeAxes(root) {
		d.checkReference(s)
	}
}

// checkDatasets reports values of the axis dataset that name nothing.
func (d *decoder) checkDatasets(s *Study) {
	var known []string
	for _, ds := range s.Datasets {
		known = append(known, ds.Name)
	}
	values, _ := s.values("dataset", scope{})
	done := map[string]bool{}
	for _, v := range values {
		if v.Text == "synthetic" || slices.Contains(known, v.Text) || done[v.Text] {
			continue
		}
		done[v.Text] = true
		msg := "no dataset of this name"
		var at diag.Pos
		if near := words.Nearest(v.Text, append(known, "synthetic")); near != "" {
			for _, ds := range s.Datasets {
				if ds.Name == near {
					at = ds.Pos
				}
			}
			msg += " (did you mean " + quote(near) + "?)"
		}
		name := quoteIfOdd(v.Text)
		*d.errs = append(*d.errs, &diag.Error{Pos: v.Pos, Path: "study.axes.dataset", Related: see(at), Msg: fmt.Sprintf(
			"%s: %s; write datasets: %[1]s: {path: \"/data/%[1]s\", checksum: \"sha256:...\"} or {generate: {images: 512}}", name, msg)})
	}
}

// quoteIfOdd quotes a text that CUE could not read as a label.
func quoteIfOdd(s string) string {
	if join("", s) != s {
		return quote(s)
	}
	return s
}

// checkMetrics reports metrics that nothing would report.
func (d *decoder) checkMetrics(s *Study, root *node) {
	w := &s.Workload
	if w.Kind == "" || root.get("metrics") == nil {
		return
	}
	known := d.catalog.metrics(w.Kind)
	for _, p := range w.Patterns {
		known = append(known, p.Metric)
	}
	known = words.Set(known)
	for _, m := range s.Metrics {
		if slices.Contains(known, m.Name) {
			continue
		}
		msg := "the output of " + w.Kind + " has no such metric" + words.Known(m.Name, known)
		if w.Kind == Command {
			msg = "no pattern yields this metric" + words.Known(m.Name, known) + "; write workload: patterns: " + m.Name + `: "...(?P<v>...)..."`
		}
		*d.errs = append(*d.errs, &diag.Error{Pos: m.Pos, Path: join("study.metrics", m.Name), Msg: msg})
	}
	for _, p := range w.Patterns {
		if !slices.ContainsFunc(s.Metrics, func(m Metric) bool { return m.Name == p.Metric }) && root.get("metrics").kind == structKind {
			d.errs.Addf(p.Pos, join("study.workload.patterns", p.Metric), "the study's metrics lack it; write metrics: %s: {unit: ..., kind: ..., better: ...}", p.Metric)
		}
	}
}
