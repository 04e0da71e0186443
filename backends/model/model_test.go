package model

import (
	"context"
	"encoding/json"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends"
)

type quiet struct{}

func (quiet) Intend(context.Context, backends.Owner, backends.Object) error { return nil }
func (quiet) Made(context.Context, backends.Owner, backends.Object) error   { return nil }
func (quiet) Gone(context.Context, backends.Owner, backends.Object) error   { return nil }

func open(t *testing.T, config string) *backends.Backend {
	t.Helper()
	b, err := Open(t.Context(), backends.Options{Cloud: "lab", Config: json.RawMessage(config)})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func provision(t *testing.T, b *backends.Backend, fleet string, n int, hosts backends.Hosts) ([]backends.Machine, error) {
	t.Helper()
	req := backends.FleetRequest{Owner: backends.Owner{Run: "r", Fleet: fleet}, Ledger: quiet{}, Hosts: hosts}
	for i := range n {
		req.Machines = append(req.Machines, backends.MachineRequest{Name: string(rune('a' + i)), Spec: json.RawMessage("{}")})
	}
	return b.Provision(t.Context(), req)
}

// train runs a process to its end and gives what it printed.
func train(t *testing.T, b *backends.Backend, ms []backends.Machine, id string, args ...string) (backends.Exit, string) {
	t.Helper()
	l := b.Launchers["memory"]
	g := backends.Group{ID: id, Machines: ms}
	for range ms {
		g.Args = append(g.Args, args)
	}
	if err := l.Start(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	e, err := l.Wait(t.Context(), ms[0], id+"-0")
	if err != nil {
		t.Fatal(err)
	}
	r, err := l.Open(t.Context(), ms[0], id+"-0", backends.Stdout, 0)
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return e, string(out)
}

var alexnet = []string{"tf", "--model=alexnet", "--batch_size=512", "--num_gpus=1", "--num_batches=100"}

// The same seed gives the same numbers whatever else was run; another seed gives others.
func TestNumbersDependOnTheSeedAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		outs := map[string]string{}
		for _, c := range []struct{ name, config, first string }{{"a", `{"seed":1}`, ""}, {"b", `{"seed":1}`, "other/r1/k/worker"}, {"c", `{"seed":2}`, ""}} {
			b := open(t, c.config)
			ms, err := provision(t, b, "bm-1", 1, "")
			if err != nil {
				t.Fatal(err)
			}
			if c.first != "" {
				train(t, b, ms, c.first, alexnet...)
			}
			e, out := train(t, b, ms, "cell/r1/k/worker", alexnet...)
			if e.Elapsed < 100*time.Second || e.Code != 0 {
				t.Errorf("it took %v, code %d", e.Elapsed, e.Code)
			}
			outs[c.name] = e.Elapsed.String() + out
		}
		if outs["a"] != outs["b"] || outs["a"] == outs["c"] {
			t.Errorf("same seed same numbers: %v, other seed other numbers: %v", outs["a"] == outs["b"], outs["a"] != outs["c"])
		}
		if !strings.Contains(outs["a"], "SIMULATED") {
			t.Error("the output does not say that it is simulated")
		}
	})
}

// A job beside another is slower, on a VM less than on bare metal.
func TestABackgroundJobSlowsItsHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worse := map[string]float64{}
		for _, fleet := range []string{"bm-1", "vm-2"} {
			b := open(t, `{"seed":1}`)
			n := 1
			if fleet == "vm-2" {
				n = 2
			}
			ms, err := provision(t, b, fleet, n, backends.SameHost)
			if err != nil {
				t.Fatal(err)
			}
			alone, _ := train(t, b, ms[:1], "cell/r1/k/worker", alexnet...)
			back := append(slices.Clone(alexnet[:4]), "--num_batches=1000000")
			l := b.Launchers["memory"]
			if err := l.Start(t.Context(), backends.Single(ms[n-1], backends.Process{ID: "cell/r2/k/background", Args: back})); err != nil {
				t.Fatal(err)
			}
			beside, _ := train(t, b, ms[:1], "cell/r2/k/worker", alexnet...)
			worse[fleet] = beside.Elapsed.Seconds() / alone.Elapsed.Seconds()
			if err := l.Stop(t.Context(), ms[n-1], "cell/r2/k/background-0", 0); err != nil {
				t.Error(err)
			}
			if e, err := l.Wait(t.Context(), ms[n-1], "cell/r2/k/background-0"); err != nil || !e.Stopped {
				t.Errorf("background: %+v, %v", e, err)
			}
			after, _ := train(t, b, ms[:1], "cell/r3/k/worker", alexnet...)
			if r := after.Elapsed.Seconds() / alone.Elapsed.Seconds(); r > 1.1 {
				t.Errorf("%s: still slower by %.2f after the background job", fleet, r)
			}
		}
		if worse["vm-2"] < 1.2 || worse["bm-1"] < worse["vm-2"] {
			t.Errorf("slower by %v", worse)
		}
	})
}

func TestFaultsAreScripted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := open(t, `{"seed":1,"faults":[{"step":"provision/vm-*","class":"capacity","times":1},{"step":"trial/bad/*","class":"workload"},{"step":"trial/gone*","class":"transport","times":1}]}`)
		if _, err := provision(t, b, "vm-1", 1, ""); backends.ClassOf(err) != backends.Capacity {
			t.Errorf("got %v; want a failure for capacity", err)
		}
		ms, err := provision(t, b, "vm-1", 1, "")
		if err != nil {
			t.Fatal(err)
		}
		if e, _ := train(t, b, ms, "bad/x/r1/k/worker", alexnet...); e.Code != 1 {
			t.Errorf("got code %d; want 1", e.Code)
		}
		p := backends.Process{ID: "gone/r1/k/worker", Args: alexnet}
		if err := b.Launchers["memory"].Start(t.Context(), backends.Single(ms[0], p)); backends.ClassOf(err) != backends.Transport {
			t.Errorf("got %v; want a failure of transport", err)
		}
		if e, _ := train(t, b, ms, "gone/r1/k/worker", alexnet...); e.Code != 0 {
			t.Errorf("the second time: code %d", e.Code)
		}
	})
	if _, err := Open(t.Context(), backends.Options{Config: json.RawMessage(`{"faults":[{"step":"x","class":"bad luck"}]}`)}); backends.ClassOf(err) != backends.Config {
		t.Errorf("got %v", err)
	}
}

func TestSample(t *testing.T) {
	for pattern, want := range map[string]string{
		`^rate (?P<v>[0-9.]+)$`:                       "rate 12.50",
		`(?P<v>\d+) images`:                           "12 images",
		`^\s*loss=(?:nan|(?P<v>\d+\.\d+)) [a-z]{2}x+`: "",
		`^epoch [0-9]+: +acc(uracy)?=(?P<v>.*)%$`:     "epoch 1: acc=12.50%",
		`no group`: "no group",
	} {
		if got := Sample(regexp.MustCompile(pattern), "12.50"); got != want && want != "" {
			t.Errorf("%s: got %q; want %q", pattern, got, want)
		}
	}
}

// Whatever the expression, what Sample gives is matched by it, or is empty.
func FuzzSample(f *testing.F) {
	f.Add(`^rate (?P<v>[0-9.]+)$`)
	f.Add(`a{3,}(?P<v>x|\d)[^a]\b`)
	f.Fuzz(func(t *testing.T, pattern string) {
		re, err := regexp.Compile(pattern)
		if err != nil || len(pattern) > 60 {
			return
		}
		if got := Sample(re, "1.5"); got != "" && !re.MatchString(got) {
			t.Errorf("%q does not match", got)
		}
	})
}
