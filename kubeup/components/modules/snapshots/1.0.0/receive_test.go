package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// snapshot is content as etcd saves it, with its digest at the end; and the digest of both.
func snapshot(content string) ([]byte, string) {
	end := sha256.Sum256([]byte(content))
	whole := append([]byte(content), end[:]...)
	digest := sha256.Sum256(whole)
	return whole, hex.EncodeToString(digest[:])
}

func held(t *testing.T, folder Folder) string {
	t.Helper()
	entries, err := os.ReadDir(folder.Path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return strings.Join(names, " ")
}

func TestASnapshotIsTakenWhole(t *testing.T) {
	folder := Folder{t.TempDir(), 2}
	content, digest := snapshot("all that is in etcd")
	found, err := folder.take("etcd-20260101T000000Z-n1.db", bytes.NewReader(content), digest)
	if err != nil || found != digest {
		t.Fatalf("%s, %v", found, err)
	}
	path := filepath.Join(folder.Path, "etcd-20260101T000000Z-n1.db")
	kept, _ := os.ReadFile(path)
	if !bytes.Equal(kept, content) {
		t.Fatal("it was not kept as it was sent")
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("others may read it: %v", info.Mode())
	}
}

func TestWhatIsNoWholeSnapshotIsNotKept(t *testing.T) {
	folder := Folder{t.TempDir(), 2}
	content, digest := snapshot("all that is in etcd")
	altered := append([]byte("A"), content[1:]...)
	sum := sha256.Sum256(altered)
	for what, try := range map[string]struct {
		name    string
		content []byte
		digest  string
	}{
		"cut off":            {"etcd-20260101T000000Z-n1.db", content[:len(content)-1], digest},
		"altered":            {"etcd-20260101T000000Z-n1.db", altered, digest},
		"altered before":     {"etcd-20260101T000000Z-n1.db", altered, hex.EncodeToString(sum[:])},
		"another digest":     {"etcd-20260101T000000Z-n1.db", content, strings.Repeat("0", 64)},
		"empty":              {"etcd-20260101T000000Z-n1.db", nil, digest},
		"another name":       {"passwd", content, digest},
		"out of the folder":  {"../etcd-20260101T000000Z-n1.db", content, digest},
		"below the folder":   {"etcd-20260101T000000Z-n1/../../x.db", content, digest},
		"nothing but a name": {"", content, digest},
	} {
		if _, err := folder.take(try.name, bytes.NewReader(try.content), try.digest); err == nil {
			t.Errorf("%s: it was taken", what)
		}
	}
	if names := held(t, folder); names != "" {
		t.Errorf("left: %s", names)
	}
}

func TestTheNewestAreKeptAndNothingElseIsTouched(t *testing.T) {
	folder := Folder{t.TempDir(), 2}
	for _, name := range []string{
		"etcd-20260101T000000Z-n1.db", "etcd-20250101T000000Z-n2.db", "etcd-20260301T000000Z-n3.db", "notes.txt",
	} {
		if err := os.WriteFile(filepath.Join(folder.Path, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := folder.prune(); err != nil {
		t.Fatal(err)
	}
	want := "etcd-20260101T000000Z-n1.db etcd-20260301T000000Z-n3.db notes.txt"
	if names := held(t, folder); names != want {
		t.Fatalf("%s", names)
	}
}
