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

// Queue implements backends.Queuer. The wait shows in the log of the launcher once a minute, with what
// Kueue says of it.
func (l *Launcher) Queue(ctx context.Context, g backends.Group) (bool, error) {
	if err := g.Check(); err != nil {
		return false, err
	}
	st, err := l.starting(ctx, &g)
	if err != nil || st.spots[0].pod.Queue == "" {
		return false, err
	}
	return true, st.enter(ctx)
}

// awaitTurn returns when the Job of a group has been admitted: then it has pods. Pods are watched
// already, so that this takes no further right, and no request as long as nothing happens.
func (st *starting) awaitTurn(ctx context.Context) error {
	c, queue := st.c, st.spots[0].pod.Queue
	if queue == "" {
		return nil
	}
	began := time.Now()
	told := began
	seen := troubles{c: c, first: map[string]time.Time{}}
	return c.await(ctx, st.op, func() (bool, time.Duration, error) {
		if len(c.podsOf(st.name)) > 0 {
			return true, 0, nil
		}
		seen.soon = 0
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
		c.log("%s: job %s waits for its turn in queue %q since %v: %s", st.op, st.name, queue, time.Since(began).Round(time.Second),
			cmp.Or(c.saidOf(st.name), "nobody says why; is there a LocalQueue of this name in namespace "+c.ns+"?"))
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

// workload is the key of the warnings about what Kueue has made for a Job: a Workload "job-NAME-HASH".
func workload(e *corev1.Event) string {
	name, isJob := strings.CutPrefix(e.InvolvedObject.Name, "job-")
	i := strings.LastIndexByte(name, '-')
	if e.InvolvedObject.Kind != "Workload" || !isJob || i < 0 {
		return ""
	}
	return "workload " + name[:i]
}

// saidOf gives the last that Kueue said of a Job; "": nothing.
func (c *cluster) saidOf(job string) string {
	var last *corev1.Event
	for _, e := range c.events.group("workload " + job) {
		if last == nil || seen(last).Before(seen(e)) {
			last = e
		}
	}
	if last == nil {
		return ""
	}
	return last.Reason + ": " + clip(last.Message)
}

// leaveQueue deletes the Job of a process that still waits for its turn, and reports whether it did.
func (p *proc) leaveQueue(ctx context.Context) (bool, error) {
	if p.spot.pod.Queue == "" {
		return false, nil
	}
	var j batchv1.Job
	err := p.c.get(quiet(ctx, p.c.log), jobs, p.c.ns, p.job, &j)
	if err == nil && ptr.Deref(j.Spec.Suspend, false) {
		err = p.c.remove(quiet(ctx, p.c.log), jobs, p.c.ns, p.job, deletion(metav1.DeletePropagationBackground, j.UID))
		if err == nil {
			return true, nil
		}
	}
	if notFound(err) {
		return false, nil
	}
	return false, p.c.fail(ctx, p.op, err)
}
