package spec

import (
	"cmp"
	"regexp"
	"slices"
	"strings"

	"dlx.dev/dlx/spec/diag"
)

var studyFields = []string{"name", "title", "axes", "matrix", "exclude", "workload", "repeats", "order", "metrics", "figures", "datasets", "labels", "reference"}

// study decodes the whole; nil if not even its skeleton is there.
func (d *decoder) study(n *node) *Study {
	if !d.isStruct(n, `dlx.#Study & {name: "mystudy", ...}`) {
		return nil
	}
	d.unknown(n, studyFields...)
	s := &Study{Pos: n.label, Repeats: 1, RepeatsAt: n.label}
	s.Name = d.name(d.need(n, "name", `"mystudy"`))
	s.Title = d.str(n.get("title"))
	s.Axes = d.axes(d.need(n, "axes", `{model: ["resnet50"], orchestration: ["bm", "vm"]}`))
	s.Blocks = d.matrix(n.get("matrix"), n)
	s.Exclude = d.exclusions(n.get("exclude"))
	s.Workload = d.workload(d.need(n, "workload", "dlx.#CNNBench & {...}"))
	if r := n.get("repeats"); r != nil {
		s.Repeats, s.RepeatsAt = d.wholeOr(r, 1, 1), r.at
	}
	s.Order = d.order(n.get("order"))
	s.Metrics = d.metrics(n.get("metrics"), s)
	s.Figures = d.figures(n.get("figures"))
	s.Datasets = d.datasets(n.get("datasets"))
	s.Labels = d.labels(n.get("labels"))
	s.Reference = d.reference(n.get("reference"))
	return s
}

func (d *decoder) order(n *node) Order {
	o := Order{Kind: Interleaved, Seed: 1}
	if !d.isStruct(n, `{kind: "interleaved", seed: 1}`) {
		return o
	}
	d.unknown(n, "kind", "seed")
	o.Kind = cmp.Or(d.oneOf(n.get("kind"), Interleaved, Sequential), Interleaved)
	o.Seed = int64(d.wholeOr(n.get("seed"), 0, 1))
	return o
}

var metricName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

func (d *decoder) metrics(n *node, s *Study) []Metric {
	if n == nil {
		return defaultMetrics(s)
	}
	if !d.isStruct(n, "{throughput: dlx.#Throughput, elapsed: dlx.#Elapsed}") {
		return nil
	}
	var out []Metric
	for _, f := range n.fields {
		if !metricName.MatchString(f.name) {
			d.atLabel(f.node, "%s is no name of a metric: lower-case letters, digits and _, a letter first", quote(f.name))
			continue
		}
		m := Metric{Name: f.name, Pos: f.node.label}
		if d.isStruct(f.node, `{unit: "s", kind: "cost", better: "lower"}`) {
			d.unknown(f.node, "unit", "kind", "better")
			m.Unit = d.text(d.need(f.node, "unit", `"s"`))
			m.Kind = d.oneOf(d.need(f.node, "kind", `"rate" or "cost"`), "rate", "cost")
			m.Better = d.oneOf(d.need(f.node, "better", `"higher" or "lower"`), "higher", "lower")
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Metric) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// defaultMetrics are those that every parser of the workload's kind reports.
func defaultMetrics(s *Study) []Metric {
	out := []Metric{{Name: "elapsed", Unit: "s", Kind: "cost", Better: "lower", Pos: s.Pos}}
	if s.Workload.Kind == TFCNN || s.Workload.Kind == CNNBench {
		out = append(out, Metric{Name: "throughput", Unit: "images/s", Kind: "rate", Better: "higher", Pos: s.Pos})
	}
	return out
}

var checksum = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

func (d *decoder) datasets(n *node) []Dataset {
	if !d.isStruct(n, `{imagenet: {path: "/data/imagenet", checksum: "sha256:..."}}`) {
		return nil
	}
	var out []Dataset
	for _, f := range n.fields {
		ds := Dataset{Name: f.name, Pos: f.node.label}
		switch {
		case f.name == "synthetic":
			d.atLabel(f.node, "synthetic is always known and has no files; remove it")
			continue
		case !valueText.MatchString(f.name):
			d.atLabel(f.node, "%s cannot be a value of the axis dataset: it takes letters, digits and . _ + -%s", quote(f.name), suchValue(f.name))
			continue
		}
		out = append(out, ds)
		if !d.isStruct(f.node, `{path: "/data/imagenet", checksum: "sha256:..."} or {generate: {images: 512, seed: 1}}`) {
			continue
		}
		d.dataset(&out[len(out)-1], f.node)
	}
	slices.SortFunc(out, func(a, b Dataset) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (d *decoder) dataset(ds *Dataset, n *node) {
	d.unknown(n, "path", "checksum", "bytes", "generate")
	path, sum, gen := n.get("path"), n.get("checksum"), n.get("generate")
	switch {
	case path != nil && gen != nil:
		*d.errs = append(*d.errs, &diag.Error{Pos: gen.label, Path: n.path, Msg: "path and generate exclude each other; remove one of them", Related: []diag.Pos{path.label}})
	case path == nil && gen == nil:
		d.atLabel(n, `neither path nor generate; write path: "/data/imagenet" and checksum: "sha256:...", or generate: {images: 512, seed: 1}`)
	case path != nil && sum == nil:
		d.atLabel(n, `field checksum is missing; a dataset that lies on the machines needs one: checksum: "sha256:..."`)
	case gen != nil && sum != nil:
		d.atLabel(sum, "a generated dataset needs no checksum; remove it")
	}
	if ds.Path = d.str(path); ds.Path != "" && !strings.HasPrefix(ds.Path, "/") {
		d.errorf(path, "%s is not absolute; it lies on the machines, so write the whole path, with / first", quote(ds.Path))
	} else if path != nil && path.kind == stringKind && ds.Path == "" {
		d.errorf(path, "empty; write the folder on the machines")
	}
	if ds.Checksum = d.str(sum); sum != nil && sum.kind == stringKind && !checksum.MatchString(ds.Checksum) {
		d.errorf(sum, "%s is no checksum; write sha256: and 64 hexadecimal digits", quote(ds.Checksum))
	}
	if size := n.get("bytes"); size != nil {
		v, _ := d.whole(size, 1)
		ds.Bytes = int64(v)
		if gen != nil {
			d.atLabel(size, "a generated dataset has the size that it has; remove it")
		}
	}
	if gen != nil && d.isStruct(gen, "{images: 512, seed: 1}") {
		d.unknown(gen, "images", "seed")
		g := Generate{Seed: d.wholeOr(gen.get("seed"), 0, 1)}
		g.Images, _ = d.whole(d.need(gen, "images", "512"), 1)
		ds.Generate = &g
	}
}

func sortSettings(s []Setting) {
	slices.SortStableFunc(s, func(a, b Setting) int { return strings.Compare(a.Axis, b.Axis) })
}
