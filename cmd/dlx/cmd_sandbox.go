package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/all"
	"dlx.dev/dlx/backends/sandbox"
	"dlx.dev/dlx/spec"
	"dlx.dev/dlx/spec/diag"
	"dlx.dev/dlx/spec/words"
)

func newSandbox() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sandbox",
		Short: "The embedded clouds, for other clients",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newServe())
	return cmd
}

func newServe() *cobra.Command {
	var s served
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve an OpenStack and a Kubernetes on loopback until interrupted",
		Long: `serve plays an OpenStack (Keystone, Nova, Glance, Neutron, Ironic, Magnum) and a
Kubernetes cluster at addresses of this computer, for openstack, kubectl and any
other client. Servers and nodes are folders with an SSH server, pods are processes:
all of them run on this computer, as you.

It writes to its folder

  clouds.yaml, kubeconfig   how clients log in
  testbed.cue               for dlx run --testbed: the sandbox as any other cloud
  state/                    what exists

and prints what to copy into another terminal, and the SSH port of all machines.
SIGINT and SIGTERM end it and all that was made there, and remove these files. After
kill -9 the same command goes on with what was there, at the same addresses. What it
does not serve it answers with 404 or 501 and says so.`,
		Example: `  dlx sandbox serve
  export OS_CLIENT_CONFIG_FILE=sandbox/clouds.yaml OS_CLOUD=sandbox KUBECONFIG=sandbox/kubeconfig
  openstack server list
  kubectl get nodes
  dlx run STUDY --testbed sandbox/testbed.cue`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			return s.run(ctx, cmd)
		},
	}
	cmd.Flags().StringVar(&s.dir, "dir", "sandbox", "`FOLDER` for the files and the state")
	cmd.Flags().StringVarP(&s.testbed, "testbed", "T", "sandbox", "the testbed whose cloud of backend sandbox is served: a CUE file, or a `NAME`")
	return cmd
}

// served is a sandbox that is served.
type served struct {
	dir, testbed string
}

// Names in the folder of a served sandbox.
const (
	cloudsFile     = "clouds.yaml"
	kubeconfigFile = "kubeconfig"
	testbedFile    = "testbed.cue"
	standing       = "sandbox" // the cluster that stands already
)

// endPatience is how long requests that are being answered may hold up the end.
const endPatience = 5 * time.Second

func (s *served) run(ctx context.Context, cmd *cobra.Command) (err error) {
	c, err := s.config(ctx)
	if err != nil {
		return err
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return usage(err)
	}
	c.State, c.Keep = filepath.Join(dir, stateDir), true
	srv, err := sandbox.Start(ctx, c)
	if errors.Is(err, sandbox.ErrInUse) {
		return &exitError{exitEnvironment, fmt.Errorf("%s: another dlx sandbox serve uses this folder: end that one, or choose another with --dir", s.dir)}
	}
	if err != nil {
		return &exitError{exitEnvironment, err}
	}
	defer func() {
		if e := end(ctx, srv, dir); err == nil && e != nil {
			err = &exitError{exitLeft, e}
		}
	}()
	if err := write(srv, dir, c.Hosts); err != nil {
		return &exitError{exitEnvironment, err}
	}
	s.tell(cmd, dir, srv.Port())
	<-ctx.Done()
	fmt.Fprintln(cmd.ErrOrStderr(), "ending all that runs here")
	return nil
}

// config finds out of the testbed what the sandbox is to be like.
func (s *served) config(ctx context.Context) (sandbox.Config, error) {
	tb, err := spec.LoadTestbed(ctx, s.testbed, ".", spec.Options{})
	var mistakes diag.List
	if err := collect(&mistakes, err, testbedDir(s.testbed, ".")); err != nil {
		return sandbox.Config{}, err
	}
	if err := mistakes.Err(); err != nil {
		return sandbox.Config{}, usage(err)
	}
	var found []spec.Cloud
	for _, c := range tb.Clouds {
		if c.Backend == "sandbox" {
			found = append(found, c)
		}
	}
	if len(found) != 1 {
		return sandbox.Config{}, usage(fmt.Errorf("testbed %s: has %s of backend sandbox: one can be served", s.testbed, words.Count(len(found), "cloud")))
	}
	c, err := all.SandboxConfig(backends.Options{Cloud: found[0].Name, Config: found[0].Config})
	if err != nil {
		return c, usage(err)
	}
	if c.Hosts == 0 {
		c.Hosts = 2 // as the sandbox itself: here the nodes of the cluster are as many
	}
	return c, nil
}

// write writes the files that clients need. Those with secrets are for this user alone.
func write(srv *sandbox.Server, dir string, nodes int) error {
	kubeconfig, err := srv.Cluster(standing, nodes)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, kubeconfigFile)
	return errors.Join(
		renameio.WriteFile(filepath.Join(dir, cloudsFile), srv.CloudsYAML(), 0o600),
		renameio.WriteFile(path, kubeconfig, 0o600),
		renameio.WriteFile(filepath.Join(dir, testbedFile), srv.Testbed(path), 0o644),
	)
}

// tell prints what a user copies. Paths are whole ones: the other terminal may be anywhere.
func (s *served) tell(cmd *cobra.Command, dir string, port int) {
	in := func(file string) string { return quoteWord(filepath.Join(dir, file)) }
	fmt.Fprintf(cmd.OutOrStdout(), `clouds:     %s
kubeconfig: %s

export OS_CLIENT_CONFIG_FILE=%s OS_CLOUD=%s
export KUBECONFIG=%s
dlx run STUDY --testbed %s
ssh -p %d %s@ADDRESS
`, in(cloudsFile), in(kubeconfigFile), in(cloudsFile), sandbox.Cloud, in(kubeconfigFile), in(testbedFile), port, sandbox.User)
	fmt.Fprintln(cmd.ErrOrStderr(), "serving until interrupted; all machines are processes of this computer")
}

// quoteWord makes one word of a shell's command line.
func quoteWord(s string) string {
	plain := strings.IndexFunc(s, func(r rune) bool {
		return !strings.ContainsRune("/._-+=:@%,", r) && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) < 0
	if plain && s != "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// end ends the sandbox and removes its files; the folder goes if nothing else is in it.
func end(ctx context.Context, srv *sandbox.Server, dir string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
	defer cancel()
	for _, name := range []string{cloudsFile, kubeconfigFile, testbedFile} { // while the folder is ours
		_ = os.Remove(filepath.Join(dir, name))
	}
	if err := srv.End(ctx); err != nil {
		return err
	}
	_ = os.Remove(filepath.Join(dir, stateDir))
	_ = os.Remove(dir) // not if something else is in it
	return nil
}
