package journal

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line. The longest honest ones are observations of a trial with some hundred
// numbers.
const maxLine = 16 << 20

// Read hands each event of a journal to each, in order, and returns the length in bytes of the
// part that is whole. A last line without its newline is left out, as is a last line whose
// checksum is wrong; the same further up is an error, as is one from each: "line 7: ...".
func Read(r io.Reader, each func(Event) error) (whole int64, err error) {
	br := bufio.NewReaderSize(r, 1<<20)
	var long []byte
	for n := 1; ; n++ {
		line, err := br.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			long = append(long[:0], line...)
			for errors.Is(err, bufio.ErrBufferFull) && len(long) < maxLine {
				line, err = br.ReadSlice('\n')
				long = append(long, line...)
			}
			line = long
		}
		if errors.Is(err, io.EOF) {
			return whole, nil // torn, or the end
		}
		if err != nil {
			return whole, fmt.Errorf("line %d: %w", n, err)
		}
		ev, err := parseLine(bytes.TrimSuffix(line, []byte("\n")))
		if err != nil {
			if _, peek := br.Peek(1); errors.Is(peek, io.EOF) {
				return whole, nil // the crash came between the write of this line and its sync
			}
			return whole, fmt.Errorf("line %d: damaged: %w", n, err)
		}
		if err := each(ev); err != nil {
			return whole, fmt.Errorf("line %d: %w", n, err)
		}
		whole += int64(len(line))
	}
}
