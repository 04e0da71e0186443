package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// image writes a container image of one layer: a static busybox and a link for each of its tools,
// in the form that `docker save` writes and `ctr images import` reads. Without a command it
// sleeps, so that it is the image of pod sandboxes too.
func image() error {
	fs := flag.NewFlagSet("image", flag.ExitOnError)
	tag := fs.String("tag", "", "name and tag of the image")
	busybox := fs.String("busybox", "/bin/busybox", "a static busybox")
	out := fs.String("o", "", "archive to write")
	if err := fs.Parse(os.Args[1:]); err != nil {
		return err
	}
	layer, err := layer(*busybox)
	if err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH,
		"os":           "linux",
		"config":       map[string]any{"Cmd": []string{"/bin/sleep", "2147483647"}, "Env": []string{"PATH=/bin"}},
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{"sha256:" + sum(layer)}},
	})
	if err != nil {
		return err
	}
	manifest, err := json.Marshal([]map[string]any{{
		"Config": sum(config) + ".json", "RepoTags": []string{*tag}, "Layers": []string{sum(layer) + "/layer.tar"},
	}})
	if err != nil {
		return err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range []struct {
		name string
		data []byte
	}{{"manifest.json", manifest}, {sum(config) + ".json", config}, {sum(layer) + "/layer.tar", layer}} {
		if err := add(w, f.name, f.data, 0o644); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(*out, b.Bytes(), 0o644)
}

func layer(busybox string) ([]byte, error) {
	program, err := os.ReadFile(busybox)
	if err != nil {
		return nil, err
	}
	list, err := exec.Command(busybox, "--list").Output()
	if err != nil {
		return nil, fmt.Errorf("%s --list: %w", busybox, err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, d := range []struct {
		name string
		mode int64
	}{{"bin/", 0o755}, {"etc/", 0o755}, {"root/", 0o700}, {"tmp/", 0o1777}, {"var/", 0o755}, {"var/tmp/", 0o1777}} {
		if err := w.WriteHeader(&tar.Header{Name: d.name, Mode: d.mode, Typeflag: tar.TypeDir}); err != nil {
			return nil, err
		}
	}
	if err := add(w, "etc/passwd", []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644); err != nil {
		return nil, err
	}
	if err := add(w, "etc/group", []byte("root:x:0:\n"), 0o644); err != nil {
		return nil, err
	}
	if err := add(w, "bin/busybox", program, 0o755); err != nil {
		return nil, err
	}
	for _, tool := range strings.Fields(string(list)) {
		if filepath.Base(tool) == "busybox" {
			continue
		}
		if err := w.WriteHeader(&tar.Header{Name: "bin/" + tool, Linkname: "busybox", Mode: 0o777, Typeflag: tar.TypeSymlink}); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

func add(w *tar.Writer, name string, data []byte, mode int64) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data))}); err != nil {
		return err
	}
	_, err := w.Write(data)
	return err
}

func sum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
