package cluster

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
)

// Kinds of messages to a server.
const (
	kindHello   = 'H' // four bytes length, Hello as JSON; the answer is empty
	kindFetch   = 'F' // nothing; the answer is the server's part of the parameters
	kindPush    = 'G' // the gradient of the server's part; the answer is empty and comes when the step is applied
	kindBarrier = 'B' // nothing; the answer is empty and comes when all workers have sent one
	kindBye     = 'Q' // nothing; the answer is empty and comes when the server has let the worker go
)

// maxText bounds the length in bytes of a hello and of a complaint.
const maxText = 4096

// Hello says what run a worker belongs to. A server takes only workers whose Hello is its own but for Worker.
type Hello struct {
	Version      string // of the program
	Model        string
	Size         int // number of parameters of the whole model
	Seed         int
	Optimizer    string
	LearningRate float64
	Momentum     float64
	Server       int // index of the server that is meant
	Servers      int
	Worker       int // index of the worker
	Workers      int
}

// Part returns the range of parameters that server i of n keeps, out of size.
func Part(size, i, n int) (from, to int) { return i * size / n, (i + 1) * size / n }

// ErrRefused is the class of errors that the other side reported.
var ErrRefused = errors.New("refused")

func writeText(w io.Writer, lead byte, text []byte) error {
	b := append([]byte{lead}, 0, 0, 0, 0)
	binary.LittleEndian.PutUint32(b[1:], uint32(len(text)))
	_, err := w.Write(append(b, text...))
	return err
}

func readText(r io.Reader) ([]byte, error) {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	length := binary.LittleEndian.Uint32(n[:])
	if length > maxText {
		return nil, fmt.Errorf("text of %d bytes; at most %d are allowed", length, maxText)
	}
	text := make([]byte, length)
	_, err := io.ReadFull(r, text)
	return text, err
}

func readHello(r io.Reader) (h Hello, err error) {
	text, err := readText(r)
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(text, &h)
}

// readAnswer reads the first byte of an answer, and the complaint if it is one.
func readAnswer(r io.Reader) error {
	var status [1]byte
	if _, err := io.ReadFull(r, status[:]); err != nil {
		return err
	}
	if status[0] == 0 {
		return nil
	}
	text, err := readText(r)
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: %s", ErrRefused, text)
}

// floats carries float32 slices over a connection; its buffer is reused.
type floats struct{ buf []byte }

// write sends lead and then v in one write.
func (f *floats) write(w io.Writer, lead byte, v []float32) error {
	f.buf = append(f.buf[:0], lead)
	for _, x := range v {
		f.buf = binary.LittleEndian.AppendUint32(f.buf, math.Float32bits(x))
	}
	_, err := w.Write(f.buf)
	return err
}

// read fills v.
func (f *floats) read(r io.Reader, v []float32) error {
	if cap(f.buf) < 4*len(v) {
		f.buf = make([]byte, 4*len(v))
	}
	b := f.buf[:4*len(v)]
	if _, err := io.ReadFull(r, b); err != nil {
		return err
	}
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
	}
	return nil
}
