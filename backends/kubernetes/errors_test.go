package kubernetes

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

func status(code int32, message string) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Message: message}}
}

func TestClassesOfErrors(t *testing.T) {
	c := &client{secrets: []string{"s3cret"}}
	for _, e := range []struct {
		err   error
		class backends.Class
	}{
		{status(401, "Unauthorized"), backends.Config},
		{status(403, `jobs.batch is forbidden: User "nobody" cannot create resource "jobs" in API group "batch" in the namespace "x"`), backends.Config},
		{status(403, `pods "p2" is forbidden: exceeded quota: gpus, requested: requests.nvidia.com/gpu=2`), backends.Quota},
		{status(403, `pods "p" is forbidden: unable to create new content in namespace x because it is being terminated`), backends.Infra},
		{status(404, `namespaces "x" not found`), backends.Config},
		{status(409, "Operation cannot be fulfilled on pods: the object has been modified"), backends.Infra},
		{status(410, "The resourceVersion for the provided list is too old."), backends.Infra},
		{status(413, "Request entity too large: limit is 3145728"), backends.Config},
		{status(422, "Pod is invalid: spec.containers[0].image: Required value"), backends.Config},
		{status(429, "Too many requests, please try again later."), backends.Transport},
		{status(500, "etcdserver: request timed out"), backends.Infra},
		{status(503, "the server is currently unable to handle the request"), backends.Transport},
		{status(504, "Too large resource version"), backends.Transport},
		{syscall.ECONNREFUSED, backends.Transport},
		{errors.New("getting credentials: exec: executable gke-gcloud-auth-plugin not found"), backends.Config},
		{&upgradeError{status: "400 Bad Request"}, backends.Transport},
		{&upgradeError{answer: &metav1.Status{Code: http.StatusForbidden, Message: `pods "x" is forbidden: User "u" cannot create resource "pods/exec"`}}, backends.Config},
	} {
		err := c.fail(t.Context(), "try", e.err)
		if got := backends.ClassOf(err); got != e.class {
			t.Errorf("%v: got %s; want %s", e.err, got, e.class)
		}
		if len(err.Error()) > 25 && !strings.Contains(err.Error(), e.err.Error()[:20]) {
			t.Errorf("%v: got %v; want its words", e.err, err)
		}
	}
	if err := c.fail(t.Context(), "try", status(500, "it repeats s3cret")); strings.Contains(err.Error(), "s3cret") {
		t.Errorf("got %v", err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if err := c.fail(ctx, "try", context.Canceled); !errors.Is(err, why) {
		t.Errorf("got %v; want %v", err, why)
	}
}

func FuzzStatusOf(f *testing.F) {
	f.Add(`{"metadata":{},"status":"Success"}`)
	f.Add(`{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`)
	f.Add(`{"status":"Failure","reason":"InternalError","message":"error executing command in container"}`)
	f.Add(`{`)
	f.Fuzz(func(t *testing.T, text string) {
		var code exitStatus
		if err := statusOf(strings.NewReader(text)); errors.As(err, &code) && !strings.Contains(text, "NonZeroExitCode") && !strings.Contains(text, `\u`) {
			t.Errorf("%q: got %v", text, err)
		}
	})
}

func TestStatusOfACommand(t *testing.T) {
	var code exitStatus
	err := statusOf(strings.NewReader(`{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}`))
	if !errors.As(err, &code) || code != 3 {
		t.Errorf("got %v; want 3", err)
	}
	if err := statusOf(strings.NewReader(`{"status":"Success"}`)); err != nil {
		t.Errorf("got %v", err)
	}
	if err := statusOf(strings.NewReader(`{"status":"Failure","message":"container not found"}`)); err == nil || errors.As(err, &code) || !strings.Contains(err.Error(), "container not found") {
		t.Errorf("got %v", err)
	}
}
