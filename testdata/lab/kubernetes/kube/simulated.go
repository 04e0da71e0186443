package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	utilexec "k8s.io/utils/exec"
)

// simulatedMark is the label and the taint of simulated nodes.
const simulatedMark = "lab.local/simulated"

// simulated makes nodes that kwok keeps alive, and plays what kwok does not: the processes in their
// pods. Nothing runs in these. When a pod of a trial is running, its process gets the folder that
// the supervisor would have made, with the output that its arguments ask for, and when its time is
// over, an exit record and a pod that has ended. Commands in pods do run, on this computer, with
// what its shell has: they find such a folder, and files that are sent are there. All nodes have
// one disk, a folder; pods with a host path elsewhere are refused.
func simulated() error {
	fs := flag.NewFlagSet("simulated", flag.ExitOnError)
	dir := fs.String("pki", "pki", "folder that \"pki\" wrote")
	address := fs.String("address", "", "address and port of all nodes' kubelets")
	disk := fs.String("disk", "", "the folder in which the host paths of pods lie")
	count := fs.Int("nodes", 1, "how many nodes")
	gpu := fs.String("gpu", "", "the resource of which each node has 2")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return err
	}
	cfg, err := clientcmd.BuildConfigFromFlags("", filepath.Join(*dir, "admin.kubeconfig"))
	if err != nil {
		return err
	}
	cfg.QPS = -1 // one program plays the kubelets of all nodes
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	ctx := context.Background()
	for i := range *count {
		_, err := client.CoreV1().Nodes().Create(ctx, simulatedNode(i+1, *gpu), metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
	}
	s := &simulation{client: client, disk: *disk, procs: map[string]*process{}}
	factory := informers.NewSharedInformerFactory(client, 0)
	informer := factory.Core().V1().Pods().Informer()
	if err := informer.SetTransform(func(o any) (any, error) {
		if p, ok := o.(*corev1.Pod); ok {
			p.ManagedFields = nil // half of a pod's bytes
		}
		return o, nil
	}); err != nil {
		return err
	}
	s.pods = informer.GetStore()
	changed := func(o any) {
		if p, ok := o.(*corev1.Pod); ok && strings.HasPrefix(p.Spec.NodeName, nodePrefix) {
			s.changed(p)
		}
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, o any) { changed(o) },
		DeleteFunc: func(o any) {
			if d, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = d.Obj
			}
			if p, ok := o.(*corev1.Pod); ok {
				s.deleted(p)
			}
		},
	}); err != nil {
		return err
	}
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return s.serve(*dir, *address)
}

const nodePrefix = "simulated"

func simulatedNode(i int, gpu string) *corev1.Node {
	has := corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("32"), corev1.ResourceMemory: resource.MustParse("128Gi"),
		corev1.ResourcePods: resource.MustParse("110"), corev1.ResourceName(gpu): resource.MustParse("2"),
	}
	name := fmt.Sprint(nodePrefix, i)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{"kwok.x-k8s.io/node": "fake"},
			Labels: map[string]string{corev1.LabelHostname: name, corev1.LabelOSStable: "linux", simulatedMark: "true"},
		},
		Spec:   corev1.NodeSpec{Taints: []corev1.Taint{{Key: simulatedMark, Value: "true", Effect: corev1.TaintEffectNoSchedule}}},
		Status: corev1.NodeStatus{Allocatable: has, Capacity: has},
	}
}

// simulation is the processes of all simulated nodes.
type simulation struct {
	client kubernetes.Interface
	disk   string
	pods   cache.Store

	mu    sync.Mutex
	procs map[string]*process // by UID of their pods
}

// serve is the nodes' kubelet as far as the API server needs one: exec.
func (s *simulation) serve(dir, address string) error {
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return err
	}
	callers := x509.NewCertPool()
	callers.AppendCertsFromPEM(ca)
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/exec/{namespace}/{pod}/{container}", s.exec)
	server := &http.Server{
		Addr: address, Handler: mux, ReadHeaderTimeout: time.Minute,
		TLSConfig: &tls.Config{ClientCAs: callers, ClientAuth: tls.RequireAndVerifyClientCert, MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}},
	}
	return server.ListenAndServeTLS(filepath.Join(dir, "kubelet.crt"), filepath.Join(dir, "kubelet.key"))
}

func (s *simulation) exec(w http.ResponseWriter, r *http.Request) {
	o, found, err := s.pods.GetByKey(r.PathValue("namespace") + "/" + r.PathValue("pod"))
	pod, _ := o.(*corev1.Pod)
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	case !found || !strings.HasPrefix(pod.Spec.NodeName, nodePrefix):
		http.Error(w, "pod does not exist", http.StatusNotFound)
		return
	case pod.Status.Phase != corev1.PodRunning || pod.Spec.Containers[0].Name != r.PathValue("container"):
		http.Error(w, "container not found", http.StatusNotFound)
		return
	case !s.holds(pod):
		http.Error(w, s.elsewhere(), http.StatusForbidden)
		return
	}
	streams, err := remotecommand.NewOptions(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	remotecommand.ServeExec(w, r, command{s, pod}, pod.Name, string(pod.UID), r.PathValue("container"), r.URL.Query()["command"], streams,
		time.Hour, remotecommand.DefaultStreamCreationTimeout, remotecommand.SupportedStreamingProtocols)
}

// holds reports whether all host paths of a pod are on the nodes' disk: commands of others would
// get at the files of this computer.
func (s *simulation) holds(p *corev1.Pod) bool {
	for _, v := range p.Spec.Volumes {
		if v.HostPath != nil && v.HostPath.Path != s.disk && !strings.HasPrefix(filepath.Clean(v.HostPath.Path), s.disk+"/") {
			return false
		}
	}
	return true
}

func (s *simulation) elsewhere() string {
	return "host paths of a simulated node are " + s.disk + " and below; scratch: hostPath says so in a testbed"
}

// command runs what somebody wants to run in a pod.
type command struct {
	s   *simulation
	pod *corev1.Pod
}

// ExecInContainer implements remotecommand.Executor.
func (c command) ExecInContainer(ctx context.Context, _, _, _ string, words []string, in io.Reader, out, errs io.WriteCloser, _ bool, _ <-chan remotecommand.TerminalSize, _ time.Duration) error {
	if p := c.s.process(c.pod); p != nil {
		if grace, ok := stops(words); ok {
			go p.stop("stopped", grace)
		}
	}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir, cmd.WaitDelay = "/", 5*time.Second
	if in != nil {
		// Not cmd.Stdin: Run would wait for the end of what is sent, though the command reads no more.
		stdin, err := cmd.StdinPipe()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(stdin, in)
			_ = stdin.Close()
		}()
	}
	if out != nil {
		cmd.Stdout = out
	}
	if errs != nil {
		cmd.Stderr = errs
	}
	err := cmd.Run()
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		return utilexec.CodeExitError{Err: err, Code: ended.ExitCode()}
	}
	return err
}
