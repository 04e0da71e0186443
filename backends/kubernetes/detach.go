package kubernetes

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"dlx.dev/dlx/backends"
)

// A Detached is a run that goes on inside a cluster: a Job whose pod is dlx itself, a claim that
// holds dlx, its plan and the run folder, and an account with the rights of rbac/namespace.yaml, and
// of rbac/devices.yaml if machines claim devices. All belong to one ConfigMap in the namespace that the
// trials are in as well. They are not told from trials by chance: their manager is another one, so that
// no release of a fleet or of a run takes them along.
//
// The Job starts a pod again that was killed or evicted, and dlx in it goes on by the journal.
type Detached struct {
	c          *cluster
	l          *Launcher
	kubeconfig []byte
	run        string
	pod        Pod
	devices    bool              // the machines of the run claim some
	data       map[string]string // of the ConfigMap
}

// Detach says where a run goes on.
type Detach struct {
	Run       string
	Namespace string
	Study     string          // its name
	Machine   json.RawMessage // of a machine of the plan, from which the pod of dlx takes image, pull secret and tolerations; one that claims devices if there is any
	Image     string          // in place of the machine's
}

// ClaimsDevices reports whether the processes on machines of a spec claim devices: then dlx takes the
// rights of rbac/devices.yaml as well.
func ClaimsDevices(spec json.RawMessage) bool {
	p, err := parsePod(spec)
	return err == nil && p.DeviceClass != ""
}

// DetachedIn finds the cluster that the settings of a cloud name, for a run that goes on there. It
// asks the cluster nothing yet.
func DetachedIn(ctx context.Context, config json.RawMessage, d Detach, o Options) (*Detached, error) {
	op := "namespace " + d.Namespace
	var settings Config
	if err := strict(config, &settings); err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	if err := checkOwner(backends.Owner{Run: d.Run}, false); err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	if !dnsLabel.MatchString(d.Namespace) || len(d.Namespace) > maxLabel {
		return nil, backends.Errorf(backends.Config, op, "%q is no DNS label", d.Namespace)
	}
	machine, err := parsePod(d.Machine)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "machine: %w", err)
	}
	kubeconfig, err := load(settings)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	l := New(o)
	c, err := l.cluster(ctx, kubeconfig, d.Namespace)
	if err != nil {
		return nil, err
	}
	out := &Detached{c: c, l: l, kubeconfig: kubeconfig, run: d.Run, devices: machine.DeviceClass != "", pod: Pod{
		Image: machine.Image, PullPolicy: machine.PullPolicy, PullSecret: machine.PullSecret, Tolerations: machine.Tolerations,
	}}
	out.data = map[string]string{dataRun: d.Run, dataStudy: d.Study, dataMachine: string(d.Machine), dataImage: d.Image}
	if d.Image != "" && d.Image != machine.Image {
		out.pod.Image, out.pod.PullPolicy = d.Image, ""
	}
	return out, nil
}

// Close lets all connections go. The run goes on.
func (d *Detached) Close() error { return d.l.Close() }

// Name is that of the Job and of all that belongs to it.
func (d *Detached) Name() string { return namespaceName(d.run) }

// NamespaceOf is the namespace that the settings of a cloud name; "" if each run makes its own.
func NamespaceOf(config json.RawMessage) (string, error) {
	var settings Config
	err := strict(config, &settings)
	return settings.Namespace, err
}

// WithNamespace gives the settings of a cloud with another namespace.
func WithNamespace(config json.RawMessage, namespace string) (json.RawMessage, error) {
	var settings Config
	if err := strict(config, &settings); err != nil {
		return nil, err
	}
	settings.Namespace = namespace
	return json.Marshal(settings)
}

// Inside gives the settings of the cluster and the namespace that this process runs in.
func Inside() (json.RawMessage, error) {
	ns, err := os.ReadFile(accountDir + "namespace")
	if err != nil {
		return nil, fmt.Errorf("not in a pod with a service account: %w", err)
	}
	return json.Marshal(Config{Namespace: strings.TrimSpace(string(ns))})
}

// A DetachedState is what a cluster says of a run.
type DetachedState struct {
	Phase DetachedPhase
	Job   string // its UID; "" if there is none
	Pod   string // that runs; "" if none does
	Exit  int    // of dlx, once ended; -1 if the cluster does not say
	Again int    // how often its pod was started again
	Why   string // why it does not run, or how it ended, in the cluster's words
}

// A DetachedPhase is where a run stands.
type DetachedPhase string

// Phases of a run in a cluster.
const (
	DetachedNone    DetachedPhase = "none"    // there is no Job
	DetachedWaiting DetachedPhase = "waiting" // no pod runs yet, or not any more
	DetachedRunning DetachedPhase = "running"
	DetachedEnded   DetachedPhase = "ended"
)

// State asks the cluster how a run stands.
func (d *Detached) State(ctx context.Context) (DetachedState, error) {
	ctx = quiet(ctx, d.c.log)
	var j batchv1.Job
	err := d.c.get(ctx, jobs, d.c.ns, d.Name(), &j)
	if notFound(err) {
		return DetachedState{Phase: DetachedNone}, nil
	}
	if err != nil {
		return DetachedState{}, d.c.fail(ctx, "job "+d.Name(), err)
	}
	if j.Labels[labelManager] != detacher || j.Labels[labelRun] != label(d.run) {
		return DetachedState{}, backends.Errorf(backends.Config, "job "+d.Name(), "there is one that is not dlx's")
	}
	var list corev1.PodList
	if err := d.c.list(ctx, pods, d.c.ns, metav1.ListOptions{LabelSelector: d.selector()}, &list); err != nil {
		return DetachedState{}, d.c.fail(ctx, "pods of job "+d.Name(), err)
	}
	return stateOf(&j, list.Items, d.c.warningsOf), nil
}

// stateOf judges a Job by its pods and by the warnings about an object, as far as they are known.
func stateOf(j *batchv1.Job, pods []corev1.Pod, warningsOf func(uid string) []*corev1.Event) DetachedState {
	s := DetachedState{Phase: DetachedWaiting, Job: string(j.UID), Exit: -1, Again: int(j.Status.Failed)}
	var last *corev1.Pod
	for i := range pods {
		p := &pods[i]
		if !metav1.IsControlledBy(p, j) {
			continue
		}
		if last == nil || last.CreationTimestamp.Before(&p.CreationTimestamp) {
			last = p
		}
	}
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue || c.Type != batchv1.JobComplete && c.Type != batchv1.JobFailed {
			continue
		}
		s.Phase = DetachedEnded
		if c.Type == batchv1.JobComplete {
			s.Exit = 0
			return s
		}
		s.Why = c.Reason + ": " + clip(c.Message)
		if last != nil {
			if t := terminated(last); t != nil {
				s.Exit = int(t.ExitCode)
			}
			s.Why = endOfPod(last)
		}
		return s
	}
	switch {
	case last == nil:
		s.Why = "the Job has no pod yet"
		if t := creationFailed(warningsOf(string(j.UID))); t != nil {
			s.Why = t.words
		}
	case ended(last):
		s.Why = endOfPod(last)
	case last.DeletionTimestamp != nil:
		s.Why = "pod " + last.Name + " is being removed"
	case running(last):
		s.Phase, s.Pod = DetachedRunning, last.Name
	default:
		s.Why = "pod " + last.Name + ": " + phaseOf(last)
		if t := troubleOf(last, warningsOf(string(last.UID))); t != nil {
			s.Why = t.words
		}
	}
	return s
}

// Exec runs a command in a pod that sees the run folder.
func (d *Detached) Exec(ctx context.Context, pod string, stdin io.Reader, stdout io.Writer, words ...string) error {
	var errs bytes.Buffer
	status, err := d.c.exec(quiet(ctx, d.c.log), command{ns: d.c.ns, pod: pod, words: words, stdin: stdin, stdout: stdout, stderr: &limitedBuffer{to: &errs, left: 16 << 10}})
	op := "pod " + pod
	switch {
	case err != nil:
		return d.c.fail(ctx, op, err)
	case status != 0:
		return &CommandError{Pod: pod, Status: status, Stderr: clip(errs.String())}
	}
	return nil
}

// A CommandError is a command in a pod that ended with another status than 0.
type CommandError struct {
	Pod    string
	Status int
	Stderr string
}

func (e *CommandError) Error() string {
	return fmt.Sprintf("pod %s: exit code %d: %s", e.Pod, e.Status, e.Stderr)
}

// helperFleet is the fleet of the pod by which files come and go while the run's own does not run.
const helperFleet = "detach"

// Enter makes a pod that sees the run folder. leave removes it.
func (d *Detached) Enter(ctx context.Context) (in *Inlet, leave func(context.Context) error, err error) {
	spec := d.pod
	spec.Scratch.Claim = d.Name()
	raw, err := json.Marshal(spec)
	if err != nil {
		return nil, nil, err
	}
	owner := backends.Owner{Run: d.run, Fleet: helperFleet}
	m := backends.Machine{Name: helperFleet, Access: backends.Access{Kubernetes: &backends.Kubernetes{
		Config: d.kubeconfig, Namespace: d.c.ns, Owner: owner, Pod: raw}}}
	leave = func(ctx context.Context) error {
		p := &provider{l: d.l, kubeconfig: d.kubeconfig, namespace: d.c.ns}
		return p.Release(ctx, owner, nil)
	}
	s, err := spotOf(m)
	if err != nil {
		return nil, nil, err
	}
	ms, err := d.l.prepare(ctx, &fleet{owner: owner, ns: d.c.ns, spots: []*spot{s}, until: time.Now().Add(helperLease)})
	if err != nil {
		return nil, leave, d.withoutVolume(ctx, err)
	}
	return &Inlet{d: d, m: ms[0], Pod: s.holder}, leave, nil
}

// withoutVolume adds to why a pod does not run that its claim has no volume, if it has none.
func (d *Detached) withoutVolume(ctx context.Context, err error) error {
	var claim corev1.PersistentVolumeClaim
	if d.c.get(ctx, claims, d.c.ns, d.Name(), &claim) != nil || claim.Status.Phase != corev1.ClaimPending {
		return err
	}
	class := "the cluster has no default storage class"
	if claim.Spec.StorageClassName != nil {
		class = fmt.Sprintf("its storage class is %q", *claim.Spec.StorageClassName)
	}
	return fmt.Errorf("%w: claim %s has no volume: %s", err, d.Name(), class)
}

// helperLease is when anybody may remove a pod that was made for a copy: long after the longest.
const helperLease = 24 * time.Hour

// An Inlet is a pod by which files get to the run folder.
type Inlet struct {
	Pod string
	d   *Detached
	m   backends.Machine
}

// Put brings a file to a path below [DetachedHome].
func (in *Inlet) Put(ctx context.Context, f backends.File, to string) error {
	at, err := in.d.l.Stage(ctx, in.m, f)
	if err != nil {
		return err
	}
	return in.d.Exec(ctx, in.Pod, nil, io.Discard, "/bin/sh", "-c", `mkdir -p "$(dirname "$2")" && mv -f "$1" "$2"`, "dlx", at, DetachedHome+"/"+to)
}
