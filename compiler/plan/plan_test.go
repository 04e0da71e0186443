package plan

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
)

// goldens are the plans that the compiler's tests hold.
func goldens(t testing.TB) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("../testdata/good/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no goldens: %v", err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		ar, err := txtar.ParseFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range ar.Files {
			if x.Name == "out/plan.json" {
				out[filepath.Base(f)] = x.Data
			}
		}
	}
	return out
}

func TestDecodingAndEncodingGivesTheSameBytes(t *testing.T) {
	for name, b := range goldens(t) {
		p, err := Decode(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(b), string(again)); d != "" {
			t.Errorf("%s:\n%s", name, d)
		}
	}
}

func TestMovingALineChangesNoDigest(t *testing.T) {
	for name, b := range goldens(t) {
		p, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		before, _ := p.Digest()
		for i := range p.Sources {
			p.Sources[i].Pos.Line += 7
		}
		if after, _ := p.Digest(); after != before {
			t.Errorf("%s: digest %s -> %s", name, before, after)
		}
	}
}

func TestWhereAKeyLiesChangesNoDigest(t *testing.T) {
	digests, ids := map[string]bool{}, map[string]bool{}
	for _, config := range []string{
		`{"cloud":"c","jump":{"address":"a","hostKey":"h","user":"u"}}`,
		`{"cloud":"c","jump":{"address":"a","hostKey":"h","key":"~/.ssh/id_ed25519","user":"u"}}`,
		`{"cloud":"c","jump":{"address":"a","hostKey":"h","key":"/keys/mine","user":"u"}}`,
	} {
		p := &Plan{Format: Format, Clouds: []Cloud{{Name: "c", Backend: "openstack", Config: json.RawMessage(config)}}}
		d, err := p.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[d], ids[p.Clouds[0].ID()] = true, true
		if got := string(p.Clouds[0].Config); got != config {
			t.Errorf("the plan's own config became %s", got)
		}
	}
	if len(digests) != 1 || len(ids) != 1 {
		t.Errorf("got %d digests and %d IDs of clouds; want one each", len(digests), len(ids))
	}
	for _, config := range []string{`{"cloud":"c","jump":{"address":"b","hostKey":"h","key":"/keys/mine","user":"u"}}`, `{"cloud":"c"}`, `{"cloud":"c","jump":null}`, ``} {
		c := Cloud{Backend: "openstack", Config: json.RawMessage(config)}
		if ids[c.ID()] {
			t.Errorf("%s: the same ID as another cloud", config)
		}
	}
}

func TestDecodeRefusesWhatCannotBeExecuted(t *testing.T) {
	var good string
	for _, b := range goldens(t) {
		if strings.Contains(string(b), `"study":"roles"`) {
			good = string(b)
		}
	}
	for _, c := range []struct{ name, old, now, want string }{
		{"another format", `"format":2`, `"format":3`, "format 3 is not known; this dlx reads format 2"},
		{"an unknown field", `"study":"roles"`, `"study":"roles","colour":"blue"`, `unknown field "colour"`},
		{"text after it", "]\n}\n", "]\n}\n{}", "invalid character"},
		{"an unknown fleet", `"kind":"provision","fleet":"lab-vm-3"`, `"kind":"provision","fleet":"nosuch"`, `unknown fleet "nosuch"`},
		{"an unknown kind of step", `"kind":"provision"`, `"kind":"make"`, `unknown kind "make"`},
		{"a step under a wrong name", `{"id":"release/lab-vm-3"`, `{"id":"release/vm"`, `should be named "release/lab-vm-3"`},
		{"a step that follows a later one", `"after":["provision/lab-vm-3"]`, `"after":["release/lab-vm-3"]`, "which does not come before it"},
		{"a role on a machine that is not there", `"machines":[1,2]`, `"machines":[1,9]`, "has no machine 9"},
		{"no role that exits", `"finish":"exits"`, `"finish":"stopped"`, "no role exits"},
		{"no key", `"key":"`, `"key":"","x":"`, `unknown field "x"`},
		{"no repeats", `"repeats":2`, `"repeats":0`, "repeats 0"},
		{"no time limit", `"timeout":"30m0s"`, `"timeout":"0s"`, "needs a timeout above 0"},
		{"a bad duration", `"timeout":"30m0s"`, `"timeout":"soon"`, `invalid duration "soon"`},
		{"an unknown caveat", `"caveat":"sandbox"`, `"caveat":"none"`, `caveat "none"`},
		{"a name that leaves its folder", `{"name":"all/`, `{"name":"../all/`, "unknown cell"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !strings.Contains(good, c.old) {
				t.Fatalf("the golden does not hold %q any more", c.old)
			}
			if _, err := Decode([]byte(strings.ReplaceAll(good, c.old, c.now))); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v; want %q", err, c.want)
			}
		})
	}
}

func TestWaitsDoubleUpToTheirCeiling(t *testing.T) {
	l := Limit{Backoff: Duration(2 * time.Second), MaxWait: Duration(10 * time.Second)}
	var got []time.Duration
	for n := 1; n <= 5; n++ {
		got = append(got, l.Wait(n)/time.Second)
	}
	if d := cmp.Diff([]time.Duration{2, 4, 8, 10, 10}, got); d != "" {
		t.Error(d)
	}
}

func TestComponentsThatComeAndGo(t *testing.T) {
	old := []Setting{{"a", "1"}, {"b", "2"}, {"d", "4"}}
	now := []Setting{{"a", "1"}, {"b", "3"}, {"c", "5"}}
	var got []string
	for _, c := range DiffComponents(old, now) {
		got = append(got, c.String())
	}
	if d := cmp.Diff([]string{"b: 2 -> 3", "c: 5 is new", "d: 4 is gone"}, got); d != "" {
		t.Error(d)
	}
	if KeyOf([]Setting{{"ab", "c"}}) == KeyOf([]Setting{{"a", "bc"}}) {
		t.Error("components that differ only in where one ends have one key")
	}
}

func FuzzDecode(f *testing.F) {
	dir, _ := filepath.Glob("../testdata/good/*.txtar")
	for _, name := range dir {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, x := range txtar.Parse(b).Files {
			if x.Name == "out/plan.json" {
				f.Add(x.Data)
			}
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		p, err := Decode(in)
		if err != nil {
			return
		}
		b, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		q, err := Decode(b)
		if err != nil {
			t.Fatalf("what was encoded is refused: %v", err)
		}
		c, err := q.Encode()
		if err != nil || !bytes.Equal(b, c) {
			t.Fatalf("encoding is not stable: %v\n%s\n%s", err, b, c)
		}
		if err := p.Mermaid(&bytes.Buffer{}, nil); err != nil {
			t.Fatal(err)
		}
	})
}
