//go:build !linux

package sandbox

import (
	"errors"
	"net"
	"os"
	"os/exec"
)

const pinnedBy = "nothing"

// cage would be the control group of a machine.
type cage struct{ limit string }

func (s *Server) cage(string, []int) *cage { return nil }

func (s *Server) uncage(string) {}

// Groups lists the control groups of the machines of this sandbox's state folder.
func (s *Server) Groups() []string { return nil }

func (c *cage) start(_ *exec.Cmd, f func() error) error { return f() }

// lockFolder refuses: addresses below 127/8 and /proc are what the sandbox stands on.
func lockFolder(string) (*os.File, error) { return nil, errors.New("the sandbox needs Linux") }

func unlockFolder(f *os.File) { _ = f.Close() }

func listen(addr string) (net.Listener, error) { return net.Listen("tcp", addr) } //nolint:noctx // binding loopback does not wait

func allowedCPUs() []int { return []int{0} }

func startPinned(cmd *exec.Cmd, _ []int) error { return cmd.Start() }

func killMachine(string) error { return nil }

func processesBelow(string) []int { return nil }
