package sandbox

import (
	"os"
	"path/filepath"
	"testing"
)

func TestWhatAKilledWriteLeftIsRemoved(t *testing.T) {
	dir := t.TempDir()
	torn := filepath.Join(dir, ".state.json3114186075")
	for name, text := range map[string]string{torn: `{"serv`, filepath.Join(dir, stateFile): `{}`} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := loadState(dir); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 || left[0].Name() != stateFile {
		t.Errorf("left %v, %v; want %s alone", left, err, stateFile)
	}
}
