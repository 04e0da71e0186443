package kubernetes

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMirrorFindsByKey(t *testing.T) {
	m := newMirror(&bell{}, func(p *corev1.Pod) []string { return []string{p.Labels["job"], "all"} })
	pod := func(name, job string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"job": job}}}
	}
	want := func(what string, keys ...string) {
		t.Helper()
		for _, k := range keys {
			key, names, _ := strings.Cut(k, "=")
			var got []string
			for _, p := range m.group(key) {
				got = append(got, p.Name)
			}
			slices.Sort(got)
			if strings.Join(got, " ") != names {
				t.Errorf("%s: of %s got %q; want %q", what, key, got, names)
			}
		}
	}
	for _, err := range []error{m.Add(pod("a", "x")), m.Add(pod("b", "x")), m.Add(pod("c", "y"))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	want("added", "x=a b", "y=c", "all=a b c", "z=")
	if err := m.Update(pod("b", "y")); err != nil {
		t.Fatal(err)
	}
	want("changed", "x=a", "y=b c", "all=a b c")
	if err := m.Delete(pod("c", "y")); err != nil {
		t.Fatal(err)
	}
	want("deleted", "y=b", "all=a b")
	if err := m.Replace([]any{pod("d", "z")}, ""); err != nil {
		t.Fatal(err)
	}
	want("listed anew", "x=", "y=", "z=d", "all=d")
	if err := m.Delete(pod("d", "z")); err != nil || len(m.groups) > 0 {
		t.Errorf("groups that are empty stay: %v, %v", m.groups, err)
	}
}
