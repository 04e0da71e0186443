package sandbox

import (
	"encoding/json"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// rules answers a SelfSubjectRulesReview: whoever gets here may do everything.
func (c *call) rules() {
	var in struct {
		Spec struct {
			Namespace string `json:"namespace"`
		} `json:"spec"`
	}
	_ = json.NewDecoder(c.r.Body).Decode(&in)
	all := []any{map[string]any{"verbs": []string{"*"}, "apiGroups": []string{"*"}, "resources": []string{"*"}}}
	c.send(http.StatusCreated, map[string]any{"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "metadata": map[string]any{},
		"spec":   map[string]any{"namespace": in.Spec.Namespace},
		"status": map[string]any{"resourceRules": all, "nonResourceRules": []any{map[string]any{"verbs": []string{"*"}, "nonResourceURLs": []string{"*"}}}, "incomplete": false}})
}

// access answers a SelfSubjectAccessReview.
func (c *call) access() {
	var in map[string]any
	if err := json.NewDecoder(c.r.Body).Decode(&in); err != nil {
		c.fail(apierrors.NewBadRequest(err.Error()))
		return
	}
	in["kind"], in["apiVersion"], in["status"] = "SelfSubjectAccessReview", "authorization.k8s.io/v1", map[string]any{"allowed": true}
	c.send(http.StatusCreated, in)
}
