package sandbox

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// logPoll is how soon a followed log is looked at again.
const logPoll = 50 * time.Millisecond

// target finds the pod of a request on pods/log and pods/exec, and its container. The caller
// holds k.mu.
func (c *call) target(name string) (*corev1.Pod, *pod, *container, *apierrors.StatusError) {
	o, _ := c.k.st.get(pods, c.namespace, c.name).(*corev1.Pod)
	if o == nil {
		return nil, nil, nil, apierrors.NewNotFound(pods.gr(), c.name)
	}
	if name == "" {
		name = o.Annotations["kubectl.kubernetes.io/default-container"]
	}
	if name == "" {
		if len(o.Spec.Containers) > 1 {
			return nil, nil, nil, apierrors.NewBadRequest(fmt.Sprintf("a container name must be specified for pod %s, choose one of: [%s]", o.Name, spaced(containerNames(o))))
		}
		name = o.Spec.Containers[0].Name
	}
	there := false
	for _, list := range [][]corev1.Container{o.Spec.InitContainers, o.Spec.Containers} {
		for i := range list {
			there = there || list[i].Name == name
		}
	}
	if !there {
		return nil, nil, nil, apierrors.NewBadRequest(fmt.Sprintf("container %s is not valid for pod %s", name, o.Name))
	}
	p := c.k.pods[o.UID]
	if p == nil {
		return o, nil, nil, nil
	}
	for _, list := range [][]*container{p.init, p.main} {
		for _, x := range list {
			if x.spec.Name == name {
				return o, p, x, nil
			}
		}
	}
	return o, p, nil, nil
}

func spaced(s string) string { return string(bytes.ReplaceAll([]byte(s), []byte(","), []byte(" "))) }

// logReader reads one container's log as it was asked for.
type logReader struct {
	follow     bool
	timestamps bool
	since      time.Time
	tail       int64 // lines; <0: all
	limit      int64 // bytes; <0: all
}

// podLog is GET pods/NAME/log.
func (c *call) podLog(ctx context.Context) {
	q := c.r.URL.Query()
	yes := func(name string) bool { v := q.Get(name); return v == "true" || v == "1" }
	l := &logReader{follow: yes("follow"), timestamps: yes("timestamps"), tail: -1, limit: -1}
	for name, at := range map[string]*int64{"tailLines": &l.tail, "limitBytes": &l.limit} {
		if v := q.Get(name); v != "" {
			n, err := strconv.ParseInt(v, 10, 64)
			if err != nil || n < 0 {
				c.fail(apierrors.NewBadRequest(fmt.Sprintf("PodLogOptions %q is invalid: %s: Invalid value: %s", c.name, name, v)))
				return
			}
			*at = n
		}
	}
	if v := q.Get("sinceTime"); v != "" {
		t, err := time.Parse(time.RFC3339, v)
		if err != nil {
			c.fail(apierrors.NewBadRequest(err.Error()))
			return
		}
		l.since = t
	}
	if n, err := strconv.ParseInt(q.Get("sinceSeconds"), 10, 64); err == nil {
		l.since = time.Now().Add(-time.Duration(n) * time.Second)
	}
	name := q.Get("container")
	c.k.mu.Lock()
	o, p, x, err := c.target(name)
	if err != nil {
		c.k.mu.Unlock()
		c.fail(err)
		return
	}
	file, pr := "", (*process)(nil)
	if x != nil {
		file, pr = x.logFile(yes("previous"))
		if w := x.status.State.Waiting; file == "" && w != nil {
			c.k.mu.Unlock()
			c.fail(apierrors.NewBadRequest(fmt.Sprintf("container %q in pod %q is waiting to start: %s", x.spec.Name, o.Name, w.Reason)))
			return
		}
	}
	c.k.mu.Unlock()
	c.w.Header().Set("Content-Type", "text/plain")
	c.w.WriteHeader(http.StatusOK)
	if p == nil || file == "" {
		return // no node yet: an empty log, and no error
	}
	l.copy(ctx, c.w, file, pr, c.k.done)
}

// logFile is the log of the latest start, or of the one before it. The caller holds k.mu.
func (c *container) logFile(previous bool) (string, *process) {
	n := int(c.status.RestartCount)
	if previous {
		n--
	}
	file := filepath.Join(c.attempt(n), "log")
	if _, err := os.Stat(file); err != nil || n < 0 {
		return "", nil
	}
	return file, c.proc
}

// copy sends a log. Times of lines are known only roughly: a line that is there when it is first
// read has the time at which the file was written last.
func (l *logReader) copy(ctx context.Context, w io.Writer, file string, pr *process, closed <-chan struct{}) {
	f, err := os.Open(file)
	if err != nil {
		return
	}
	defer func() { _ = f.Close() }()
	if l.tail >= 0 {
		skipToTail(f, l.tail)
	}
	flush := func() {}
	if x, ok := w.(http.Flusher); ok {
		flush = x.Flush
	}
	flush()
	var rest []byte
	buf := make([]byte, 32<<10)
	for {
		over := !l.follow || pr == nil || pr.done == nil || isClosed(pr.done)
		n, err := f.Read(buf)
		rest = append(rest, buf[:n]...)
		for {
			i := bytes.IndexByte(rest, '\n')
			if i < 0 {
				break
			}
			if !l.line(w, rest[:i+1], f) {
				return
			}
			rest = rest[i+1:]
		}
		if err == nil {
			continue
		}
		flush()
		if over {
			if len(rest) > 0 {
				l.line(w, rest, f)
			}
			return
		}
		t := time.NewTimer(logPoll)
		select {
		case <-t.C:
		case <-pr.done:
		case <-ctx.Done():
			return
		case <-closed:
			return
		}
		t.Stop()
	}
}

// line sends one, and reports whether there may be more.
func (l *logReader) line(w io.Writer, b []byte, f *os.File) bool {
	at := time.Now()
	if fi, err := f.Stat(); err == nil {
		at = noLater(fi)
	}
	if at.Before(l.since) {
		return true
	}
	if l.timestamps {
		b = append([]byte(at.UTC().Format(metav1.RFC3339Micro)+" "), b...)
	}
	if l.limit >= 0 {
		b = b[:min(int64(len(b)), l.limit)]
		l.limit -= int64(len(b))
	}
	_, err := w.Write(b)
	return err == nil && l.limit != 0
}

// skipToTail goes to where the last n lines begin.
func skipToTail(f *os.File, n int64) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil || n == 0 {
		return
	}
	buf := make([]byte, 32<<10)
	for at := size; at > 0; {
		step := min(at, int64(len(buf)))
		at -= step
		if _, err := f.ReadAt(buf[:step], at); err != nil {
			break
		}
		for i := step - 1; i >= 0; i-- {
			if buf[i] != '\n' || at+i == size-1 { // the last line's end is no beginning of another
				continue
			}
			if n--; n == 0 {
				_, _ = f.Seek(at+i+1, io.SeekStart)
				return
			}
		}
	}
	_, _ = f.Seek(0, io.SeekStart)
}
