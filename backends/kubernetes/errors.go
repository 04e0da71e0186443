package kubernetes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// A refusal is what the API server answered, in its own words, cut and without secrets. The SDK's
// error is not wrapped: its text holds whatever came.
type refusal struct {
	status  int
	reason  metav1.StatusReason
	message string
}

func (r *refusal) Error() string {
	if r.message == "" {
		return fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("%s (%d)", r.message, r.status)
}

func notFound(err error) bool { return apierrors.IsNotFound(err) }
func exists(err error) bool   { return apierrors.IsAlreadyExists(err) }

// forbidden reports whether the login may not do it. What a quota or a namespace that goes
// forbids is something else.
func forbidden(err error) bool {
	return apierrors.IsForbidden(err) && classOf(http.StatusForbidden, err.Error()) == backends.Config
}

// fail gives an error of the SDK its class and takes secrets out of its text.
func (c *client) fail(ctx context.Context, op string, err error) error {
	var classed *backends.Error
	var answer apierrors.APIStatus
	var certificate *tls.CertificateVerificationError
	var authority x509.UnknownAuthorityError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && !errors.As(err, &classed):
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	case errors.As(err, &classed):
		return &backends.Error{Class: classed.Class, Op: op, Err: err}
	case errors.As(err, &answer):
		s := answer.Status()
		r := &refusal{status: int(s.Code), reason: s.Reason, message: clip(c.redact(s.Message))}
		return &backends.Error{Class: classOf(r.status, s.Message), Op: op, Err: r}
	}
	class, text := backends.Transport, clip(c.redact(err.Error()))
	switch {
	case errors.As(err, &certificate), errors.As(err, &authority):
		class = backends.Config
	case strings.Contains(text, "getting credentials: "): // an exec plugin that is missing or fails: client-go gives it no type
		class = backends.Config
	}
	return &backends.Error{Class: class, Op: op, Err: errors.New(text)}
}

// classOf judges an answer. A quota, and a namespace that is being removed, are 403 as a missing
// permission is; only the words tell them apart.
func classOf(status int, message string) backends.Class {
	switch {
	case strings.Contains(message, "exceeded quota"):
		return backends.Quota
	case strings.Contains(message, "is being terminated"):
		return backends.Infra
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout,
		status == http.StatusRequestTimeout:
		return backends.Transport
	case status >= 500 && status != http.StatusNotImplemented, status == http.StatusConflict, status == http.StatusGone:
		return backends.Infra
	default:
		return backends.Config
	}
}

// maxMessage is about five lines of a terminal: what a scheduler says of a few kinds of nodes.
const maxMessage = 500

func clip(s string) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return s
}
