package openstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/gophercloud/gophercloud/v2"

	"dlx.dev/dlx/backends"
)

// A refusal is what a service answered, in its own words, cut and without secrets. The SDK's
// error is not wrapped: its text holds the whole body.
type refusal struct {
	status  int
	message string
}

func (r *refusal) Error() string {
	if r.message == "" {
		return fmt.Sprintf("%d %s", r.status, http.StatusText(r.status))
	}
	return fmt.Sprintf("%s (%d)", r.message, r.status)
}

// notFound reports whether a service does not know the thing.
func notFound(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusNotFound
}

// refusalOf gives the answer behind an error, if there was one.
func refusalOf(err error) *refusal {
	var r *refusal
	errors.As(err, &r)
	return r
}

func conflict(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.status == http.StatusConflict
}

// overtaken reports whether a node of Ironic was in another state than it was seen in: another call for the
// same fleet was faster. Ironic has no code of its own for that.
func overtaken(err error) bool {
	r := refusalOf(err)
	return r != nil && r.status == http.StatusBadRequest && strings.Contains(r.message, "while it is in state")
}

// fail gives an error of the SDK its class and takes secrets out of its text.
func (c *cloud) fail(ctx context.Context, op string, err error) error {
	var classed *backends.Error
	var code gophercloud.ErrUnexpectedResponseCode
	switch {
	case err == nil:
		return nil
	case errors.As(err, &classed):
		return err
	case ctx.Err() != nil:
		return fmt.Errorf("%s: %w", op, context.Cause(ctx))
	}
	// The SDK wraps what came after a new login in types that do not unwrap.
	var after *gophercloud.ErrErrorAfterReauthentication
	if errors.As(err, &after) && after.ErrOriginal != nil {
		err = after.ErrOriginal
	}
	var login *gophercloud.ErrUnableToReauthenticate
	if errors.As(err, &login) && login.ErrReauth != nil {
		err = login.ErrReauth
	}
	if !errors.As(err, &code) {
		var none *gophercloud.ErrEndpointNotFound
		if errors.As(err, &none) {
			return backends.Errorf(backends.Config, op, "the cloud's catalog has no such service in this region")
		}
		return &backends.Error{Class: backends.Transport, Op: op, Err: errors.New(c.redact(err.Error()))}
	}
	r := &refusal{status: code.Actual, message: c.redact(clip(messageOf(code.Body)))}
	return &backends.Error{Class: classOf(r.status, r.message), Op: op, Err: r}
}

// classOf judges an answer. The codes are those that real services send: quota is 403 in Nova,
// 413 in older ones, 409 in Neutron.
func classOf(status int, message string) backends.Class {
	quota := strings.Contains(message, "Quota exceeded") || strings.Contains(message, "OverQuota") || strings.Contains(message, "limit exceeded")
	switch {
	case quota, status == http.StatusRequestEntityTooLarge:
		return backends.Quota
	case strings.Contains(message, "availability zone is not available"):
		return backends.Capacity // that there is such a zone is known before: all its hosts are down or disabled
	case strings.Contains(message, "No more IP addresses available"):
		return backends.Capacity // of an external network, or of a subnet
	case status == http.StatusTooManyRequests, status == http.StatusBadGateway, status == http.StatusServiceUnavailable, status == http.StatusGatewayTimeout,
		status == http.StatusRequestTimeout:
		return backends.Transport
	case status >= 500 && status != http.StatusNotImplemented, status == http.StatusConflict:
		return backends.Infra
	default:
		return backends.Config
	}
}

// faultClass judges why a server is in ERROR. The code is 500 for almost everything.
func faultClass(message string) backends.Class {
	switch {
	case strings.Contains(message, "No valid host"), strings.Contains(message, "no available nodes match"), strings.Contains(message, "Insufficient compute resources"),
		strings.Contains(message, "could not reserve any of"), strings.Contains(message, "nodes were filtered out during reservation"), // others were faster
		strings.Contains(message, "Exhausted all hosts available"), // each that would do was tried, and has reasons of its own, which are not told
		strings.Contains(message, "group policy was violated"):     // others asked for servers of the group at the same time
		return backends.Capacity
	case strings.Contains(message, "Quota exceeded"), strings.Contains(message, "OverQuota"), strings.Contains(message, "Exceeded quota"):
		return backends.Quota
	default:
		return backends.Infra
	}
}

// plain takes what a page has for the eye out of a text.
func plain(s string) string {
	return strings.Join(strings.Fields(markup.ReplaceAllString(s, " ")), " ")
}

// messageOf finds the words in a body. Each service has its own shape: {"forbidden": {"message"}},
// {"error": {"message"}}, {"NeutronError": {"message"}}, {"error_message": "<JSON in a string>"},
// {"errors": [{"detail"}]}, or HTML.
func messageOf(body []byte) string {
	var doc map[string]json.RawMessage
	if json.Unmarshal(body, &doc) != nil {
		return plain(string(body))
	}
	if raw, ok := doc["error_message"]; ok {
		var inner struct {
			Fault string `json:"faultstring"`
		}
		var text string
		if json.Unmarshal(raw, &text) == nil {
			if json.Unmarshal([]byte(text), &inner) == nil && inner.Fault != "" {
				return inner.Fault
			}
			return text
		}
		if json.Unmarshal(raw, &inner) == nil {
			return inner.Fault
		}
	}
	for _, raw := range doc {
		var one struct {
			Message string `json:"message"`
		}
		var list []struct {
			Detail string `json:"detail"`
		}
		switch {
		case json.Unmarshal(raw, &one) == nil && one.Message != "":
			return one.Message
		case json.Unmarshal(raw, &list) == nil && len(list) > 0:
			return list[0].Detail
		}
	}
	return ""
}

var (
	markup = regexp.MustCompile(`(?s)<title>.*?</title>|<[^>]*>`)
	echo   = regexp.MustCompile(`(?s) Value: .*`) // Nova repeats what it was sent: user data holds a key
)

// maxMessage is about three lines of a terminal.
const maxMessage = 300

func clip(s string) string {
	s = echo.ReplaceAllString(s, " Value: ...")
	if len(s) > maxMessage {
		s = strings.ToValidUTF8(s[:maxMessage], "") + "..."
	}
	return s
}

// redact takes the credentials out of a text, whoever put them there.
func (c *cloud) redact(s string) string {
	for _, secret := range c.secrets {
		if secret != "" {
			s = strings.ReplaceAll(s, secret, "***")
		}
	}
	if t := c.client.Token(); t != "" {
		s = strings.ReplaceAll(s, t, "***")
	}
	return s
}
