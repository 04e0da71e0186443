package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// The one program that simulated nodes have is called with a JSON object: what the conformance
// suite calls a Program.
const simulate = "simulate"

// behaviour is what a simulated process does, in this order.
type behaviour struct {
	Args     []string // printed, each followed by a zero byte
	Out, Err string   // printed
	Bytes    int      // so many bytes "x" are printed
	Env      string   // the value of this variable is printed
	File     string   // left behind, with Out in it
	Stubborn bool     // SIGTERM is ignored
	Sleep    float64  // seconds
	Kill     bool     // it dies of SIGKILL
	Exit     int
}

// process is one that a pod would run.
type process struct {
	s       *simulation
	pod     *corev1.Pod
	dir     string
	timeout time.Duration
	does    behaviour
	began   time.Time
	alive   *os.File // the FIFO that a supervisor holds
	timer   *time.Timer
	ready   chan struct{} // closed when all above is set
	once    sync.Once
}

// process gives that of a pod; nil: none is running in it.
func (s *simulation) process(pod *corev1.Pod) *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.procs[string(pod.UID)]
}

// changed begins the process of a pod that has come up, and ends that of one which is to go.
func (s *simulation) changed(pod *corev1.Pod) {
	p := s.process(pod)
	words := pod.Spec.Containers[0].Command
	switch {
	case p != nil && pod.DeletionTimestamp != nil:
		go p.stop("told", 0)
	case p == nil && pod.Status.Phase == corev1.PodRunning && len(words) == 8 && words[6] == "pod":
		p = &process{s: s, pod: pod, ready: make(chan struct{})}
		s.mu.Lock()
		s.procs[string(pod.UID)] = p
		s.mu.Unlock()
		go p.begin(words[4], words[7])
	}
}

func (s *simulation) deleted(pod *corev1.Pod) {
	p := s.process(pod)
	s.mu.Lock()
	delete(s.procs, string(pod.UID))
	s.mu.Unlock()
	if p != nil {
		go p.stop("told", 0)
	}
}

// begin makes the process's folder, as the supervisor's verb "pod" does.
func (p *process) begin(home, timeout string) {
	defer close(p.ready)
	if err := p.prepare(home, timeout); err != nil {
		log.Printf("pod %s: %v", p.pod.Name, err)
		p.once.Do(func() { p.status(corev1.PodFailed, 5, err.Error()) })
		return
	}
	if p.alive == nil { // a pod in the place of one that has ended
		p.once.Do(func() { p.status(corev1.PodSucceeded, 0, "") })
		return
	}
	took, code, how := time.Duration(p.does.Sleep*float64(time.Second)), p.does.Exit, ""
	if p.does.Kill {
		code = 137
	}
	if p.timeout > 0 && p.timeout < took {
		took, code, how = p.timeout, 143, "timedout"
	}
	p.timer = time.AfterFunc(time.Until(p.began.Add(took)), func() {
		<-p.ready
		p.end(code, how, took)
	})
}

func (p *process) prepare(home, timeout string) error {
	if !p.s.holds(p.pod) || !strings.HasPrefix(home, p.s.disk+"/") {
		return fmt.Errorf("%s", p.s.elsewhere())
	}
	seconds, err := strconv.ParseFloat(timeout, 64)
	if err != nil {
		return err
	}
	p.timeout = time.Duration(seconds * float64(time.Second))
	index, err := strconv.Atoi(p.pod.Annotations["batch.kubernetes.io/job-completion-index"])
	if err != nil {
		return err
	}
	args := p.pod.Spec.Containers[0].Args
	if len(args) < 2*index+2 {
		return fmt.Errorf("no arguments for process %d", index)
	}
	plain := func(s string) string { return strings.ReplaceAll(s, "$$", "$") } // as kubelet
	p.dir = filepath.Join(home, ".dlx/procs", plain(args[2*index]))
	env, words := script(plain(args[2*index+1]))
	started := filepath.Join(p.dir, ".dlx/started")
	if st, err := os.Stat(started); err == nil { // this program was started again
		p.began = st.ModTime()
	} else {
		p.began = time.Now()
	}
	if _, err := os.Stat(filepath.Join(p.dir, ".dlx/exit")); err == nil {
		return nil
	}
	if len(words) != 2 || words[0] != simulate {
		p.does = behaviour{Exit: 127, Err: fmt.Sprintf("%.200q: not found: a simulated node has one program, %s\n", words, simulate)}
	} else if err := json.Unmarshal([]byte(words[1]), &p.does); err != nil {
		p.does = behaviour{Exit: 2, Err: fmt.Sprintf("%s: %v\n", simulate, err)}
	}
	if err := os.MkdirAll(filepath.Join(p.dir, ".dlx"), 0o755); err != nil {
		return err
	}
	fifo := filepath.Join(p.dir, ".dlx/alive")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil && !os.IsExist(err) {
		return err
	}
	if p.alive, err = os.OpenFile(fifo, os.O_RDWR, 0); err != nil {
		return err
	}
	out := ""
	for _, a := range p.does.Args {
		out += a + "\x00"
	}
	out += p.does.Out + strings.Repeat("x", p.does.Bytes) + env[p.does.Env]
	files := map[string]string{
		"stdout": out, "stderr": p.does.Err,
		"probe": fmt.Sprintf("hostname=%s\nkernel=simulated\ncontainer=pod\n", p.pod.Spec.NodeName),
	}
	if p.does.File != "" {
		files[p.does.File] = p.does.Out
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	f, err := os.OpenFile(started, os.O_CREATE, 0o644) // keeps the time of the first
	if err != nil {
		return err
	}
	return f.Close()
}

// stops reads the grace out of a command that calls the supervisor's verb "stop".
func stops(words []string) (time.Duration, bool) {
	if len(words) != 9 || words[6] != "stop" {
		return 0, false
	}
	seconds, err := strconv.ParseFloat(words[8], 64)
	return time.Duration(seconds * float64(time.Second)), err == nil
}

// stop does what SIGTERM does, and SIGKILL after a grace.
func (p *process) stop(how string, grace time.Duration) {
	<-p.ready
	code := 143
	if p.does.Stubborn {
		time.Sleep(grace)
		code = 137
	}
	p.end(code, how, time.Since(p.began))
}

// end writes the exit record, and lets the pod end as that of a supervisor does.
func (p *process) end(code int, how string, took time.Duration) {
	p.once.Do(func() {
		if p.timer != nil {
			p.timer.Stop()
		}
		if p.alive == nil { // it has not begun
			return
		}
		record := fmt.Sprintf("code=%d\nstarted=%d\nelapsed=%d\n", code, p.began.UnixNano(), took.Nanoseconds())
		if how != "" {
			record += how + "=1\n"
		}
		exit := filepath.Join(p.dir, ".dlx/exit")
		err := os.WriteFile(exit+".new", []byte(record+"end=1\n"), 0o644)
		if err == nil {
			err = os.Rename(exit+".new", exit)
		}
		_ = p.alive.Close()
		switch {
		case err != nil && !os.IsNotExist(err): // the fleet's folder is removed while its pods go
			log.Printf("pod %s: %v", p.pod.Name, err)
			p.status(corev1.PodFailed, 5, err.Error())
		case how == "told":
			p.status(corev1.PodFailed, 143, "")
		default:
			p.status(corev1.PodSucceeded, 0, "")
		}
	})
}

// status says how the container ended, as a kubelet does.
func (p *process) status(phase corev1.PodPhase, code int32, message string) {
	reason, now := "Completed", metav1.Now()
	if code != 0 {
		reason = "Error"
	}
	c := &p.pod.Spec.Containers[0]
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"phase": phase,
		"conditions": []map[string]any{
			{"type": "Ready", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now},
			{"type": "ContainersReady", "status": "False", "reason": "PodCompleted", "lastTransitionTime": now},
		},
		"containerStatuses": []corev1.ContainerStatus{{
			Name: c.Name, Image: c.Image, State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: code, Reason: reason, Message: message, StartedAt: metav1.NewTime(p.began), FinishedAt: now,
			}},
		}},
	}})
	if err == nil {
		_, err = p.s.client.CoreV1().Pods(p.pod.Namespace).Patch(context.Background(), p.pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil && !apierrors.IsNotFound(err) {
		log.Printf("pod %s: %v", p.pod.Name, err)
	}
}

// script reads what package supervisor writes: variables, and one command of quoted words.
func script(text string) (env map[string]string, command []string) {
	env = map[string]string{}
	var words []string
	var word strings.Builder
	quoted, some := false, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\'':
			quoted, some = !quoted, true
		case !quoted && c == '\\':
			i++
			word.WriteByte(text[i])
		case !quoted && (c == ' ' || c == '\n'):
			if some {
				words = append(words, word.String())
			}
			word.Reset()
			some = false
			if c == ' ' || len(words) == 0 {
				continue
			}
			if words[0] == "exec" {
				command = words[1:]
			} else if name, value, ok := strings.Cut(words[len(words)-1], "="); ok { // export name=value
				env[name] = value
			}
			words = nil
		default:
			word.WriteByte(c)
			some = true
		}
	}
	return env, command
}
