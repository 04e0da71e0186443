package sandbox

import (
	"html"
	"net/http"
)

// Fixed IDs of the one image and the one network.
const (
	imageID   = "5a6e6462-6f78-4000-8000-000000000001"
	networkID = "5a6e6462-6f78-4000-8000-000000000002"
	subnetID  = "5a6e6462-6f78-4000-8000-000000000003"
)

// glance serves the one image.
func (s *Server) glance() {
	image := map[string]any{"id": imageID, "name": Image, "status": "active", "visibility": "public", "container_format": "bare", "disk_format": "raw",
		"min_disk": 0, "min_ram": 0, "size": 0, "tags": []string{}, "owner": projectID, "protected": false,
		"created_at": "2018-03-19T00:00:00Z", "updated_at": "2018-03-19T00:00:00Z"}
	s.root("/image", func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusMultipleChoices, map[string]any{"versions": []any{map[string]any{"id": "v2.9", "status": "CURRENT",
			"links": []any{map[string]any{"rel": "self", "href": s.base + "/image/v2/"}}}}})
	})
	s.mux.HandleFunc("GET /image/v2/images", s.auth(func(w http.ResponseWriter, r *http.Request) {
		list := []any{}
		if n := r.URL.Query().Get("name"); n == "" || n == Image {
			list = append(list, image)
		}
		reply(w, http.StatusOK, map[string]any{"images": list, "first": "/v2/images", "schema": "/v2/schemas/images"})
	}))
	s.mux.HandleFunc("GET /image/v2/images/{id}", s.auth(func(w http.ResponseWriter, r *http.Request) {
		if r.PathValue("id") != imageID {
			w.Header().Set("Content-Type", "text/html; charset=UTF-8")
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte("<html><head><title>404 Not Found</title></head><body><h1>404 Not Found</h1>No image found with ID " +
				html.EscapeString(r.PathValue("id")) + "<br /><br /></body></html>"))
			return
		}
		reply(w, http.StatusOK, image)
	}))
}
