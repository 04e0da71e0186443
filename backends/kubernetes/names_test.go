package kubernetes

import (
	"strings"
	"testing"

	"dlx.dev/dlx/backends"
)

func TestNamesAreDNSLabelsThatTellOwnersApart(t *testing.T) {
	seen := map[string]string{}
	long := strings.Repeat("a", 63)
	for _, o := range []backends.Owner{
		{Run: "r1", Fleet: "a"}, {Run: "R1", Fleet: "a"}, {Run: "r1-a", Fleet: "b"}, {Run: "r1", Fleet: "a-b"}, {Run: strings.Repeat("r", 32), Fleet: long},
		{Run: strings.Repeat("r", 32), Fleet: long[1:] + "b"}, {Run: "-", Fleet: "x"},
	} {
		for what, name := range map[string]string{
			"owner": ownerName(o), "holder m": holderName(o, "m"), "holder " + long: holderName(o, long), "job": jobName(o, "single/model=alexnet/r1/worker"),
			"job 2": jobName(o, "single/model=alexnet.r1/worker"), "job 3": jobName(o, "="), "job 4": jobName(o, strings.Repeat("long/", 60)),
		} {
			if !dnsLabel.MatchString(name) || len(name) > maxLabel || strings.HasPrefix(what, "job") && len(name)+6 > maxLabel {
				t.Errorf("%s of %v: %q is no DNS label", what, o, name)
			}
			if before, ok := seen[name]; ok {
				t.Errorf("%s of %v has the name of %s: %q", what, o, before, name)
			}
			seen[name] = what + " of " + o.Run + " " + o.Fleet
		}
	}
	if got := jobName(backends.Owner{Run: "r1", Fleet: "f"}, "single/model=alexnet/r1/worker"); !strings.HasPrefix(got, "single-model-alexnet-r1-worker-") {
		t.Errorf("got %q; want it readable", got)
	}
}

func TestNamespaceOfARun(t *testing.T) {
	if got := namespaceName("r20180319"); got != "dlx-r20180319" {
		t.Errorf("got %q", got)
	}
	if a, b := namespaceName("R20180319"), namespaceName("r20180319-"); a == b || !dnsLabel.MatchString(a) || !dnsLabel.MatchString(b) {
		t.Errorf("got %q and %q", a, b)
	}
}

func TestLabelsHoldWhatTheyCan(t *testing.T) {
	for in, want := range map[string]string{"r1": "r1", "R1.a_b": "R1.a_b", "vm-1": "vm-1"} {
		if got := label(in); got != want {
			t.Errorf("%q: got %q", in, got)
		}
	}
	for _, in := range []string{"", "-", "a-", "a b", strings.Repeat("a", 64)} {
		if got := label(in); !value.MatchString(got) || got == in {
			t.Errorf("%q: got %q", in, got)
		}
	}
}

func FuzzGroupOf(f *testing.F) {
	for _, s := range []string{"single/worker-0", "a-b-12", "-1", "a-01", "a-+1", "a", "a-", "nobody/0", "a--1", "a-99999999999999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, id string) {
		group, i, ok := groupOf(id)
		if ok && (backends.ProcessID(group, i) != id || group == "" || i < 0) {
			t.Errorf("%q: got %q, %d", id, group, i)
		}
	})
}

func TestAddressIsKnownBefore(t *testing.T) {
	l := New(Options{})
	m := backends.Machine{Name: "m0", Address: "10.0.0.1", Access: backends.Access{Kubernetes: &backends.Kubernetes{
		Namespace: "bench", Owner: backends.Owner{Run: "r1", Fleet: "f"}, Pod: []byte(`{"image": "x"}`)}}}
	if got, want := l.Address(m, "trial/ps", 2), "trial-ps-r1-f-"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "-2.dlx-r1-f-"+hash("r1 f")+".bench.svc") {
		t.Errorf("got %q; want %s...", got, want)
	}
	m.Access.Kubernetes.Pod = []byte(`{"image": "x", "hostNetwork": true}`)
	if got := l.Address(m, "trial/ps", 2); got != "10.0.0.1" {
		t.Errorf("on the network of the host: got %q", got)
	}
}
