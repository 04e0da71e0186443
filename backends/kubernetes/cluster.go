package kubernetes

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/backends/internal/gates"
	"dlx.dev/dlx/backends/internal/supervisor"
)

// A cluster is a namespace of a cluster, with what its pods do. Pods are watched, never asked
// for one by one.
type cluster struct {
	*client
	ns  string
	opt Options

	making *gates.Gates // the launcher's
	nsSeen time.Time    // when the namespace was there; its gate guards it

	bell   bell
	pods   *mirror[*corev1.Pod]
	events *mirror[*corev1.Event] // warnings only; empty where the login may not read them
	end    func()
	work   sync.WaitGroup

	mu       sync.Mutex
	capacity map[string]corev1.ResourceList // by node, what it can give; nil: it may not be read
	staged   map[string]string              // by holder's UID, checksum, name and mode: the path
	readied  map[string]map[string]string   // by holder's UID: the facts of a machine that is prepared
	staging  gates.Gates                    // by the same: sends under way
	kept     map[string]map[string][]byte   // by holder and folder: small files of processes that have ended, see left
	keeps    int                            // so many bytes
	running  map[string]*finishing          // by name: Jobs started here whose ends have not all been read
	finished chan *finishing                // Jobs and JobSets to be removed
	sets     *setUse                        // nil: nobody asked yet
	jobs     gates.Gates                    // by name: a Job is made or removed
}

// ownerKey is the key of an owner's pods in the mirror.
func ownerKey(o backends.Owner) string {
	if o.Fleet == "" {
		return label(o.Run) + "/"
	}
	return label(o.Run) + "/" + label(o.Fleet)
}

// errClosed ends what goes on when the launcher is closed.
var errClosed = errors.New("the launcher is closed")

func newCluster(ctx context.Context, api *client, ns string, making *gates.Gates, o Options) *cluster {
	alive, end := context.WithCancelCause(quiet(context.WithoutCancel(ctx), o.Log))
	c := &cluster{client: api, ns: ns, opt: o, making: making, end: func() { end(errClosed) },
		capacity: map[string]corev1.ResourceList{}, staged: map[string]string{}, readied: map[string]map[string]string{}, kept: map[string]map[string][]byte{},
		running: map[string]*finishing{}, finished: make(chan *finishing, maxFinished)}
	c.pods = newMirror(&c.bell, func(p *corev1.Pod) []string {
		run, fleet := p.Labels[labelRun], p.Labels[labelFleet]
		return []string{p.Labels[labelGroup], run + "/", run + "/" + fleet}
	})
	c.events = newMirror(&c.bell, func(e *corev1.Event) []string { return []string{string(e.InvolvedObject.UID), workload(e)} })
	c.work.Go(func() { c.removeFinished(alive) })
	c.work.Go(func() {
		c.pods.follow(alive, api, pods, ns, func() runtime.Object { return &corev1.Pod{} }, func() runtime.Object { return &corev1.PodList{} },
			metav1.ListOptions{LabelSelector: labelManager + "=" + manager})
	})
	c.work.Go(func() {
		c.events.follow(alive, api, events, ns, func() runtime.Object { return &corev1.Event{} }, func() runtime.Object { return &corev1.EventList{} },
			metav1.ListOptions{FieldSelector: "type=" + corev1.EventTypeWarning})
	})
	return c
}

func (c *cluster) close() {
	c.end()
	c.work.Wait()
	c.client.close()
}

// await looks again and again: after each change, and at the latest after pause if that is not
// 0. It fails when pods cannot be watched for longer than the launcher's patience, and at once
// when they may not be.
func (c *cluster) await(ctx context.Context, op string, look func() (done bool, pause time.Duration, err error)) error {
	for {
		changed := c.bell.next()
		synced, since, lost := c.pods.state()
		switch class := backends.ClassOf(c.fail(ctx, op, lost)); {
		case lost == nil:
		case class == backends.Config, time.Since(since) > c.opt.Patience:
			return c.fail(ctx, op, lost)
		}
		pause := c.opt.Patience
		if synced {
			done, soon, err := look()
			if done || err != nil {
				return err
			}
			if soon > 0 {
				pause = min(soon, pause)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		timer.Stop()
	}
}

// troubles are what keeps some things from going on, since when.
type troubles struct {
	c     *cluster
	first map[string]time.Time // by whose it is and the beginning of its words
	soon  time.Duration        // until the first of those that were borne in this look is a failure; 0: there is none
}

// bear notes a trouble that somebody has, and returns it as an error of op when it has lasted too long.
func (t *troubles) bear(who, op string, x *trouble) error {
	key := who + x.words[:min(20, len(x.words))]
	if t.first[key].IsZero() {
		t.first[key] = time.Now()
	}
	left := t.c.lasts(x) - time.Since(t.first[key])
	if left <= 0 {
		return x.err(op)
	}
	if t.soon == 0 || left < t.soon {
		t.soon = left
	}
	return nil
}

// lasts says how long a trouble may last before it is a failure.
func (c *cluster) lasts(t *trouble) time.Duration {
	if t.after == mending {
		return c.opt.Mend
	}
	return t.after
}

// warningsOf gives the warnings about an object, oldest first not promised.
func (c *cluster) warningsOf(uid string) []*corev1.Event {
	return c.events.group(uid)
}

// home is the folder of a fleet on the scratch volume, the same in all of its pods.
func (s *spot) home() string {
	return s.pod.Scratch.path() + "/" + s.at.Owner.Run + "/" + s.at.Owner.Fleet
}

// script is the supervisor's path below home.
func script() string { return ".dlx/files/" + supervisorSum() + "/supervisor.sh" }

// supervise runs a verb of the supervisor in a pod of a machine.
func (c *cluster) supervise(ctx context.Context, s *spot, pod string, stdin io.Reader, stdout io.Writer, words ...string) (int, string, error) {
	var errs bytes.Buffer
	cmd := command{ns: c.ns, pod: pod, words: append([]string{"/bin/sh", "-c", enter, "dlx", s.home(), script()}, words...),
		stdin: stdin, stdout: stdout, stderr: &limitedBuffer{to: &errs, left: 16 << 10}}
	status, err := c.exec(quiet(ctx, c.log), cmd)
	return status, strings.TrimSpace(errs.String()), err
}

// enter runs a script below a home: its arguments are the home, the script, and the script's own.
const enter = `cd "$1" && shift && exec /bin/sh "$@"`

// ask runs a verb in the holder of a machine. What broke on the way is tried again, as long as
// the holder runs and the launcher's patience lasts; what the supervisor says comes back.
func (c *cluster) ask(ctx context.Context, op string, s *spot, stdin func() (io.ReadCloser, error), words ...string) (int, string, string, error) {
	began, pause := time.Now(), 100*time.Millisecond
	for {
		var out bytes.Buffer
		status, errs, err := c.once(ctx, s, stdin, &out, words)
		if err == nil {
			switch status {
			case 0, supervisor.Vanished, supervisor.Unknown, supervisor.Cannot, supervisor.Torn:
				return status, out.String(), errs, nil
			}
			err = fmt.Errorf("%s ended with %d: %s", words[0], status, clip(errs))
		}
		if gone := c.holderGone(s); gone != nil {
			return 0, "", "", &backends.Error{Class: backends.Infra, Op: op, Err: gone}
		}
		if notFound(err) {
			return 0, "", "", backends.Errorf(backends.Infra, op, "pod %s, which holds the machine, is gone", s.holder)
		}
		failed := c.fail(ctx, op, err)
		if ctx.Err() != nil || !backends.ClassOf(failed).Temporary() || time.Since(began) > c.opt.Patience {
			return 0, "", "", failed
		}
		c.log("%v; trying again in %v", failed, pause)
		if !sleep(ctx, pause) {
			return 0, "", "", fmt.Errorf("%s: %w", op, context.Cause(ctx))
		}
		pause = min(2*pause, 5*time.Second)
	}
}

func (c *cluster) once(ctx context.Context, s *spot, stdin func() (io.ReadCloser, error), out io.Writer, words []string) (int, string, error) {
	if stdin == nil {
		return c.supervise(ctx, s, s.holder, nil, out, words...)
	}
	r, err := stdin()
	if err != nil {
		return -1, "", backends.Errorf(backends.Config, "read", "%w", err)
	}
	defer r.Close()
	return c.supervise(ctx, s, s.holder, r, out, words...)
}

// holderGone says why nothing can be read from a machine any more; nil: it can.
func (c *cluster) holderGone(s *spot) error {
	if synced, _, _ := c.pods.state(); !synced {
		return nil
	}
	p, ok := c.pods.get(s.holder)
	switch {
	case !ok:
		return fmt.Errorf("pod %s, which holds the machine, is gone", s.holder)
	case p.DeletionTimestamp != nil, ended(p):
		return fmt.Errorf("pod %s, which holds the machine, has ended: %s", s.holder, endOfPod(p))
	}
	return nil
}

// limitedBuffer keeps the beginning of what is written.
type limitedBuffer struct {
	to   *bytes.Buffer
	left int
}

func (b *limitedBuffer) Write(p []byte) (int, error) {
	n := min(len(p), b.left)
	b.to.Write(p[:n])
	b.left -= n
	return len(p), nil
}

// sleep waits and reports whether it did so to the end.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
