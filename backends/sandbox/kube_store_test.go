package sandbox

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestStoreComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c", "journal.jsonl")
	open := func() *store {
		t.Helper()
		st, err := openStore(path, t.Logf)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(st.close)
		return st
	}
	st := open()
	for _, name := range []string{"a", "b", "c"} {
		st.put(configMaps, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, UID: types.UID(name)}})
	}
	a, _ := st.get(configMaps, "n", "a").(*corev1.ConfigMap)
	edit(st, configMaps, a, func(m *corev1.ConfigMap) { m.Data = map[string]string{"k": "v"} })
	edit(st, configMaps, a, func(m *corev1.ConfigMap) { m.Data = map[string]string{"k": "v"} }) // changes nothing
	st.remove(configMaps, st.get(configMaps, "n", "b"))
	st.remove(configMaps, a) // as it was: it is another now, but the same object
	edit(st, configMaps, a, func(m *corev1.ConfigMap) { m.Data = nil })
	if st.rv != 7 || len(st.list(configMaps, "")) != 1 {
		t.Errorf("got version %d, %d objects", st.rv, len(st.list(configMaps, "")))
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(`{"rv":8,"resource":"configmaps","obj`); err != nil { // torn
		t.Fatal(err)
	}
	f.Close()
	for range 2 {
		again := open()
		if c := again.get(configMaps, "n", "c"); again.rv != 7 || len(again.list(configMaps, "n")) != 1 || c == nil || c.GetResourceVersion() != "4" {
			t.Errorf("got version %d, %v", again.rv, c)
		}
	}
	if len(st.history) != 6 || st.history[0].rv != 2 {
		t.Errorf("got history of %d", len(st.history))
	}
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)"}
	for in, want := range map[string]string{
		"$(A) $(B)": "1 $(A)", "$$(A)": "$(A)", "$(C)": "$(C)", "$A $$ $(": "$A $ $(", "$$$(A)": "$1",
	} {
		if got := expand(in, vars); got != want {
			t.Errorf("%q: got %q; want %q", in, got, want)
		}
	}
}

func TestIndexes(t *testing.T) {
	for _, s := range []string{"", "0", "0,1", "0-2", "0,2,4-7,9"} {
		if got := formatIndexes(parseIndexes(s)); got != s {
			t.Errorf("got %q; want %q", got, s)
		}
	}
}

func TestTranslate(t *testing.T) {
	p := &pod{dir: "/p", spec: &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v"}, {Name: "w"}}}}}
	c := &container{p: p, spec: &corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/dlx"}, {Name: "w", MountPath: "/dlx/deep"}}}}
	for in, want := range map[string]string{
		"/dlx": "/p/volumes/v", "/dlx/x": "/p/volumes/v/x", "/dlx/deep/y": "/p/volumes/w/y", "/dlxx": "/dlxx", "/a/dlx": "/a/dlx",
		`cd "/dlx"; ls /dlx/`: `cd "/p/volumes/v"; ls /p/volumes/v/`, "a=/dlx:/dlx": "a=/p/volumes/v:/p/volumes/v",
	} {
		if got := c.translate(in); got != want {
			t.Errorf("%q: got %q; want %q", in, got, want)
		}
	}
}

func TestJSONPatch(t *testing.T) {
	const doc = `{"a":{"b/c":1},"l":[1,2]}`
	for patch, want := range map[string]string{
		`[{"op":"add","path":"/a/x","value":2}]`:                                      `{"a":{"b/c":1,"x":2},"l":[1,2]}`,
		`[{"op":"replace","path":"/a/b~1c","value":3}]`:                               `{"a":{"b/c":3},"l":[1,2]}`,
		`[{"op":"add","path":"/l/1","value":9},{"op":"add","path":"/l/-","value":8}]`: `{"a":{"b/c":1},"l":[1,9,2,8]}`,
		`[{"op":"remove","path":"/l/0"},{"op":"test","path":"/l/0","value":2}]`:       `{"a":{"b/c":1},"l":[2]}`,
		`[{"op":"remove","path":"/nosuch"}]`:                                          "",
		`[{"op":"test","path":"/l/0","value":5}]`:                                     "",
		`[{"op":"replace","path":"/l/7","value":5}]`:                                  "",
		`[{"op":"move","path":"/a","from":"/l"}]`:                                     "",
	} {
		got, err := jsonPatch([]byte(doc), []byte(patch))
		if string(got) != want || (err == nil) != (want != "") {
			t.Errorf("%s: got %s, %v; want %s", patch, got, err, want)
		}
	}
}

func FuzzJSONPatch(f *testing.F) {
	f.Add([]byte(`{"a":{"b/c":1},"l":[1,2]}`), []byte(`[{"op":"add","path":"/l/1","value":9},{"op":"remove","path":"/a/b~1c"},{"op":"test","path":"","value":1}]`))
	f.Fuzz(func(t *testing.T, doc, patch []byte) {
		if out, err := jsonPatch(doc, patch); err == nil && !json.Valid(out) {
			t.Errorf("got %q", out)
		}
	})
}

func FuzzTranslate(f *testing.F) {
	p := &pod{dir: "/p", spec: &corev1.Pod{Spec: corev1.PodSpec{Volumes: []corev1.Volume{{Name: "v"}}}}}
	c := &container{p: p, spec: &corev1.Container{VolumeMounts: []corev1.VolumeMount{{Name: "v", MountPath: "/dlx"}}}}
	f.Add("ls /dlx/x")
	f.Fuzz(func(t *testing.T, s string) {
		if got := c.translate(s); !strings.Contains(s, "/dlx") && got != s {
			t.Errorf("%q became %q", s, got)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b) S 1 12 12 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 4711 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if pid, born := parseStat(line); born != "" && pid < 0 && parentOf(line) < 0 {
			t.Errorf("got %d, %s", pid, born)
		}
	})
}
