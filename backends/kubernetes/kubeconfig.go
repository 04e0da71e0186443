package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// quoted matches what a YAML error quotes from the file, which may be a password.
var quoted = regexp.MustCompile("`[^`]*`")

// unreadable says what is wrong with a kubeconfig without quoting from it.
func unreadable(err error) error {
	return errors.New(quoted.ReplaceAllString(err.Error(), "`...`"))
}

// accountDir is where a pod finds the credentials of its service account.
const accountDir = "/var/run/secrets/kubernetes.io/serviceaccount/"

// load finds the cluster that the settings name and gives a kubeconfig with it alone, credentials
// inline.
func load(c Config) ([]byte, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.WarnIfAllMissing = false
	if c.Kubeconfig != "" {
		rules.ExplicitPath = c.Kubeconfig
	}
	raw, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{CurrentContext: c.Context}).RawConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	if c.Context != "" {
		raw.CurrentContext = c.Context
	}
	if raw.CurrentContext == "" && len(raw.Clusters) == 0 && c.Kubeconfig == "" {
		inside, err := inCluster()
		if err != nil {
			return nil, err
		}
		raw = *inside
	}
	if _, ok := raw.Contexts[raw.CurrentContext]; !ok {
		return nil, fmt.Errorf("kubeconfig: no context %q", raw.CurrentContext)
	}
	if err := clientcmdapi.MinifyConfig(&raw); err != nil {
		return nil, fmt.Errorf("kubeconfig: context %q: %w", raw.CurrentContext, unreadable(err))
	}
	if err := clientcmdapi.FlattenConfig(&raw); err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	out, err := clientcmd.Write(raw)
	if err != nil {
		return nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	return out, nil
}

// inCluster describes the cluster that dlx runs in. The token stays in its file, which the
// cluster renews.
func inCluster() (*clientcmdapi.Config, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if _, err := os.Stat(accountDir + "token"); host == "" || port == "" || err != nil {
		return nil, errors.New("no cluster: neither a kubeconfig (KUBECONFIG, ~/.kube/config) nor the service account of a pod")
	}
	out := clientcmdapi.NewConfig()
	out.Clusters["in"] = &clientcmdapi.Cluster{Server: "https://" + net.JoinHostPort(host, port), CertificateAuthority: accountDir + "ca.crt"}
	out.AuthInfos["in"] = &clientcmdapi.AuthInfo{TokenFile: accountDir + "token"}
	out.Contexts["in"] = &clientcmdapi.Context{Cluster: "in", AuthInfo: "in"}
	out.CurrentContext = "in"
	if ns, err := os.ReadFile(accountDir + "namespace"); err == nil {
		out.Contexts["in"].Namespace = string(ns)
	}
	return out, nil
}

// restConfig gives the way to the cluster of a kubeconfig, and the texts that no message may hold.
func restConfig(kubeconfig []byte, log func(string, ...any)) (*rest.Config, []string, error) {
	cfg, err := clientcmd.RESTConfigFromKubeConfig(kubeconfig)
	if err != nil {
		return nil, nil, fmt.Errorf("kubeconfig: %w", unreadable(err))
	}
	if cfg.ExecProvider != nil {
		cfg.ExecProvider.StdinUnavailable = true
		cfg.ExecProvider.StdinUnavailableMessage = "dlx asks nothing while it runs; log in beforehand"
	}
	cfg.UserAgent = "dlx"
	cfg.QPS = -1 // the server's own 429 and Retry-After are the brake; the default of 5/s makes a batch 500 times slower
	cfg.WarningHandlerWithContext = warnings(log)
	secrets := []string{cfg.BearerToken, cfg.Password}
	if len(cfg.KeyData) > 0 {
		secrets = append(secrets, string(cfg.KeyData))
	}
	return cfg, secrets, nil
}

// warnings is where warnings of the API server go.
type warnings func(string, ...any)

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (w warnings) HandleWarningHeaderWithContext(_ context.Context, code int, _, text string) {
	if code == 299 && text != "" { // the only code that Kubernetes uses
		w("kubernetes: the API server warns: %s", text)
	}
}
