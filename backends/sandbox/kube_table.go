package sandbox

import (
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
)

// column is one column of a kind's table, as kubectl shows it. What is wide is shown on demand.
type column struct {
	name string
	wide bool
	cell func(object) any
}

// tabular reports whether a client wants objects as rows of a table, of what it takes the thing
// it wants most.
func (c *call) tabular() bool {
	first, _, _ := strings.Cut(c.r.Header.Get("Accept"), ",")
	media, params, err := mime.ParseMediaType(first)
	return err == nil && media == "application/json" && params["as"] == "Table" && params["v"] == "v1" && params["g"] == metav1.GroupName
}

// table shows objects of the request's kind as rows.
func (c *call) table(rows []*record, version string) *metav1.Table {
	columns := c.kind.columns()
	t := &metav1.Table{TypeMeta: metav1.TypeMeta{Kind: "Table", APIVersion: metav1.SchemeGroupVersion.String()}, ListMeta: metav1.ListMeta{ResourceVersion: version},
		ColumnDefinitions: make([]metav1.TableColumnDefinition, 0, len(columns)), Rows: make([]metav1.TableRow, 0, len(rows))}
	for _, col := range columns {
		d := metav1.TableColumnDefinition{Name: col.name, Type: "string"}
		if col.name == "Name" {
			d.Format = "name"
		}
		if col.wide {
			d.Priority = 1
		}
		t.ColumnDefinitions = append(t.ColumnDefinitions, d)
	}
	for _, r := range rows {
		row := metav1.TableRow{Object: runtime.RawExtension{Raw: c.rowObject(r)}}
		for _, col := range columns {
			row.Cells = append(row.Cells, col.cell(r.obj))
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// rowObject is what a row carries of its object beside the cells: what the client says, or the metadata.
func (c *call) rowObject(r *record) []byte {
	switch metav1.IncludeObjectPolicy(c.r.URL.Query().Get("includeObject")) {
	case metav1.IncludeNone:
		return nil
	case metav1.IncludeObject:
		return whole(c.kind, r.raw)
	case metav1.IncludeMetadata:
	}
	var part struct {
		Metadata json.RawMessage `json:"metadata"`
	}
	_ = json.Unmarshal(r.raw, &part)
	return fmt.Appendf(nil, `{"kind":"PartialObjectMetadata","apiVersion":%q,"metadata":%s}`, metav1.SchemeGroupVersion, part.Metadata)
}

// sendTable answers with objects as a table.
func (c *call) sendTable(rows []*record, version uint64) {
	c.send(http.StatusOK, c.table(rows, strconv.FormatUint(version, 10)))
}

// age is how long ago something was, in the words of kubectl.
func age(t metav1.Time) string {
	if t.IsZero() {
		return "<unknown>"
	}
	return duration.HumanDuration(time.Since(t.Time))
}

// orNone is what kubectl shows where there is nothing.
func orNone(parts ...string) string {
	if text := strings.Join(parts, ","); text != "" {
		return text
	}
	return "<none>"
}

func created(o object) any { return age(o.GetCreationTimestamp()) }
