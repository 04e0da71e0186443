package sandbox_test

import (
	"encoding/json"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"

	"dlx.dev/dlx/backends/sandbox"
)

// asTable is what kubectl accepts.
const asTable = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"

func (w *world) raw(accept string, path string) string {
	w.t.Helper()
	b, err := w.core.Get().AbsPath(path).SetHeader("Accept", accept).Do(w.t.Context()).Raw()
	if err != nil {
		w.t.Fatal(path, err)
	}
	return string(b)
}

// tableOf asks for a table, and gives its columns and cells as text.
func (w *world) tableOf(path string) (columns []string, rows [][]any) {
	w.t.Helper()
	var t metav1.Table
	if err := json.Unmarshal([]byte(w.raw(asTable, path)), &t); err != nil || t.Kind != "Table" {
		w.t.Fatalf("%s: %v, %+v", path, err, t.TypeMeta)
	}
	for _, c := range t.ColumnDefinitions {
		columns = append(columns, c.Name)
	}
	for _, r := range t.Rows {
		if len(r.Cells) != len(columns) || !strings.Contains(string(r.Object.Raw), `"kind":"PartialObjectMetadata"`) {
			w.t.Errorf("%s: row %v for columns %v, object %s", path, r.Cells, columns, r.Object.Raw)
		}
		rows = append(rows, r.Cells)
	}
	return columns, rows
}

func TestObjectsAreShownAsTables(t *testing.T) {
	inBothWorlds(t, 1, sandbox.Config{}, func(w *world) {
		w.createPod(sh("ends", "exit 3"))
		w.createPod(sh("stays", "sleep 1000"))
		w.running("stays")
		j := w.createJob(job("j", 2, "true"))
		until(w, w.batch, "jobs", j.Name, isOver)
		for path, want := range map[string][]string{
			"/api/v1/nodes":                              {"Name", "Status", "Roles", "Age", "Version"},
			"/api/v1/namespaces/default/pods":            {"Name", "Ready", "Status", "Restarts", "Age"},
			"/api/v1/namespaces/default/pods/stays":      {"Name", "Ready", "Status", "Restarts", "Age"},
			"/apis/batch/v1/namespaces/default/jobs":     {"Name", "Status", "Completions", "Duration", "Age"},
			"/api/v1/namespaces/default/services":        {"Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age"},
			"/api/v1/namespaces/default/events":          {"Last Seen", "Type", "Reason", "Object", "Message"},
			"/api/v1/namespaces/default/serviceaccounts": {"Name", "Age"},
			"/api/v1/namespaces":                         {"Name", "Status", "Age"},
			"/api/v1/namespaces/default/configmaps":      {"Name", "Data", "Age"},
			"/api/v1/namespaces/default/secrets":         {"Name", "Type", "Data", "Age"},
			"/api/v1/namespaces/default/resourcequotas":  {"Name", "Request", "Age"},
			"/api/v1/namespaces/default/limitranges":     {"Name", "Created At"},
			"/api/v1/persistentvolumeclaims":             {"Name", "Status", "Volume", "StorageClass", "Age"},
		} {
			if got, _ := w.tableOf(path); len(got) < len(want) || strings.Join(got[:len(want)], ",") != strings.Join(want, ",") {
				w.t.Errorf("%s: got columns %v; want %v first", path, got, want)
			}
		}
		_, rows := w.tableOf("/apis/batch/v1/namespaces/default/jobs/j")
		if rows[0][0] != "j" || rows[0][1] != "Complete" || rows[0][2] != "2/2" {
			w.t.Errorf("got job %v", rows[0])
		}
		_, rows = w.tableOf("/api/v1/namespaces/default/pods/stays")
		if rows[0][1] != "1/1" || rows[0][2] != "Running" {
			w.t.Errorf("got pod %v", rows[0])
		}
		_, rows = w.tableOf("/api/v1/namespaces/default/pods/ends")
		if rows[0][1] != "0/1" || rows[0][2] != "Error" {
			w.t.Errorf("got pod %v", rows[0])
		}
		if got := w.raw("application/json", "/api/v1/namespaces/default/pods/stays"); !strings.HasPrefix(got, `{"kind":"Pod"`) {
			w.t.Errorf("without a wish for a table got %.40s", got)
		}
	})
}

// A watch may be of tables as well.
func TestTablesAreWatched(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	r, err := w.core.Get().AbsPath("/api/v1/namespaces").Param("watch", "true").Param("timeoutSeconds", "1").SetHeader("Accept", asTable).Stream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var e struct {
		Type   string
		Object metav1.Table
	}
	if err := json.NewDecoder(r).Decode(&e); err != nil || e.Type != "ADDED" || len(e.Object.Rows) != 1 || e.Object.Rows[0].Cells[1] != "Active" {
		t.Errorf("got %+v, %v", e, err)
	}
}

// What clients ask about themselves comes as JSON or protobuf, and is answered in JSON.
func TestReviews(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	s := runtime.NewScheme()
	if err := authorizationv1.AddToScheme(s); err != nil {
		t.Fatal(err)
	}
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "create", Resource: "pods"}}}
	review.SetGroupVersionKind(schema.GroupVersionKind{Group: "authorization.k8s.io", Version: "v1", Kind: "SelfSubjectAccessReview"})
	var proto strings.Builder
	if err := protobuf.NewSerializer(s, s).Encode(review, &proto); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ path, media, body, want string }{
		{"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/json", `{"spec":{"resourceAttributes":{"verb":"create"}}}`, `"allowed":true`},
		{"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "application/vnd.kubernetes.protobuf", proto.String(), `"verb":"create"`},
		{"/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", "application/json", `{}`, `"resources":["*"]`},
		{"/apis/authentication.k8s.io/v1/selfsubjectreviews", "application/json", "", `"username":"admin"`},
	} {
		b, err := w.core.Post().AbsPath(c.path).SetHeader("Content-Type", c.media).Body([]byte(c.body)).Do(t.Context()).Raw()
		if err != nil || !strings.Contains(string(b), c.want) {
			t.Errorf("%s as %s: got %s, %v; want %s", c.path, c.media, b, err, c.want)
		}
	}
	if err := w.core.Post().AbsPath("/api/v1/namespaces/default/configmaps").SetHeader("Content-Type", "application/vnd.kubernetes.protobuf").Body([]byte("k8s\x00nothing")).Do(t.Context()).Error(); err == nil ||
		!strings.Contains(err.Error(), "no object in protobuf") {
		t.Errorf("got %v", err)
	}
}

// kubectl sends nothing before it knows that the server checks the fields.
func TestOpenAPISaysThatFieldsAreChecked(t *testing.T) {
	w := loopback(t, 1, sandbox.Config{})
	if got := w.raw("application/json", "/openapi/v3"); !strings.Contains(got, `"apis/batch/v1":{"serverRelativeURL":"/openapi/v3/apis/batch/v1"}`) {
		t.Errorf("got %s", got)
	}
	if got := w.raw("application/json", "/openapi/v3/apis/batch/v1"); !strings.Contains(got, `"name":"fieldValidation"`) {
		t.Errorf("got %s", got)
	}
}
