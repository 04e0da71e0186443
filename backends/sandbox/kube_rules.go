package sandbox

import (
	"encoding/json"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// review answers what a client asks about itself, and reports whether the path is of such a thing.
func (c *call) review(p string) bool {
	for name, r := range reviews {
		if p != apiPath(r.group, "v1")+"/"+name {
			continue
		}
		if c.r.Method != http.MethodPost {
			c.fail(statusError(http.StatusMethodNotAllowed, "MethodNotAllowed", "the server does not allow this method on the requested resource"))
			return true
		}
		in, err := c.readReview()
		if err != nil {
			c.fail(err)
			return true
		}
		in["kind"], in["apiVersion"], in["status"] = r.kind, r.group+"/v1", c.verdict(r.kind)
		if in["metadata"] == nil {
			in["metadata"] = map[string]any{}
		}
		c.send(http.StatusCreated, in)
		return true
	}
	return false
}

func (c *call) readReview() (map[string]any, *apierrors.StatusError) {
	if err := c.read(); err != nil {
		return nil, err
	}
	in := map[string]any{}
	if len(c.body) == 0 {
		return in, nil
	}
	if err := json.Unmarshal(c.body, &in); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return in, nil
}

// verdict is the status of a review: whoever gets here may do everything.
func (c *call) verdict(kind string) map[string]any {
	switch kind {
	case "SelfSubjectRulesReview":
		return map[string]any{
			"resourceRules":    []any{map[string]any{"verbs": []string{"*"}, "apiGroups": []string{"*"}, "resources": []string{"*"}}},
			"nonResourceRules": []any{map[string]any{"verbs": []string{"*"}, "nonResourceURLs": []string{"*"}}}, "incomplete": false,
		}
	case "SelfSubjectReview":
		return map[string]any{"userInfo": map[string]any{"username": c.user, "groups": append([]string{}, c.groups...)}}
	default:
		return map[string]any{"allowed": true}
	}
}
