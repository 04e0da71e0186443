package data

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// readAll returns the payloads of all frames up to the end or the first error.
func readAll(b []byte) (payloads [][]byte, err error) {
	r := newFrameReader(bytes.NewReader(b))
	for {
		p, err := r.next()
		if errors.Is(err, io.EOF) {
			return payloads, nil
		}
		if err != nil {
			return payloads, err
		}
		payloads = append(payloads, bytes.Clone(p))
	}
}

func TestFramesComeBackAsWritten(t *testing.T) {
	want := [][]byte{[]byte("one"), {}, bytes.Repeat([]byte{7}, 70000)}
	var file []byte
	for _, p := range want {
		file = appendFrame(file, p)
	}
	got, err := readAll(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("payloads (-want +got):\n%s", diff)
	}
	r, n := newFrameReader(bytes.NewReader(file)), 0
	for ; r.skip() == nil; n++ {
	}
	if n != len(want) {
		t.Errorf("frames passed over: got %d; want %d", n, len(want))
	}
}

// The checksum of the eight bytes of length 0 is also that of upstream's files: CRC-32C of eight zero bytes is 8c28b28a.
func TestFrameOfNothingHasTheKnownBytes(t *testing.T) {
	crc := uint32(0x8c28b28a)
	masked := (crc>>15 | crc<<17) + crcDelta
	got := appendFrame(nil, nil)
	want := []byte{0, 0, 0, 0, 0, 0, 0, 0, byte(masked), byte(masked >> 8), byte(masked >> 16), byte(masked >> 24)}
	want = append(want, 0xd8, 0xea, 0x82, 0xa2) // the mask of the checksum of nothing, 0
	if !bytes.Equal(got, want) {
		t.Errorf("frame: got %s; want %s", hex.EncodeToString(got), hex.EncodeToString(want))
	}
}

func TestBrokenFramesAreNamed(t *testing.T) {
	good := appendFrame(nil, []byte("payload"))
	change := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	long := appendFrame(nil, make([]byte, MaxPayload+1))
	tests := map[string]struct {
		file []byte
		want string
	}{
		"a bit of the length is wrong": {
			change(0), "corrupt image set: checksum of length is 37d56973, the file says 119fd7bb (not a TFRecord file?)",
		},
		"a bit of the payload is wrong": {
			change(14), "corrupt image set: checksum of payload is b03c84bc, the file says 7564d49e",
		},
		"the file ends within the length":      {good[:5], "corrupt image set: file ends within a length"},
		"the file ends right after the length": {good[:12], "corrupt image set: file ends within a payload"},
		"the file ends within the payload":     {good[:15], "corrupt image set: file ends within a payload"},
		"the payload is longer than allowed":   {long, "corrupt image set: payload of 3145743 bytes; at most 3145742 are allowed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := readAll(tt.file)
			if err == nil || err.Error() != tt.want || !errors.Is(err, ErrCorrupt) {
				t.Errorf("got %v; want %s", err, tt.want)
			}
		})
	}
	r := newFrameReader(bytes.NewReader(good[:15]))
	if err := r.skip(); !errors.Is(err, ErrCorrupt) {
		t.Errorf("passing over a cut frame: got %v; want %v", err, ErrCorrupt)
	}
}

// FuzzReadFrames reads any bytes as a shard: it must end without a panic, and what it reads must be what those bytes say.
func FuzzReadFrames(f *testing.F) {
	picture := Picture{Label: 3, Height: 2, Width: 1, Pixels: []byte{1, 2, 3, 4, 5, 6}}
	f.Add([]byte{})
	f.Add(appendFrame(nil, nil))
	f.Add(appendFrame(appendFrame(nil, picture.appendPayload(nil)), []byte("x")))
	f.Add(appendFrame(nil, picture.appendPayload(nil))[:20])
	f.Fuzz(func(t *testing.T, file []byte) {
		payloads, err := readAll(file)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("error without a class: %v", err)
		}
		var again []byte
		for _, p := range payloads {
			again = appendFrame(again, p)
			if pic, err := parsePicture(p); err == nil {
				if !bytes.Equal(pic.appendPayload(nil), p) {
					t.Fatalf("picture %+v: its payload is not the one it was read from", pic)
				}
				pic.Float(make([]float32, 4*4*3), 4)
			}
		}
		if !bytes.HasPrefix(file, again) || err == nil && len(again) != len(file) {
			t.Fatalf("%d frames read from %d bytes do not give those bytes again", len(payloads), len(file))
		}
	})
}
