package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
)

// execChunk is how much output goes into one message.
const execChunk = 32 << 10

// handshakePatience is how long the other end may take over a message.
const handshakePatience = time.Minute

// closePatience is how long a client may take to hang up after it was told that all is over.
const closePatience = 5 * time.Second

// podExec is pods/NAME/exec over WebSocket. SPDY is refused; clients that know both try WebSocket
// first. A command goes on when its client is lost, without input, until it ends by itself or
// with its pod.
func (c *call) podExec() {
	q := c.r.URL.Query()
	if !websocket.IsWebSocketUpgrade(c.r) {
		c.fail(apierrors.NewBadRequest("Upgrade request required"))
		return
	}
	command := q["command"]
	if len(command) == 0 {
		c.fail(apierrors.NewBadRequest("you must specify at least one command for the container"))
		return
	}
	c.k.mu.Lock()
	o, p, x, err := c.target(q.Get("container"))
	var pr *process
	switch {
	case err != nil:
	case o.Spec.NodeName == "":
		err = apierrors.NewBadRequest(fmt.Sprintf("pod %s does not have a host assigned", o.Name))
	case ended(o):
		err = apierrors.NewInternalError(fmt.Errorf("cannot exec into a container in a completed pod; current phase is %s", o.Status.Phase))
	case p == nil || x == nil || x.proc == nil:
		err = apierrors.NewInternalError(fmt.Errorf("container not found (%q)", q.Get("container")))
	default:
		pr = x.proc
	}
	c.k.mu.Unlock()
	if err != nil {
		c.fail(err)
		return
	}
	cmd, e := x.command(pr, command)
	if e != nil {
		c.fail(apierrors.NewInternalError(e))
		return
	}
	up := websocket.Upgrader{Subprotocols: []string{remotecommand.StreamProtocolV5Name, remotecommand.StreamProtocolV4Name},
		CheckOrigin: func(*http.Request) bool { return true }, HandshakeTimeout: handshakePatience}
	conn, e := up.Upgrade(c.w, c.r, nil)
	if e != nil {
		return // it has answered
	}
	defer func() { _ = conn.Close() }()
	yes := func(name string) bool { v := q.Get(name); return v == "true" || v == "1" }
	s := &execStream{conn: conn, start: func(cmd *exec.Cmd) error { return p.launch(cmd, x.cpus()) }}
	s.run(cmd, yes("stdin"), yes("stdout"), yes("stderr"))
}

// command is what runs a command inside a container.
func (c *container) command(pr *process, command []string) (*exec.Cmd, error) {
	env, err := c.environment(pr.dir, pr.plain)
	if err != nil {
		return nil, err
	}
	work := c.spec.WorkingDir
	if work == "" {
		work = "/"
	}
	const enter = `cd "$1" && shift && exec "$@"`
	first := pr.first()
	if first == 0 {
		return nil, errors.New("the container has ended")
	}
	var cmd *exec.Cmd
	if pr.plain {
		if work = c.translate(work); work == "/" {
			work = pr.dir + "/root"
		}
		words := []string{"cd", quote(work), "&&", "exec"}
		for _, a := range command {
			words = append(words, quote(c.translate(a)))
		}
		cmd = exec.Command("/bin/sh", "-c", strings.Join(words, " ")) //nolint:noctx // as below
	} else {
		if nsenterTool() == "" {
			return nil, errors.New("nsenter is missing")
		}
		args := []string{"-t", strconv.Itoa(first), "-m", "-u", "-i", "-p", "-r", "-w"}
		if os.Getuid() != 0 {
			args = append(args, "-U", "--preserve-credentials")
		}
		words := []string{"exec", quote(nsenterTool())}
		for _, a := range append(append(args, "/bin/sh", "-c", enter, "sh", work), command...) {
			words = append(words, quote(a))
		}
		cmd = exec.Command("/bin/sh", "-c", strings.Join(words, " ")) //nolint:noctx // it ends by itself or with its pod, not with a request
	}
	cmd.Env, cmd.SysProcAttr, cmd.Dir = env, sessionAttr(), pr.dir
	return cmd, nil
}

// execStream carries a command's input, output and end over a WebSocket.
type execStream struct {
	conn  *websocket.Conn
	start func(*exec.Cmd) error
	mu    sync.Mutex // one writer at a time
}

func (s *execStream) send(channel byte, b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	w, err := s.conn.NextWriter(websocket.BinaryMessage)
	if err != nil {
		return err
	}
	_, err = w.Write([]byte{channel})
	if err == nil {
		_, err = w.Write(b)
	}
	if e := w.Close(); err == nil {
		err = e
	}
	return err
}

func (s *execStream) run(cmd *exec.Cmd, stdin, stdout, stderr bool) {
	var out sync.WaitGroup
	var parts []io.Closer
	heard := make(chan struct{}) // closed when the client says no more
	pipe := func(channel byte) *os.File {
		r, w, err := os.Pipe()
		if err != nil {
			return nil
		}
		parts = append(parts, w)
		out.Go(func() {
			s.copyOut(channel, r)
			_ = r.Close()
		})
		return w
	}
	if stdout {
		cmd.Stdout = pipe(remotecommand.StreamStdOut)
	}
	if stderr {
		cmd.Stderr = pipe(remotecommand.StreamStdErr)
	}
	in, err := cmd.StdinPipe()
	if err == nil {
		err = s.start(cmd)
	}
	for _, w := range parts {
		_ = w.Close()
	}
	if err == nil {
		if !stdin {
			_ = in.Close()
		}
		go func() { // it ends with the connection
			s.copyIn(in)
			close(heard)
		}()
		err = cmd.Wait()
	} else {
		close(heard)
	}
	out.Wait()
	b, _ := json.Marshal(exitStatusOf(err))
	_ = s.send(remotecommand.StreamErr, b)
	_ = s.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(websocket.CloseNormalClosure, ""), time.Now().Add(handshakePatience))
	// Closing with input unread would take what was sent away from the client.
	t := time.NewTimer(closePatience)
	defer t.Stop()
	select {
	case <-heard:
	case <-t.C:
	}
}

// copyOut sends what the command prints. When the client is lost it reads on: the command has not
// to notice.
func (s *execStream) copyOut(channel byte, r io.Reader) {
	buf := make([]byte, execChunk)
	lost := false
	for {
		n, err := r.Read(buf)
		if n > 0 && !lost {
			lost = s.send(channel, buf[:n]) != nil
		}
		if err != nil {
			return
		}
	}
}

// copyIn feeds the command until the client closes the input (protocol v5) or is lost.
func (s *execStream) copyIn(in io.WriteCloser) {
	defer func() { _ = in.Close() }()
	for {
		_, r, err := s.conn.NextReader()
		if err != nil {
			return
		}
		var channel [1]byte
		if _, err := io.ReadFull(r, channel[:]); err != nil {
			continue
		}
		switch channel[0] {
		case remotecommand.StreamStdIn:
			_, _ = io.Copy(in, r) // a command that reads no more is no reason to hang up
		case remotecommand.StreamClose:
			if _, err := io.ReadFull(r, channel[:]); err == nil && channel[0] == remotecommand.StreamStdIn {
				_ = in.Close()
			}
		}
	}
}

// exitStatusOf is how the error channel says that a command ended.
func exitStatusOf(err error) metav1.Status {
	st := metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
	var x *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &x):
		code := x.ExitCode()
		if ws, ok := x.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			code = 128 + int(ws.Signal())
		}
		st.Status, st.Reason = metav1.StatusFailure, remotecommand.NonZeroExitCodeReason
		st.Message = fmt.Sprintf("command terminated with non-zero exit code: exit status %d", code)
		st.Details = &metav1.StatusDetails{Causes: []metav1.StatusCause{{Type: remotecommand.ExitCodeCauseType, Message: strconv.Itoa(code)}}}
	default:
		st.Status, st.Reason, st.Message, st.Code = metav1.StatusFailure, metav1.StatusReasonInternalError, err.Error(), http.StatusInternalServerError
	}
	return st
}
