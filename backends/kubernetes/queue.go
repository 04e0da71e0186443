package kubernetes

import (
	"cmp"
	"context"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
)

var _ backends.Queuer = (*Launcher)(nil)

// Queue implements backends.Queuer. What can be one JobSet is made as that; its pods are there when Queue
// returns, and wait for the start of their group. The wait for a turn shows in the log of the launcher
// once a minute, with what Kueue says of it.
func (l *Launcher) Queue(ctx context.Context, groups []backends.Group) (bool, error) {
	var open []*starting // of which something is waited for
	type key struct {    // clusters may have sets of one name
		c    *cluster
		name string
	}
	sets := map[key][]*starting{}
	queued := false
	for i := range groups {
		g := &groups[i]
		if err := g.Check(); err != nil {
			return false, err
		}
		st, err := l.starting(ctx, g)
		if err != nil {
			return false, err
		}
		s := st.spots[0]
		if s.pod.Queue == "" && !s.inSet {
			continue // there is time for it when it starts
		}
		if err := st.c.fits(ctx, st.op, st.g, st.spots); err != nil {
			return false, err
		}
		if s.inSet {
			k := key{st.c, s.setName(g.ID)}
			sets[k] = append(sets[k], st)
		}
		open = append(open, st)
		queued = queued || s.pod.Queue != ""
	}
	for _, sts := range sets {
		if err := ensureSet(ctx, sts); err != nil {
			return queued, err
		}
	}
	for _, st := range open {
		if st.setUID != "" {
			continue
		}
		if err := st.ensureJob(ctx); err != nil {
			return queued, err
		}
	}
	for _, st := range open {
		if err := st.awaitTurn(ctx); err != nil {
			return queued, err
		}
	}
	return queued, nil
}

// awaitTurn returns when the Job of a group has been made and admitted: then it has pods. Pods are
// watched already, so that this takes no further right, and no request as long as nothing happens.
func (st *starting) awaitTurn(ctx context.Context) error {
	c, queue := st.c, st.spots[0].pod.Queue
	began := time.Now()
	told := began
	seen := troubles{c: c, first: map[string]time.Time{}}
	return c.await(ctx, st.op, func() (bool, time.Duration, error) {
		if len(c.podsOf(st.name)) > 0 {
			return true, 0, nil
		}
		seen.soon = 0
		if st.setUID != "" && st.uid == "" {
			if there, pause, err := st.awaitMember(ctx, &seen); !there {
				return false, pause, err
			}
		}
		if t := creationFailed(c.warningsOf(st.uid)); t != nil { // it was admitted
			err := seen.bear("", st.op, t)
			return false, seen.soon, err
		}
		if time.Since(told) < time.Minute {
			return false, time.Minute, nil
		}
		told = time.Now()
		var j batchv1.Job
		switch err := c.get(quiet(ctx, c.log), jobs, c.ns, st.name, &j); {
		case notFound(err), err == nil && (string(j.UID) != st.uid || j.DeletionTimestamp != nil):
			return false, 0, backends.Errorf(backends.Infra, st.op, "job %s is gone", st.name)
		case err != nil && backends.ClassOf(c.fail(ctx, st.op, err)).Temporary():
		case err != nil:
			return false, 0, c.fail(ctx, st.op, err)
		case over(&j): // without a pod: somebody else's doing
			return false, 0, backends.Errorf(backends.Infra, st.op, "job %s has ended without a pod", st.name)
		}
		if queue == "" {
			return false, time.Minute, nil
		}
		c.log("%s: %s waits for its turn in queue %q since %v: %s", st.op, st.queued(), queue, time.Since(began).Round(time.Second),
			cmp.Or(c.saidOf(st.queued()), "nobody says why; is there a LocalQueue of this name in namespace "+c.ns+"?"))
		return false, time.Minute, nil
	})
}

// over reports whether a Job has ended.
func over(j *batchv1.Job) bool {
	for _, c := range j.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}

// queued is what stands in the queue for a group: its Job, or the JobSet that this is a part of.
func (st *starting) queued() string {
	if s := st.spots[0]; s.inSet {
		return "jobset " + s.setName(st.g.ID)
	}
	return "job " + st.name
}

// workload is the key of the warnings about what Kueue has made for a Job or a JobSet: a Workload
// "job-NAME-HASH" or "jobset-NAME-HASH".
func workload(e *corev1.Event) string {
	what, rest, _ := strings.Cut(e.InvolvedObject.Name, "-")
	i := strings.LastIndexByte(rest, '-')
	if e.InvolvedObject.Kind != "Workload" || what != "job" && what != "jobset" || i < 0 {
		return ""
	}
	return "workload " + what + " " + rest[:i]
}

// saidOf gives the last that Kueue said of what stands in a queue, "job NAME" or "jobset NAME"; "": nothing.
func (c *cluster) saidOf(what string) string {
	var last *corev1.Event
	for _, e := range c.events.group("workload " + what) {
		if last == nil || seen(last).Before(seen(e)) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return last.Reason + ": " + clip(last.Message)
}

// leaveQueue deletes the Job, or the JobSet, of a process that still waits for its turn, and reports
// whether it did.
func (p *proc) leaveQueue(ctx context.Context) (bool, error) {
	if p.spot.pod.Queue == "" {
		return false, nil
	}
	ctx = quiet(ctx, p.c.log)
	var j batchv1.Job
	var s jobSet
	r, name, suspend := jobs, p.job, &j.Spec.Suspend
	obj := thing(&j)
	if p.inSet {
		r, name, suspend = jobSets, p.setName(p.group), &s.Spec.Suspend
		obj = &s
	}
	err := p.c.get(ctx, r, p.c.ns, name, obj)
	if err == nil && ptr.Deref(*suspend, false) {
		if err = p.c.remove(ctx, r, p.c.ns, name, deletion(metav1.DeletePropagationBackground, obj.GetUID())); err == nil {
			return true, nil
		}
	}
	if notFound(err) {
		return false, nil
	}
	return false, p.c.fail(ctx, p.op, err)
}
