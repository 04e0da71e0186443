package supervisor

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Quote makes one word of a POSIX shell out of any text without zero bytes.
func Quote(s string) string {
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// maxFolder leaves room below the 255 bytes that file systems give to a name.
const maxFolder = 200

// Folder gives the folder name of a process: its ID with slashes, and a first character that
// tools or shells take as special, written as %XX. No two IDs share one. It is a plain word for
// any login shell.
func Folder(id string) (string, error) {
	var b strings.Builder
	for i := range len(id) {
		c := id[i]
		switch {
		case c == '/' || i == 0 && strings.IndexByte(".-=+,", c) >= 0:
			fmt.Fprintf(&b, "%%%02X", c)
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("._=,+-", c) >= 0:
			b.WriteByte(c)
		default:
			return "", fmt.Errorf("process ID %q: %q is none of A-Z a-z 0-9 . _ = , + / -", id, c)
		}
	}
	name := b.String()
	switch {
	case name == "":
		return "", fmt.Errorf("process ID is empty")
	case len(name) > maxFolder:
		sum := sha256.Sum256([]byte(id))
		name = name[:maxFolder-65] + "%" + hex.EncodeToString(sum[:])
	}
	return name, nil
}
