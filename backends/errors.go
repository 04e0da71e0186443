package backends

import (
	"context"
	"errors"
	"fmt"
)

// Class says what kind of thing went wrong, and with it whether another try may help.
type Class string

// Classes of failures.
const (
	Quota     Class = "quota"     // the project may not have more: retried when something was released
	Capacity  Class = "capacity"  // the cloud has no room now: retried
	Infra     Class = "infra"     // a machine or service broke: retried
	Transport Class = "transport" // the way there broke: retried
	Config    Class = "config"    // the cloud does not know what the testbed names, or refuses the login: never retried
	Workload  Class = "workload"  // the program failed or was too slow: never retried
	Invalid   Class = "invalid"   // declared and effective configuration differ: never retried, never averaged
	Canceled  Class = "canceled"  // the user wanted to stop
	Internal  Class = "internal"  // dlx itself is wrong or cannot write: never retried
)

// Temporary reports whether another attempt may help.
func (c Class) Temporary() bool {
	switch c {
	case Quota, Capacity, Infra, Transport:
		return true
	default:
		return false
	}
}

// ErrNotFound is what errors for things that do not exist match with errors.Is.
var ErrNotFound = errors.New("not found")

// An Error is a failure with its class.
type Error struct {
	Class Class
	Op    string // what was tried: `create server "vm-1-m0"`
	Err   error
}

func (e *Error) Error() string { return e.Op + ": " + e.Err.Error() }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error whose cause is formatted as by fmt.Errorf.
func Errorf(c Class, op, format string, args ...any) error {
	return &Error{Class: c, Op: op, Err: fmt.Errorf(format, args...)}
}

// ClassOf gives the class of an error: its own, Canceled for a canceled context, else Infra (an
// unknown failure may pass).
func ClassOf(err error) Class {
	var e *Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return e.Class
	case errors.Is(err, context.Canceled):
		return Canceled
	default:
		return Infra
	}
}
