package sandbox

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// accountFolder is where a pod finds the credentials of its account.
const accountFolder = "/var/run/secrets/kubernetes.io/serviceaccount"

const accountPrefix = "system:serviceaccount:"

// token is that of a service account. It is good for as long as the account exists. A real one is a
// JWT, which nobody but its cluster may read anything in either.
func (k *kube) token(a *corev1.ServiceAccount) string {
	name := a.Namespace + ":" + a.Name
	mac := hmac.New(sha256.New, []byte(k.c.CAKey))
	mac.Write([]byte(name + ":" + string(a.UID)))
	return base64.RawURLEncoding.EncodeToString([]byte(name)) + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// giveToken answers a TokenRequest. The end that it tells is the API server's default; nothing ends then.
func (c *call) giveToken() {
	if err := c.read(); err != nil {
		c.fail(err)
		return
	}
	var r authenticationv1.TokenRequest
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, &r); err != nil {
			c.fail(apierrors.NewBadRequest(err.Error()))
			return
		}
	}
	c.k.mu.Lock()
	a, ok := c.k.st.get(accounts, c.namespace, c.name).(*corev1.ServiceAccount)
	c.k.mu.Unlock()
	if !ok {
		c.fail(apierrors.NewNotFound(c.kind.gr(), c.name))
		return
	}
	r.TypeMeta = metav1.TypeMeta{APIVersion: authenticationv1.SchemeGroupVersion.String(), Kind: "TokenRequest"}
	if r.Spec.ExpirationSeconds == nil {
		r.Spec.ExpirationSeconds = ptr.To(int64(time.Hour / time.Second))
	}
	r.Status = authenticationv1.TokenRequestStatus{Token: c.k.token(a),
		ExpirationTimestamp: metav1.NewTime(time.Now().Add(time.Duration(*r.Spec.ExpirationSeconds) * time.Second).Truncate(time.Second))}
	c.send(http.StatusCreated, r)
}

// bearer finds whose token a request carries.
func (k *kube) bearer(header string) (user string, groups []string) {
	token, ok := strings.CutPrefix(header, "Bearer ")
	first, _, _ := strings.Cut(token, ".")
	b, err := base64.RawURLEncoding.DecodeString(first)
	if !ok || err != nil {
		return "", nil
	}
	ns, name, _ := strings.Cut(string(b), ":")
	k.mu.Lock()
	defer k.mu.Unlock()
	a, _ := k.st.get(accounts, ns, name).(*corev1.ServiceAccount)
	if a == nil || !hmac.Equal([]byte(k.token(a)), []byte(token)) {
		return "", nil
	}
	return accountPrefix + ns + ":" + name, []string{"system:serviceaccounts", "system:serviceaccounts:" + ns, "system:authenticated"}
}

// may reports whether roles allow what a call asks for.
func (c *call) may(groups []string) bool {
	if slices.Contains(groups, masters) {
		return true
	}
	c.k.mu.Lock()
	defer c.k.mu.Unlock()
	for _, b := range all[*rbacv1.ClusterRoleBinding](c.k.st, clusterRoleBindings, "") {
		if c.bound(b.Subjects, "", groups) && c.allowed(c.k.rules("", b.RoleRef)) {
			return true
		}
	}
	if c.namespace == "" {
		return false
	}
	for _, b := range all[*rbacv1.RoleBinding](c.k.st, roleBindings, c.namespace) {
		if c.bound(b.Subjects, b.Namespace, groups) && c.allowed(c.k.rules(b.Namespace, b.RoleRef)) {
			return true
		}
	}
	return false
}

// bound reports whether the caller is among the subjects of a binding in a namespace.
func (c *call) bound(subjects []rbacv1.Subject, ns string, groups []string) bool {
	return slices.ContainsFunc(subjects, func(s rbacv1.Subject) bool {
		switch s.Kind {
		case rbacv1.ServiceAccountKind:
			if s.Namespace != "" {
				ns = s.Namespace
			}
			return c.user == accountPrefix+ns+":"+s.Name
		case rbacv1.GroupKind:
			return slices.Contains(groups, s.Name)
		default:
			return c.user == s.Name
		}
	})
}

// rules are those of a role that a binding names. The caller holds k.mu.
func (k *kube) rules(ns string, ref rbacv1.RoleRef) []rbacv1.PolicyRule {
	if ref.Kind == "ClusterRole" {
		if r, ok := k.st.get(clusterRoles, "", ref.Name).(*rbacv1.ClusterRole); ok {
			return r.Rules
		}
		return nil
	}
	if r, ok := k.st.get(roles, ns, ref.Name).(*rbacv1.Role); ok {
		return r.Rules
	}
	return nil
}

func (c *call) allowed(rules []rbacv1.PolicyRule) bool {
	resource := c.kind.resource
	if c.sub != "" {
		resource += "/" + c.sub
	}
	has := func(list []string, what string) bool {
		return slices.Contains(list, what) || slices.Contains(list, "*")
	}
	return slices.ContainsFunc(rules, func(r rbacv1.PolicyRule) bool {
		return has(r.Verbs, c.verb) && has(r.APIGroups, c.kind.group) && has(r.Resources, resource) &&
			(len(r.ResourceNames) == 0 || slices.Contains(r.ResourceNames, c.name))
	})
}

// accountMount is the folder with the credentials of a pod's account, if makeAccount made one.
func (p *pod) accountMount() (m mount, ok bool) {
	m = mount{from: filepath.Join(p.dir, "account"), at: accountFolder, readOnly: true}
	return m, isFolder(m.from)
}

// makeAccount writes the credentials of a pod's account, unless the pod wants none.
func (p *pod) makeAccount() error {
	p.k.mu.Lock()
	a, _ := p.k.st.get(accounts, p.spec.Namespace, p.spec.Spec.ServiceAccountName).(*corev1.ServiceAccount)
	p.k.mu.Unlock()
	if a == nil || !ptr.Deref(p.spec.Spec.AutomountServiceAccountToken, ptr.Deref(a.AutomountServiceAccountToken, true)) {
		return nil
	}
	return writeFiles(filepath.Join(p.dir, "account"), map[string][]byte{"token": []byte(p.k.token(a)), "ca.crt": []byte(p.k.c.CA), "namespace": []byte(p.spec.Namespace)}, nil, 0o644)
}
