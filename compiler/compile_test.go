package compiler_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"

	"dlx.dev/dlx/compiler"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
)

var update = flag.Bool("update", false, "rewrite goldens")

const quickstart = "../testdata/studies/quickstart"

// options are those of every test: a version and a caveat, as the command line gives them.
func options() compiler.Options {
	return compiler.Options{
		Versions: map[string]string{spec.CNNBench: "1"},
		Caveats:  map[string]plan.Caveat{"sandbox": plan.Sandbox},
	}
}

// compileDir compiles the study in dir on a testbed in it, or on the sandbox.
func compileDir(t testing.TB, dir string, o compiler.Options) (*plan.Plan, error) {
	t.Helper()
	s, err := spec.Load(t.Context(), dir, spec.Options{})
	if err != nil {
		t.Fatalf("the study itself is wrong: %v", err)
	}
	name := "sandbox"
	if _, err := os.Stat(filepath.Join(dir, "testbeds", "lab.cue")); err == nil {
		name = "lab"
	}
	tb, err := spec.LoadTestbed(t.Context(), name, dir, spec.Options{})
	if err != nil {
		t.Fatalf("the testbed itself is wrong: %v", err)
	}
	return compiler.Compile(s, tb, o)
}

func unpack(t *testing.T, ar *txtar.Archive) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "out/") {
			continue
		}
		name := filepath.Join(dir, f.Name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestGoldens compiles each study of testdata. Good ones give their plan as JSON, its summary of
// keys and its picture; bad ones the mistakes with their lines.
func TestGoldens(t *testing.T) {
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar"), func(t *testing.T) {
			ar, err := txtar.ParseFile(file)
			if err != nil {
				t.Fatal(err)
			}
			dir := unpack(t, ar)
			p, err := compileDir(t, dir, options())
			var got []txtar.File
			if strings.Contains(file, "bad") {
				if err == nil {
					t.Fatal("compiled; want mistakes")
				}
				var b bytes.Buffer
				diag.Print(&b, err, func(name string) ([]byte, error) { return os.ReadFile(filepath.Join(dir, name)) })
				got = append(got, txtar.File{Name: "out/errors", Data: b.Bytes()})
			} else {
				if err != nil {
					t.Fatal(err)
				}
				js, err := p.Encode()
				if err != nil {
					t.Fatal(err)
				}
				var m bytes.Buffer
				if err := p.Mermaid(&m, nil); err != nil {
					t.Fatal(err)
				}
				got = append(got, txtar.File{Name: "out/plan.json", Data: js}, txtar.File{Name: "out/mermaid", Data: m.Bytes()})
			}
			compare(t, file, ar, got)
		})
	}
}

func compare(t *testing.T, file string, ar *txtar.Archive, got []txtar.File) {
	t.Helper()
	kept := &txtar.Archive{Comment: ar.Comment}
	want := map[string]string{}
	for _, f := range ar.Files {
		if strings.HasPrefix(f.Name, "out/") {
			want[f.Name] = string(f.Data)
			continue
		}
		kept.Files = append(kept.Files, f)
	}
	kept.Files = append(kept.Files, got...)
	if *update {
		if b := txtar.Format(kept); !bytes.Equal(b, txtar.Format(ar)) {
			if err := os.WriteFile(file, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		return
	}
	for _, g := range got {
		if d := cmp.Diff(want[g.Name], string(g.Data)); d != "" {
			t.Errorf("%s: %s (-want +got); run with -update after reading it:\n%s", file, g.Name, d)
		}
	}
}

func encode(t testing.TB, p *plan.Plan) string {
	t.Helper()
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTheSameStudyGivesTheSameBytesOnAnyNumberOfProcessors(t *testing.T) {
	want := ""
	for _, n := range []int{1, 2, 4} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(n))
		for range 10 { // the order of maps changes from one to the next
			p, err := compileDir(t, quickstart, options())
			if err != nil {
				t.Fatal(err)
			}
			switch got := encode(t, p); {
			case want == "":
				want = got
			case got != want:
				t.Fatal(cmp.Diff(want, got))
			}
		}
	}
}

// rewrite compiles the quickstart after a change to its text.
func rewrite(t *testing.T, files map[string]string) *plan.Plan {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := compileDir(t, dir, options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func quickstartText(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(quickstart, "study.cue"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func replace(t *testing.T, s, old, now string) string {
	t.Helper()
	if !strings.Contains(s, old) {
		t.Fatalf("the quickstart does not hold %q any more", old)
	}
	return strings.Replace(s, old, now, 1)
}

func keys(p *plan.Plan) []string {
	var out []string
	for i := range p.Cells {
		out = append(out, p.Cells[i].Name+" "+p.Cells[i].Key)
	}
	return out
}

func TestWhatChangesNoResultChangesNoDigest(t *testing.T) {
	text := quickstartText(t)
	base := rewrite(t, map[string]string{"study.cue": text})
	want, err := base.Digest()
	if err != nil {
		t.Fatal(err)
	}
	model := `		model: ["inceptionv3", "resnet50", "alexnet"]
`
	orchestration := `		orchestration: ["bm", "vm"]
`
	half := strings.Index(text, "	repeats:")
	for name, files := range map[string]map[string]string{
		"a comment":           {"study.cue": "// A comment.\n\n" + text},
		"the order of axes":   {"study.cue": replace(t, replace(t, text, orchestration, ""), model, orchestration+model)},
		"two files":           {"b.cue": text[:half] + "}\n", "a.cue": "package quickstart\n\nimport \"dlx.dev/dlx\"\n\nstudy: {\n" + text[half:]},
		"two files, reversed": {"a.cue": text[:half] + "}\n", "b.cue": "package quickstart\n\nimport \"dlx.dev/dlx\"\n\nstudy: {\n" + text[half:]},
	} {
		t.Run(name, func(t *testing.T) {
			p := rewrite(t, files)
			got, err := p.Digest()
			if err != nil {
				t.Fatal(err)
			}
			if got != want {
				q := *p
				q.Sources = nil
				b := *base
				b.Sources = nil
				t.Error(cmp.Diff(encode(t, &b), encode(t, &q)))
			}
		})
	}
}

func TestWhatOnlyConcernsTablesChangesNoKey(t *testing.T) {
	text := quickstartText(t)
	base := rewrite(t, map[string]string{"study.cue": text})
	for name, changed := range map[string]string{
		"another title":           replace(t, text, "Three models on bare metal and in VMs", "Another title"),
		"another figure":          replace(t, text, "	figures: {", "	figures: {\n		extra: {metric: \"elapsed\", rows: \"model\", columns: \"orchestration\"}"),
		"more repeats":            replace(t, text, "repeats: 3", "repeats: 7"),
		"another seed":            replace(t, text, "seed: 1", "seed: 2"),
		"the order of the values": replace(t, text, `["bm", "vm"]`, `["vm", "bm"]`),
	} {
		t.Run(name, func(t *testing.T) {
			if d := cmp.Diff(keys(base), keys(rewrite(t, map[string]string{"study.cue": changed}))); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAKeyChangesWithWhatItStandsForAndTheDiffSaysWhat(t *testing.T) {
	text := quickstartText(t)
	base := rewrite(t, map[string]string{"study.cue": text})
	now := rewrite(t, map[string]string{"study.cue": replace(t, text, "alexnet: flags: {batch_size: 128}", "alexnet: flags: {batch_size: 256}")})
	for i := range base.Cells {
		old, c := &base.Cells[i], &now.Cells[i]
		var got []string
		for _, ch := range plan.DiffComponents(base.Components(old), now.Components(c)) {
			got = append(got, ch.String())
		}
		var want []string
		if m, _ := c.Value("model"); m == "alexnet" {
			want = []string{"worker --batch_size: 128 -> 256"}
		}
		if d := cmp.Diff(want, got); d != "" || (old.Key != c.Key) != (len(want) > 0) {
			t.Errorf("%s: key %s -> %s, changes (-want +got):\n%s", c.Name, old.Key, c.Key, d)
		}
	}
}

func TestMoreRepeatsLeaveTheOrderOfTheEarlierOnesAlone(t *testing.T) {
	trials := func(n int) []string {
		o := options()
		o.Repeats = n
		p, err := compileDir(t, quickstart, o)
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for i := range p.Steps {
			if p.Steps[i].Kind == plan.Trial {
				out = append(out, p.StepID(i))
			}
		}
		return out
	}
	three, five := trials(3), trials(5)
	if d := cmp.Diff(three, five[:len(three)]); d != "" {
		t.Error(d)
	}
	first := slices.Sorted(slices.Values(three[:6]))
	if len(slices.Compact(first)) != 6 || !strings.HasSuffix(first[0], "/r1") || !strings.HasSuffix(first[5], "/r1") {
		t.Errorf("the first block is %v; want the six cells once each", first)
	}
}

func TestOnlyKeepsTheCellsThatMeetIt(t *testing.T) {
	o := options()
	o.Only = []plan.Condition{{Axis: "model", Values: []string{"alexnet", "resnet50"}}, {Axis: "orchestration", Values: []string{"vm"}}}
	p, err := compileDir(t, quickstart, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := p.Counts(); n.Cells != 2 || n.Fleets != 1 {
		t.Errorf("got %+v; want 2 cells on 1 fleet", n)
	}
	o.Only = []plan.Condition{{Axis: "modell", Values: []string{"alexnet"}}}
	if _, err := compileDir(t, quickstart, o); err == nil || !strings.Contains(err.Error(), `unknown axis "modell" (known: block, dataset, model, orchestration)`) {
		t.Errorf("got %v; want the known axes", err)
	}
	o.Only = []plan.Condition{{Axis: "model", Values: []string{"alexnot"}}}
	if _, err := compileDir(t, quickstart, o); err == nil || !strings.Contains(err.Error(), `axis "model" has no value "alexnot" (it has: inceptionv3, resnet50, alexnet)`) {
		t.Errorf("got %v; want the known values", err)
	}
}

func BenchmarkCompileQuickstart(b *testing.B) {
	s, err := spec.Load(b.Context(), quickstart, spec.Options{})
	if err != nil {
		b.Fatal(err)
	}
	tb, err := spec.LoadTestbed(b.Context(), "sandbox", quickstart, spec.Options{})
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p, err := compiler.Compile(s, tb, options())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := p.Encode(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCompileCells compiles one block of n x 10 x 10 cells.
func BenchmarkCompileCells(b *testing.B) {
	for _, n := range []int{100, 1000} {
		b.Run(fmt.Sprint(n*100), func(b *testing.B) {
			axis := func(name string, n int) spec.Axis {
				a := spec.Axis{Name: name}
				for i := range n {
					a.Values = append(a.Values, spec.Value{Text: fmt.Sprintf("%s%d", name, i)})
				}
				return a
			}
			s := &spec.Study{
				Name: "big", Axes: []spec.Axis{axis("a", n), axis("b", 10), axis("c", 10)}, Blocks: []spec.Block{{Name: "all"}}, Repeats: 1,
				Workload: spec.Workload{Kind: spec.Command, Program: []string{"run", "{a}", "{b}", "{c}"}, Roles: []spec.Role{{Name: "worker", Count: 1, Finish: spec.Exits}}},
				Order:    spec.Order{Kind: spec.Interleaved, Seed: 1},
			}
			tb := &spec.Testbed{
				Name: "t", Clouds: []spec.Cloud{{Name: "c", Backend: "sandbox"}},
				Orchestrations: []spec.Orchestration{{Name: "vm", Cloud: "c", Machine: []byte("{}")}},
			}
			for b.Loop() {
				p, err := compiler.Compile(s, tb, options())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := p.Encode(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
