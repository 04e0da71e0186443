package data

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

// A TFRecord frame is, in little-endian order: 8 bytes length, 4 bytes masked checksum of those 8, the payload, 4 bytes
// masked checksum of the payload. The checksum is CRC-32C; the mask is a rotation and an addition. Source: the comment
// on format at tensorflow/core/lib/io/record_writer.h.
const (
	frameHead = 12
	frameTail = 4
	crcDelta  = 0xa282ead8
)

// MaxPayload is the longest payload in bytes that a reader accepts, so that a broken length cannot take all memory. A
// picture has at most [MaxSide] x [MaxSide] x 3 bytes.
const MaxPayload = pictureHead + MaxSide*MaxSide*3

// ErrCorrupt is the class of errors about bytes that are not as the format says.
var ErrCorrupt = errors.New("corrupt image set")

// castagnoli holds the table of CRC-32C, which crc32.MakeTable builds at most once a process.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

func maskedCRC(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli())
	return (c>>15 | c<<17) + crcDelta
}

// appendFrame appends the frame of payload to dst.
func appendFrame(dst, payload []byte) []byte {
	at := len(dst)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(len(payload)))
	dst = binary.LittleEndian.AppendUint32(dst, maskedCRC(dst[at:]))
	dst = append(dst, payload...)
	return binary.LittleEndian.AppendUint32(dst, maskedCRC(payload))
}

// frameReader reads the frames of one shard.
type frameReader struct {
	r    *bufio.Reader
	head [frameHead]byte
	buf  []byte // last payload and its checksum; reused
}

func newFrameReader(r io.Reader) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 1<<16)}
}

// reset starts over on r.
func (f *frameReader) reset(r io.Reader) { f.r.Reset(r) }

// next returns the next payload, which stays valid until the next call. After the last frame it returns io.EOF itself.
func (f *frameReader) next() ([]byte, error) {
	n, err := f.length()
	if err != nil {
		return nil, err
	}
	if cap(f.buf) < n+frameTail {
		f.buf = make([]byte, n+frameTail)
	}
	f.buf = f.buf[:n+frameTail]
	if _, err := io.ReadFull(f.r, f.buf); err != nil {
		return nil, cut("payload", err)
	}
	payload := f.buf[:n]
	if got, want := maskedCRC(payload), binary.LittleEndian.Uint32(f.buf[n:]); got != want {
		return nil, fmt.Errorf("%w: checksum of payload is %08x, the file says %08x", ErrCorrupt, got, want)
	}
	return payload, nil
}

// skip passes over the next frame without looking at its payload. After the last frame it returns io.EOF itself.
func (f *frameReader) skip() error {
	n, err := f.length()
	if err != nil {
		return err
	}
	if _, err := f.r.Discard(n + frameTail); err != nil {
		return cut("payload", err)
	}
	return nil
}

// length reads the head of a frame.
func (f *frameReader) length() (int, error) {
	if _, err := io.ReadFull(f.r, f.head[:]); errors.Is(err, io.EOF) {
		return 0, io.EOF
	} else if err != nil {
		return 0, cut("length", err)
	}
	if got, want := maskedCRC(f.head[:8]), binary.LittleEndian.Uint32(f.head[8:]); got != want {
		return 0, fmt.Errorf("%w: checksum of length is %08x, the file says %08x (not a TFRecord file?)", ErrCorrupt, got, want)
	}
	n := binary.LittleEndian.Uint64(f.head[:8])
	if n > uint64(MaxPayload) {
		return 0, fmt.Errorf("%w: payload of %d bytes; at most %d are allowed", ErrCorrupt, n, MaxPayload)
	}
	return int(n), nil
}

// cut names the part of a frame that the file ends in.
func cut(part string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: file ends within a %s", ErrCorrupt, part)
	}
	return err
}
