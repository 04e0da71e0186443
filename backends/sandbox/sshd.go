package sandbox

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

// serverConfig lets the user in with one of the keys.
func serverConfig(host []ssh.Signer, authorized []string) *ssh.ServerConfig {
	var keys [][]byte
	for _, a := range authorized {
		if k, _, _, _, err := ssh.ParseAuthorizedKey([]byte(a)); err == nil {
			keys = append(keys, k.Marshal())
		}
	}
	c := &ssh.ServerConfig{
		PublicKeyCallback: func(meta ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			for _, k := range keys {
				if meta.User() == User && bytes.Equal(k, key.Marshal()) {
					return &ssh.Permissions{}, nil
				}
			}
			return nil, errors.New("permission denied")
		},
	}
	for _, h := range host {
		c.AddHostKey(h)
	}
	return c
}

// serve accepts connections until the machine is closed.
func (m *machine) serve() {
	for {
		c, err := m.listener.Accept()
		if err != nil {
			return
		}
		if !m.take(c) {
			_ = c.Close()
			return
		}
	}
}

// take serves a connection, unless the machine is closed.
func (m *machine) take(c net.Conn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.done {
		return false
	}
	m.conns[c] = true
	m.work.Go(func() {
		m.connection(c)
		_ = c.Close()
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
	})
	return true
}

// loginGrace is OpenSSH's LoginGraceTime.
const loginGrace = 2 * time.Minute

func (m *machine) connection(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(loginGrace))
	sc, chans, reqs, err := ssh.NewServerConn(c, m.config)
	if err != nil {
		m.log("sandbox: %s: ssh: %v", m.name, err)
		return
	}
	_ = c.SetDeadline(time.Time{})
	go func() {
		for r := range reqs { // keepalives are answered as OpenSSH does: a refusal is an answer
			if r.WantReply {
				_ = r.Reply(false, nil)
			}
		}
	}()
	for n := range chans {
		switch {
		case n.ChannelType() == "direct-tcpip":
			go m.forward(n)
		case n.ChannelType() != "session":
			_ = n.Reject(ssh.UnknownChannelType, "the sandbox serves sessions and direct-tcpip only")
		case m.home == "":
			_ = n.Reject(ssh.Prohibited, "nothing runs on a jump host")
		default:
			if ch, rs, err := n.Accept(); err == nil {
				go m.session(ch, rs)
			}
		}
	}
	_ = sc.Wait()
}

// session serves one program or subsystem.
func (m *machine) session(ch ssh.Channel, reqs <-chan *ssh.Request) {
	started := false
	for r := range reqs {
		ok := false
		var payload struct{ Text string }
		switch r.Type {
		case "exec", "subsystem":
			if !started && ssh.Unmarshal(r.Payload, &payload) == nil {
				switch {
				case r.Type == "exec":
					ok = true
					go m.exec(ch, payload.Text)
				case payload.Text == "sftp":
					ok = true
					go m.sftp(ch)
				}
				started = ok
			}
		case "env": // as sshd without AcceptEnv
		}
		if r.WantReply {
			_ = r.Reply(ok, nil)
		}
	}
}

func (m *machine) sftp(ch ssh.Channel) {
	defer func() { _ = ch.Close() }()
	s, err := sftp.NewServer(ch, sftp.WithServerWorkingDirectory(m.home))
	if err != nil {
		m.log("sandbox: %s: sftp: %v", m.name, err)
		return
	}
	_ = s.Serve()
}

// markName is the variable by which all processes of a machine are found. Its value is the
// machine's folder: IDs of nodes are the same in every sandbox of a computer.
const markName = "DLX_SANDBOX_MACHINE"

func (m *machine) environment() []string {
	return []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=" + m.home, "USER=" + User, "LOGNAME=" + User, "SHELL=/bin/sh", "LANG=C.UTF-8",
		markName + "=" + m.home,
	}
}

// exec runs a command as sshd does: it is over when the program has ended and its output too.
func (m *machine) exec(ch ssh.Channel, command string) {
	defer func() { _ = ch.Close() }()
	cmd := exec.Command("/bin/sh", "-c", command) //nolint:noctx // it ends by itself or with its machine, not with a connection
	cmd.Dir, cmd.Env = m.home, m.environment()
	cmd.Stdout, cmd.Stderr = ch, ch.Stderr()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = m.cage.start(cmd, func() error { return startPinned(cmd, m.cpus) })
	}
	if err != nil {
		m.log("sandbox: %s: %v", m.name, err)
		exitStatus(ch, 126)
		return
	}
	go func() {
		_, _ = io.Copy(stdin, ch)
		_ = stdin.Close()
	}()
	_ = cmd.Wait()
	m.exit(ch, cmd.ProcessState)
}

func (m *machine) exit(ch ssh.Channel, st *os.ProcessState) {
	if ws, ok := st.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		_, _ = ch.SendRequest("exit-signal", false, ssh.Marshal(struct {
			Signal string
			Core   bool
			Text   string
			Lang   string
		}{signalName(ws.Signal()), ws.CoreDump(), "", ""}))
		return
	}
	exitStatus(ch, uint32(st.ExitCode())) //nolint:gosec // 0 to 255
}

func exitStatus(ch ssh.Channel, code uint32) {
	_, _ = ch.SendRequest("exit-status", false, ssh.Marshal(struct{ Code uint32 }{code}))
}

// signalName is a signal as RFC 4254 section 6.10 calls it.
func signalName(s syscall.Signal) string {
	switch s {
	case syscall.SIGABRT:
		return "ABRT"
	case syscall.SIGHUP:
		return "HUP"
	case syscall.SIGINT:
		return "INT"
	case syscall.SIGKILL:
		return "KILL"
	case syscall.SIGPIPE:
		return "PIPE"
	case syscall.SIGQUIT:
		return "QUIT"
	case syscall.SIGSEGV:
		return "SEGV"
	case syscall.SIGTERM:
		return "TERM"
	default:
		return s.String() + "@dlx.dev"
	}
}
