package kubernetes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// Address is the name of a process's pod, which its Service has before the pod is there. On the
// network of the host it is the node's.
func (l *Launcher) Address(m backends.Machine, group string, i int) string {
	s, err := spotOf(m)
	if err != nil || s.pod.HostNetwork {
		return m.Address
	}
	return fmt.Sprintf("%s-%d.%s.%s.svc", s.jobName(group), i, ownerName(s.at.Owner), s.at.Namespace)
}

// A starting is a group on its way.
type starting struct {
	c       *cluster
	g       *backends.Group
	op      string
	name    string // of the Job
	uid     string // of the Job
	setUID  string // of its JobSet, if Queue made one
	spots   []*spot
	folders []string
}

// Start makes the Job of a group, or finds it, and returns when all of its programs run or have
// ended.
func (l *Launcher) Start(ctx context.Context, g backends.Group) error {
	if err := g.Check(); err != nil {
		return err
	}
	st, err := l.starting(ctx, &g)
	if err != nil {
		return err
	}
	if err := st.enter(ctx); err != nil {
		return err
	}
	if err := st.awaitPods(ctx); err != nil {
		return err
	}
	return st.awaitPrograms(ctx)
}

// enter makes the Job, and waits for its turn if it stands in a queue.
func (st *starting) enter(ctx context.Context) error {
	if err := st.c.fits(ctx, st.op, st.g, st.spots); err != nil {
		return err
	}
	if err := st.ensureJob(ctx); err != nil || st.spots[0].pod.Queue == "" {
		return err
	}
	return st.awaitTurn(ctx)
}

// Limits of what goes into a Job: the kernel's for one argument (MAX_ARG_STRLEN), and what etcd
// takes of a request (1.5 MiB) with room for the rest.
const (
	maxScript = 128<<10 - 1
	maxJob    = 1 << 20
)

func (l *Launcher) starting(ctx context.Context, g *backends.Group) (*starting, error) {
	st := &starting{g: g, op: "start " + g.ID}
	total := 0
	for i, m := range g.Machines {
		s, c, err := l.reach(ctx, m)
		if err != nil {
			return nil, err
		}
		if i > 0 && (c != st.c || s.at.Owner != st.spots[0].at.Owner) {
			return nil, backends.Errorf(backends.Internal, st.op, "machines of more than one fleet or cluster")
		}
		if i > 0 && string(s.at.Pod) != string(st.spots[0].at.Pod) {
			return nil, backends.Errorf(backends.Config, st.op, "machines %s and %s have different pods, and the pods of a Job are all the same", g.Machines[0].Name, m.Name)
		}
		if i > 0 && s.inSet != st.spots[0].inSet {
			return nil, backends.Errorf(backends.Infra, st.op, "machines %s and %s were made before and after the cluster had JobSet", g.Machines[0].Name, m.Name)
		}
		if s.at.Node == "" {
			return nil, backends.Errorf(backends.Internal, st.op, "machine %s is not prepared", m.Name)
		}
		folder, err := supervisor.Folder(backends.ProcessID(g.ID, i))
		if err != nil {
			return nil, backends.Errorf(backends.Config, st.op, "%w", err)
		}
		p := g.Process(i)
		n := len(supervisor.Script(p))
		if total += n; n > maxScript || total > maxJob {
			return nil, backends.Errorf(backends.Config, st.op, "arguments and environment of %s have %d bytes, of all so far %d; a Job holds %d a process and %d in all", p.ID, n, total, maxScript, maxJob)
		}
		st.c, st.spots, st.folders = c, append(st.spots, s), append(st.folders, folder)
	}
	st.name = st.spots[0].jobName(g.ID)
	return st, nil
}

// ensureJob makes the Job unless it is there.
func (st *starting) ensureJob(ctx context.Context) error {
	c, o := st.c, st.spots[0].at.Owner
	leave, err := c.jobs.Enter(ctx, st.name)
	if err != nil {
		return fmt.Errorf("%s: %w", st.op, err)
	}
	defer leave()
	ctx = quiet(ctx, c.log)
	op := "create job " + st.name
	var got batchv1.Job
	if !st.spots[0].inSet || c.get(ctx, jobs, c.ns, st.name, &got) != nil { // without Queue there is no JobSet that has made it
		owner, err := c.ownerOf(ctx, st.op, o)
		if err != nil {
			return err
		}
		if err := st.ensureClaims(ctx, owner); err != nil {
			return err
		}
		want := job(st.g, st.spots, st.folders)
		want.ObjectMeta = owned(want.ObjectMeta, owner)
		if err := c.createOrGet(ctx, jobs, c.ns, want, &got); err != nil {
			return c.fail(ctx, op, err)
		}
	}
	switch {
	case got.Annotations[labelGroup] != st.g.ID || got.Labels[labelManager] != manager || got.Labels[labelFleet] != label(o.Fleet) || got.Labels[labelRun] != label(o.Run):
		return backends.Errorf(backends.Config, op, "there is one that is not this group's")
	case got.DeletionTimestamp != nil:
		return backends.Errorf(backends.Infra, op, "it is being removed")
	}
	st.uid = string(got.UID)
	if !ofJobSet(&got) { // which goes as a whole
		c.expect(jobs, st.name, st.uid, st)
	}
	return nil
}

// ownerOf gives the ConfigMap that all objects of a fleet belong to.
func (c *cluster) ownerOf(ctx context.Context, op string, o backends.Owner) (*corev1.ConfigMap, error) {
	var owner corev1.ConfigMap
	err := c.get(ctx, configMaps, c.ns, ownerName(o), &owner)
	if notFound(err) {
		return nil, backends.Errorf(backends.Infra, op, "the fleet %s is gone", o.Fleet)
	}
	return &owner, c.fail(ctx, op, err)
}

// ensureClaims makes what claims on devices are made from, if the group has any.
func (st *starting) ensureClaims(ctx context.Context, owner *corev1.ConfigMap) error {
	c, s := st.c, st.spots[0]
	name := claimed(s, st.g)
	if name == "" {
		return nil
	}
	want := claimTemplate(s, st.g)
	want.ObjectMeta = owned(want.ObjectMeta, owner)
	err := c.apply(ctx, claimTemplates, c.ns, want, &resourcev1.ResourceClaimTemplate{})
	if notFound(err) {
		return backends.Errorf(backends.Config, st.op, "devices of class %q: the cluster does not serve resource.k8s.io/v1 (Kubernetes 1.34): count GPUs by the name of a resource instead, machine.gpu", s.pod.DeviceClass)
	}
	return c.fail(ctx, st.op+": claim devices of class "+s.pod.DeviceClass, err)
}

// whyUnknown tells why no event gives a reason, if that is so.
func (c *cluster) whyUnknown() string {
	if _, _, err := c.events.state(); err != nil {
		return "; events would say why, but " + clip(c.redact(err.Error()))
	}
	return ""
}

// podsOf gives the pods of a Job by their index. Of several of one index, the first counts.
func (c *cluster) podsOf(name string) map[int]*corev1.Pod {
	out := map[int]*corev1.Pod{}
	for _, p := range c.pods.group(name) {
		i := indexOf(p)
		if before := out[i]; i >= 0 && (before == nil || p.CreationTimestamp.Before(&before.CreationTimestamp)) {
			out[i] = p
		}
	}
	return out
}

// awaitPods returns when the pod of each process has been started, or one cannot be.
func (st *starting) awaitPods(ctx context.Context) error {
	c := st.c
	began := time.Now()
	seen := troubles{c: c, first: map[string]time.Time{}}
	placed := map[string]bool{} // by pod
	return c.await(ctx, st.op, func() (bool, time.Duration, error) {
		all := c.podsOf(st.name)
		if err := st.place(ctx, all, placed); err != nil {
			return false, 0, err
		}
		done := true
		seen.soon = 0
		for i := range st.spots {
			p := all[i]
			op := st.op + ": process " + fmt.Sprint(i)
			if p != nil {
				if why := otherCPUs(p, st.g.CPUs, st.spots[i].nodeCPUs()); why != "" {
					return false, 0, backends.Errorf(backends.Config, op, "pod %s: %s", p.Name, why)
				}
				if started(p) {
					continue
				}
			}
			done = false
			var t *trouble
			switch {
			case p == nil:
				if t = creationFailed(c.warningsOf(st.uid)); t == nil {
					t = &trouble{class: backends.Infra, words: "job " + st.name + " has no pod for it" + c.whyUnknown(), after: c.opt.Patience}
				}
			case p.DeletionTimestamp != nil:
				return false, 0, backends.Errorf(backends.Infra, op, "pod %s: %s", p.Name, endOfPod(p))
			default:
				if t = troubleOf(p, c.warningsOf(string(p.UID))); t == nil {
					t = &trouble{class: backends.Infra, words: "pod " + p.Name + " does not run: " + phaseOf(p), after: c.opt.Boot}
				}
			}
			if err := seen.bear(strconv.Itoa(i)+" ", op, t); err != nil {
				return false, 0, err
			}
		}
		if !done && time.Since(began) > 2*c.opt.Boot {
			return false, 0, backends.Errorf(backends.Infra, st.op, "it has not started for %v", 2*c.opt.Boot)
		}
		return done, seen.soon, nil
	})
}

// place gives gated pods the nodes of their processes.
func (st *starting) place(ctx context.Context, all map[int]*corev1.Pod, placed map[string]bool) error {
	var work errgroup.Group
	for i, p := range all {
		if i >= len(st.spots) || placed[p.Name] || !slices.ContainsFunc(p.Spec.SchedulingGates, func(g corev1.PodSchedulingGate) bool { return g.Name == gateName }) {
			continue
		}
		placed[p.Name] = true
		work.Go(func() error {
			doc, err := place(st.spots[i].at.Node, p.Spec.SchedulingGates)
			if err != nil {
				return backends.Errorf(backends.Internal, st.op, "%w", err)
			}
			err = st.c.patch(quiet(ctx, st.c.log), pods, st.c.ns, p.Name, doc)
			if notFound(err) {
				return nil // somebody deleted it: that shows by itself
			}
			return st.c.fail(ctx, st.op+": place pod "+p.Name, err)
		})
	}
	return work.Wait()
}

// beginning is how long a program may take to start in a container that runs.
const beginning = 5 * time.Minute

// awaitPrograms returns when the supervisors of all processes have started their programs.
func (st *starting) awaitPrograms(ctx context.Context) error {
	byHolder := map[string][]int{}
	for i, s := range st.spots {
		byHolder[s.holder] = append(byHolder[s.holder], i)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var all errgroup.Group
	for _, holder := range slices.Sorted(maps.Keys(byHolder)) {
		indexes := byHolder[holder]
		all.Go(func() error {
			begun, stop := context.WithCancelCause(ctx)
			defer stop(nil)
			s := st.spots[indexes[0]]
			words := []string{"begun", fmt.Sprint(int(beginning / time.Second))}
			for _, i := range indexes {
				words = append(words, st.folders[i])
			}
			watched := make(chan struct{})
			go func() { // a pod that ends without having started anything says why
				defer close(watched)
				_ = st.c.await(begun, st.op, func() (bool, time.Duration, error) {
					pods := st.c.podsOf(st.name)
					for _, i := range indexes {
						if p := pods[i]; p != nil && p.Status.Phase == corev1.PodFailed {
							stop(errPodEnded)
							return true, 0, nil
						}
					}
					return false, 0, nil
				})
			}()
			status, _, _, err := st.c.ask(begun, st.op, s, nil, words...)
			ended := context.Cause(begun) == errPodEnded //nolint:errorlint // the cause itself, never wrapped
			stop(nil)
			<-watched
			switch {
			case err == nil && status == 0:
				return nil
			case ctx.Err() != nil:
				return fmt.Errorf("%s: %w", st.op, context.Cause(ctx))
			case !ended && err != nil:
				return err
			}
			return st.notBegun(ctx, s, indexes)
		})
	}
	return all.Wait()
}

var errPodEnded = fmt.Errorf("the pod ended")

// notBegun says which process has started nothing, and why.
func (st *starting) notBegun(ctx context.Context, s *spot, indexes []int) error {
	pods := st.c.podsOf(st.name)
	for _, i := range indexes {
		status, _, _, err := st.c.ask(ctx, st.op, s, nil, "begun", "0", st.folders[i])
		if err != nil {
			return err
		}
		if status == 0 {
			continue
		}
		op := st.op + ": process " + fmt.Sprint(i)
		p := pods[i]
		if p == nil || !ended(p) {
			return backends.Errorf(backends.Infra, op, "its pod runs and it has not begun for %v", beginning)
		}
		class := backends.Infra
		if d := terminated(p); d != nil && (d.ExitCode == supervisor.Cannot || d.Reason == "StartError" || d.Reason == "ContainerCannotRun") {
			class = backends.Config
		}
		return backends.Errorf(class, op, "pod %s: %s", p.Name, endOfPod(p))
	}
	return nil
}

// deletion deletes an object with all that belongs to it; with a UID, that one only.
func deletion(how metav1.DeletionPropagation, uid types.UID) metav1.DeleteOptions {
	o := metav1.DeleteOptions{PropagationPolicy: &how}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	return o
}

// foreground deletes what belongs to an object first.
func foreground(uid string) metav1.DeleteOptions {
	return deletion(metav1.DeletePropagationForeground, types.UID(uid))
}

func opOf(verb, id string, m backends.Machine) string {
	return strings.Join([]string{verb, id, "on", m.Name}, " ")
}
