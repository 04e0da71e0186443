package journal

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sync"
	"time"
)

// castagnoli is CRC-32C, which processors compute in hardware.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// prefixLen is the length of `{"crc":"01234567",`.
const prefixLen = 18

// appendLine writes an event as one line: the CRC-32C (hex) of everything after the crc field up to
// the newline stands first, so that the line is plain JSON to any other reader.
func appendLine(b []byte, ev *Event) ([]byte, error) {
	body, err := json.Marshal(ev)
	if err != nil {
		return b, err
	}
	b = fmt.Appendf(b, `{"crc":"%08x",`, crc32.Checksum(body[1:], castagnoli))
	b = append(b, body[1:]...)
	return append(b, '\n'), nil
}

// parseLine reads a line without its newline.
func parseLine(line []byte) (Event, error) {
	var ev Event
	if len(line) < prefixLen || string(line[:8]) != `{"crc":"` || string(line[16:18]) != `",` {
		return ev, errors.New("no checksum at its start")
	}
	if sum := fmt.Sprintf("%08x", crc32.Checksum(line[prefixLen:], castagnoli)); sum != string(line[8:16]) {
		return ev, fmt.Errorf("checksum %s, its content has %s", line[8:16], sum)
	}
	body := make([]byte, 0, len(line)-prefixLen+1)
	body = append(append(body, '{'), line[prefixLen:]...)
	if err := json.Unmarshal(body, &ev); err != nil {
		return ev, err
	}
	if ev.Seq < 1 {
		return ev, errors.New("no sequence number")
	}
	return ev, nil
}

// A File is what a Writer needs of its file; *os.File is one.
type File interface {
	io.ReadWriteSeeker
	io.Closer
	Truncate(size int64) error
	Sync() error
}

// A Writer appends events durably. It is safe for concurrent use: calls that come while another
// is syncing are written and synced together (group commit).
type Writer struct {
	mu       sync.Mutex
	turn     *sync.Cond
	f        File
	size     int64 // of the durable part
	buf      []byte
	spare    []byte
	seq      int64
	queued   int64 // last seq in buf
	synced   int64 // last durable seq
	flushing bool
	err      error // sticks: after a failed write nothing more is accepted
}

// Open opens or creates the journal at path and hands every event that it holds to each, in
// order. An unfinished last line, the trace of a crash, is cut off. Any other damage is an
// error that names the line: nothing is dropped silently.
func Open(path string, each func(Event) error) (*Writer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	w, err := NewWriter(f, each)
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("journal: %s: %w", path, err)
	}
	return w, nil
}

// NewWriter is Open on a file that is open already; the Writer closes it.
func NewWriter(f File, each func(Event) error) (*Writer, error) {
	w := &Writer{f: f}
	w.turn = sync.NewCond(&w.mu)
	end, err := Read(f, func(ev Event) error {
		if ev.Seq != w.seq+1 {
			return fmt.Errorf("sequence number %d follows %d", ev.Seq, w.seq)
		}
		w.seq = ev.Seq
		if each == nil {
			return nil
		}
		return each(ev)
	})
	if err != nil {
		return nil, err
	}
	w.size, w.queued, w.synced = end, w.seq, w.seq
	if err := f.Truncate(end); err != nil {
		return nil, err
	}
	if _, err := f.Seek(end, io.SeekStart); err != nil {
		return nil, err
	}
	return w, nil
}

// Append numbers, stamps and writes the events and returns when they are durable. After an error
// the file holds what was durable before, and every later call gives the same error.
func (w *Writer) Append(events ...Event) error {
	if len(events) == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	now := time.Now().UTC()
	for i := range events {
		events[i].Seq, events[i].Time = w.queued+1, now
		buf, err := appendLine(w.buf, &events[i])
		if err != nil {
			return fmt.Errorf("journal: event %q: %w", events[i].Kind, err)
		}
		w.buf, w.queued = buf, w.queued+1
	}
	mine := w.queued
	for w.synced < mine && w.err == nil {
		if w.flushing {
			w.turn.Wait()
			continue
		}
		w.flush()
	}
	return w.err
}

// flush writes and syncs what is queued. It is called, and returns, with mu held.
func (w *Writer) flush() {
	w.flushing = true
	b, upTo := w.buf, w.queued
	w.buf = w.spare[:0]
	w.mu.Unlock()
	_, err := w.f.Write(b)
	if err == nil {
		err = w.f.Sync()
	}
	w.mu.Lock()
	w.flushing, w.spare = false, b
	if err != nil {
		// Cut what may have arrived in part; should that fail too, the next Open does it.
		_ = w.f.Truncate(w.size)
		w.err = fmt.Errorf("journal: %w", err)
	} else {
		w.size += int64(len(b))
		w.synced = upTo
	}
	w.turn.Broadcast()
}

// Close closes the file. It waits for no one: call it after the last Append.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = errors.New("journal: closed")
	}
	return w.f.Close()
}
