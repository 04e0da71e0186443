package kubernetes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// A proc is a process as this package finds it.
type proc struct {
	*spot
	c      *cluster
	op     string
	id     string
	group  string
	job    string // name of its Job
	index  int
	folder string
}

func (l *Launcher) process(ctx context.Context, verb string, m backends.Machine, id string) (*proc, error) {
	op := opOf(verb, id, m)
	folder, err := supervisor.Folder(id)
	if err != nil {
		return nil, backends.Errorf(backends.Config, op, "%w", err)
	}
	s, c, err := l.reach(ctx, m)
	if err != nil {
		return nil, err
	}
	group, index, ok := groupOf(id)
	if !ok {
		return nil, backends.Errorf(backends.Infra, op, "%q is no process of a group: %w", id, backends.ErrNotFound)
	}
	return &proc{spot: s, c: c, op: op, id: id, group: group, job: s.jobName(group), index: index, folder: folder}, nil
}

// pod gives the pod of the process, if there is one.
func (p *proc) pod() *corev1.Pod { return p.c.podsOf(p.job)[p.index] }

// Wait watches the pod of a process and reads, when it has ended, what it left.
func (l *Launcher) Wait(ctx context.Context, m backends.Machine, id string) (backends.Exit, error) {
	p, err := l.process(ctx, "wait for", m, id)
	if err != nil {
		return backends.Exit{}, err
	}
	var pod *corev1.Pod
	var looked, leaving time.Time
	err = p.c.await(ctx, p.op, func() (bool, time.Duration, error) {
		now := p.pod()
		if now != nil {
			pod = now
			if now.DeletionTimestamp == nil || ended(now) {
				return ended(now), 0, nil
			}
			// Its kubelet ends it within its grace. One that does not answer never will: then the
			// pod stays as it is until somebody removes the node.
			if leaving.IsZero() {
				leaving = time.Now()
			}
			left := time.Duration(ptr.Deref(now.DeletionGracePeriodSeconds, 0))*time.Second + p.c.opt.Patience - time.Since(leaving)
			if left <= 0 {
				return false, 0, backends.Errorf(backends.Infra, p.op, "pod %s: node %s does not answer: %s", now.Name, now.Spec.NodeName, endOfPod(now))
			}
			return false, left, nil
		}
		if pod != nil {
			return true, 0, nil // deleted under us
		}
		// None yet, none any more, or none at all. Whether there is a Job is asked rarely: it is
		// made before anybody waits.
		if time.Since(looked) < time.Second {
			return false, time.Second, nil
		}
		looked = time.Now()
		if there, err := p.isMade(ctx); err != nil || there {
			return false, time.Second, err
		}
		return true, 0, nil
	})
	if err != nil {
		return backends.Exit{}, err
	}
	return p.end(ctx, pod)
}

// isMade reports whether the Job of the process is there and will make a pod.
func (p *proc) isMade(ctx context.Context) (bool, error) {
	var j batchv1.Job
	err := p.c.get(quiet(ctx, p.c.log), jobs, p.c.ns, p.job, &j)
	if notFound(err) {
		return false, nil
	}
	if err != nil {
		return false, p.c.fail(ctx, p.op, err)
	}
	return !over(&j) && j.DeletionTimestamp == nil && p.index < int(*j.Spec.Completions), nil
}

// end reads how the process ended from its folder. pod is the last that was seen of it, or nil.
func (p *proc) end(ctx context.Context, pod *corev1.Pod) (backends.Exit, error) {
	fail := func(class backends.Class, format string, args ...any) (backends.Exit, error) {
		return backends.Exit{}, backends.Errorf(class, p.op, format, args...)
	}
	status, out, errs, err := p.left(ctx)
	switch {
	case err != nil:
		return backends.Exit{}, err
	case status == 0:
	case pod == nil && status == supervisor.Unknown:
		return fail(backends.Infra, "process: %w", backends.ErrNotFound)
	case pod == nil:
		return fail(backends.Infra, "it vanished without a trace %s", errs)
	default:
		class, words := lost(pod)
		return fail(class, "pod %s: %s", pod.Name, words)
	}
	r, err := supervisor.ParseRecord(out)
	if err != nil {
		return fail(backends.Infra, "exit record: %w", err)
	}
	p.c.finish(p.job, p.index)
	if r.Told && !r.Stopped {
		words := "it is gone"
		if pod != nil {
			words = endOfPod(pod)
		}
		return fail(backends.Infra, "the cluster ended its pod: %s", words)
	}
	return r.Exit, nil
}

// Stop has the supervisor in the pod of the process end it. The pod is not deleted: that would
// take as long as its grace, and what the kubelet does to it is not the program's doing.
func (l *Launcher) Stop(ctx context.Context, m backends.Machine, id string, grace time.Duration) error {
	p, err := l.process(ctx, "stop", m, id)
	if err != nil {
		if errors.Is(err, backends.ErrNotFound) {
			return nil
		}
		return err
	}
	began, pause := time.Now(), 100*time.Millisecond
	for {
		pod, err := p.found(ctx)
		switch {
		case err != nil:
			return err
		case pod == nil:
			_, err := p.leaveQueue(ctx)
			return err
		case ended(pod):
			return nil
		case !started(pod): // it waits for a node or its image
			return p.withdraw(ctx, pod)
		}
		status, errs, err := p.c.supervise(ctx, p.spot, pod.Name, nil, io.Discard, "stop", p.folder, supervisor.Seconds(grace))
		// The container ends with its supervisor, and may take the command with it before it has
		// answered.
		if over, werr := p.gone(ctx, pod.Name, p.c.opt.Patience/12); over || werr != nil {
			return werr
		}
		if err == nil {
			err = fmt.Errorf("status %d: %s", status, clip(errs))
		}
		failed := p.c.fail(ctx, p.op, fmt.Errorf("pod %s runs on: %w", pod.Name, err))
		if ctx.Err() != nil || !backends.ClassOf(failed).Temporary() || time.Since(began) > p.c.opt.Patience+grace {
			return failed
		}
		p.c.log("%v; trying again in %v", failed, pause)
		if !sleep(ctx, pause) {
			return fmt.Errorf("%s: %w", p.op, context.Cause(ctx))
		}
		pause = min(2*pause, 5*time.Second)
	}
}

// found gives the pod of the process when the watch has seen everything; nil: there is none.
func (p *proc) found(ctx context.Context) (*corev1.Pod, error) {
	var pod *corev1.Pod
	err := p.c.await(ctx, p.op, func() (bool, time.Duration, error) {
		pod = p.pod()
		return true, 0, nil
	})
	return pod, err
}

// gone waits for the end of a pod, for a while.
func (p *proc) gone(ctx context.Context, name string, most time.Duration) (bool, error) {
	began := time.Now()
	over := false
	err := p.c.await(ctx, p.op, func() (bool, time.Duration, error) {
		pod, ok := p.c.pods.get(name)
		over = !ok || ended(pod)
		left := most - time.Since(began)
		return over || left <= 0, left, nil
	})
	return over, err
}

// withdraw deletes a pod that has started nothing. The Job makes no other.
func (p *proc) withdraw(ctx context.Context, pod *corev1.Pod) error {
	uid := pod.UID
	err := p.c.remove(quiet(ctx, p.c.log), pods, p.c.ns, pod.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}})
	if err != nil && !notFound(err) {
		return p.c.fail(ctx, p.op, err)
	}
	return p.c.await(ctx, p.op, func() (bool, time.Duration, error) {
		now, ok := p.c.pods.get(pod.Name)
		return !ok || ended(now), 0, nil
	})
}
