package openstack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
)

// Bodies as the real servers send them.
func TestAnswersHaveAClass(t *testing.T) {
	c := &cloud{client: &gophercloud.ProviderClient{}, secrets: []string{"p4ss"}}
	for _, x := range []struct {
		status int
		body   string
		class  backends.Class
		text   string
	}{
		{400, `{"badRequest": {"code": 400, "message": "Flavor nosuch could not be found."}}`, backends.Config, "Flavor nosuch could not be found. (400)"},
		{400, `{"badRequest": {"code": 400, "message": "The requested availability zone is not available"}}`, backends.Capacity, "not available (400)"},
		{401, `{"error": {"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."}}`, backends.Config, "requires authentication"},
		{403, `{"forbidden": {"code": 403, "message": "Quota exceeded for cores: Requested 2, but already used 12 of 8 cores"}}`, backends.Quota, "12 of 8 cores"},
		{403, `{"forbidden": {"code": 403, "message": "Policy doesn't allow os_compute_api:servers:create to be performed."}}`, backends.Config, "Policy"},
		{404, `{"itemNotFound": {"code": 404, "message": "Instance x could not be found."}}`, backends.Config, "Instance x"},
		{406, `{"computeFault": {"code": 406, "message": "Version 2.52 is not supported by the API. Minimum is 2.1 and maximum is 2.38."}}`, backends.Config, "maximum is 2.38"},
		{409, `{"conflictingRequest": {"code": 409, "message": "Key pair 'x' already exists."}}`, backends.Infra, "already exists"},
		{409, `{"NeutronError": {"type": "OverQuota", "message": "Quota exceeded for resources: ['port'].", "detail": ""}}`, backends.Quota, "port"},
		{413, `{"overLimit": {"code": 413, "message": "too many"}}`, backends.Quota, "too many"},
		{429, `{"overLimit": {"code": 429, "message": "slow down"}}`, backends.Transport, "slow down"},
		{500, `{"computeFault": {"code": 500, "message": "Unexpected API Error."}}`, backends.Infra, "Unexpected"},
		{501, `{"error": {"message": "the sandbox does not serve it"}}`, backends.Config, "does not serve"},
		{502, "<html><head><title>502</title></head><body><h1>Bad   Gateway</h1></body></html>", backends.Transport, "Bad Gateway (502)"},
		{503, ``, backends.Transport, "503 Service Unavailable"},
		{404, `{"error_message": "{\"faultcode\": \"Client\", \"faultstring\": \"Node nosuch could not be found.\", \"debuginfo\": null}"}`, backends.Config, "Node nosuch could not be found. (404)"},
		{404, `{"errors": [{"status": 404, "title": "x", "detail": "ClusterTemplate x could not be found."}]}`, backends.Config, "ClusterTemplate"},
		{400, `{"badRequest": {"message": "Invalid input for field/attribute user_data. Value: c2VjcmV0IGtleQ==. 'c2VjcmV0IGtleQ==' is too long"}}`, backends.Config, "Value: ..."},
		{500, `{"x": {"message": "it was p4ss"}}`, backends.Infra, "it was ***"},
	} {
		sdk := gophercloud.ErrUnexpectedResponseCode{Actual: x.status, Body: []byte(x.body), URL: "http://cloud", Method: "GET"}
		for _, err := range []error{
			c.fail(t.Context(), "op", sdk),
			c.fail(t.Context(), "op", fmt.Errorf("outer: %w", sdk)),
			c.fail(t.Context(), "op", &gophercloud.ErrErrorAfterReauthentication{ErrOriginal: sdk}),
		} {
			if backends.ClassOf(err) != x.class || !strings.Contains(err.Error(), x.text) {
				t.Errorf("%d %s: got %s: %v; want %s: %s", x.status, x.body, backends.ClassOf(err), err, x.class, x.text)
			}
			if s := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(s, "p4ss") || strings.Contains(s, "c2VjcmV0") {
				t.Errorf("a secret stands in %s", s)
			}
		}
	}
}

func TestErrorsWithoutAnAnswer(t *testing.T) {
	c := &cloud{client: &gophercloud.ProviderClient{}, secrets: []string{"p4ss"}}
	if err := c.fail(t.Context(), "op", errors.New("dial tcp: connection refused, p4ss")); backends.ClassOf(err) != backends.Transport || strings.Contains(err.Error(), "p4ss") {
		t.Errorf("got %v", err)
	}
	if err := c.fail(t.Context(), "op", &gophercloud.ErrEndpointNotFound{}); backends.ClassOf(err) != backends.Config {
		t.Errorf("got %v", err)
	}
	classed := backends.Errorf(backends.Quota, "op", "x")
	if err := c.fail(t.Context(), "op", classed); !errors.Is(err, classed) {
		t.Errorf("got %v", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := c.fail(ctx, "op", context.Canceled); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if c.fail(ctx, "op", nil) != nil {
		t.Error("no error became one")
	}
}

func TestLongMessagesAreCut(t *testing.T) {
	got := clip(strings.Repeat("ä", 1000))
	if len(got) > maxMessage+3 || !strings.HasSuffix(got, "...") {
		t.Errorf("got %d bytes", len(got))
	}
}

func TestFaultsHaveAClass(t *testing.T) {
	for text, want := range map[string]backends.Class{
		"No valid host was found. There are not enough hosts available.":        backends.Capacity,
		"Failed to process: no available nodes match the resource class probe.": backends.Capacity,
		"Quota exceeded for ports": backends.Quota,
		"Exceeded maximum number of retries. Exceeded max scheduling attempts 3 for x":                                  backends.Infra,
		"Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance x.": backends.Capacity,
		"Exceeded max scheduling attempts 3 for x. Last exception: Anti-affinity instance group policy was violated":    backends.Capacity,
		"": backends.Infra,
	} {
		if got := faultClass(text); got != want {
			t.Errorf("%q: got %s; want %s", text, got, want)
		}
	}
}

// Whatever a proxy or service answers, what is printed of it is one short line of text.
func FuzzMessageOf(f *testing.F) {
	f.Add([]byte(`{"badRequest": {"code": 400, "message": "Flavor nosuch could not be found."}}`))
	f.Add([]byte(`{"error_message": "{\"faultstring\": \"Node\"}"}`))
	f.Add([]byte(`{"error_message": {"faultstring": "x"}}`))
	f.Add([]byte("<html><title>502</title>\n<body>Bad Gateway</body>"))
	f.Add([]byte(`{"errors": [{"detail": "x"}]}`))
	f.Add([]byte(`{"errors": []}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if got := clip(messageOf(body)); len(got) > maxMessage+len("...") {
			t.Errorf("got %d bytes", len(got))
		}
	})
}

// Magnum hands on what other services have told it, pages of HTML among them.
func TestClusterError(t *testing.T) {
	o := &provider{cloud: &cloud{client: &gophercloud.ProviderClient{}, secrets: []string{"swordfish"}}}
	got := o.clusterError(&clusterView{Name: "k", Status: "CREATE_FAILED", Reason: "The resource could not be found.<br /><br />\n\n\n (HTTP 404) for swordfish",
		Faults: map[string]string{"worker": "No valid host was found."}})
	const want = "cluster k: it is in state CREATE_FAILED: The resource could not be found. (HTTP 404) for ***; worker: No valid host was found."
	if got.Error() != want || backends.ClassOf(got) != backends.Capacity {
		t.Errorf("got %s %v\nwant %s", backends.ClassOf(got), got, want)
	}
}
