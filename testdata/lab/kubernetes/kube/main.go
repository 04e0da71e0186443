// Command kube is all daemons of a small Kubernetes cluster in one executable: etcd,
// kube-apiserver, kube-controller-manager, kube-scheduler, kubelet and coredns. Its first argument
// or the name it was called by says which. One executable is one link step, and the daemons share
// the pages of its text.
//
// It makes two more things: "pki" makes certificates and kubeconfigs, "image" a container image.
package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	_ "time/tzdata"

	"github.com/coredns/caddy"
	"github.com/coredns/coredns/core/dnsserver"
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwokcmd "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	"sigs.k8s.io/kwok/pkg/utils/signals"
)

var programs = map[string]func() error{
	"etcd":                    func() error { etcdmain.Main(os.Args); return nil },
	"kube-apiserver":          daemon(apiserver.NewAPIServerCommand),
	"kube-controller-manager": daemon(controllers.NewControllerManagerCommand),
	"kube-scheduler":          daemon(func() *cobra.Command { return scheduler.NewSchedulerCommand() }),
	"kubelet":                 daemon(func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) }),
	"coredns":                 coredns,
	"kwok":                    kwok,
	"simulated":               simulated,
	"pki":                     pki,
	"image":                   image,
}

func daemon(command func() *cobra.Command) func() error {
	return func() error { os.Exit(cli.Run(command())); return nil }
}

// coredns serves the names of Services and their pods, with the plugins that this takes. CoreDNS's
// own main would put its flags among those of Kubernetes.
func coredns() error {
	if len(os.Args) != 2 {
		return fmt.Errorf("usage: coredns Corefile")
	}
	conf, err := os.ReadFile(os.Args[1])
	if err != nil {
		return err
	}
	dnsserver.Directives = []string{"bind", "errors", "kubernetes"}
	caddy.AppName, caddy.AppVersion = "CoreDNS", "lab"
	server, err := caddy.Start(caddy.CaddyfileInput{Filepath: os.Args[1], Contents: conf, ServerTypeName: "dns"})
	if err != nil {
		return err
	}
	server.Wait()
	return nil
}

// kwok plays the life of simulated nodes and their pods, as kwok's own main does.
func kwok() error {
	flags := pflag.NewFlagSet("kwok", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, _ := kwoklog.InitFlags(signals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		return err
	}
	command := kwokcmd.NewCommand(ctx)
	command.Version = "" // a flag of this name is Kubernetes' already, and cobra takes none of another type
	command.PersistentFlags().AddFlagSet(flags)
	return command.ExecuteContext(ctx)
}

func main() {
	name := filepath.Base(os.Args[0])
	if programs[name] == nil && len(os.Args) > 1 {
		os.Args = os.Args[1:]
		name = os.Args[0]
	}
	run := programs[name]
	if run == nil {
		fmt.Fprintln(os.Stderr, "usage: kube PROGRAM [ARGUMENT...]; programs:", strings.Join(slices.Sorted(maps.Keys(programs)), " "))
		os.Exit(2)
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}
