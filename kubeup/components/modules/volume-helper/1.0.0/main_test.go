package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestMakesAndRemoves(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "volumes", "pvc-1")
	for range 2 { // a helper pod may be started again
		if err := act("create", folder); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o777 {
		t.Fatal(info, err)
	}
	if err := os.WriteFile(filepath.Join(folder, "data"), nil, 0o400); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := act("delete", folder); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

func TestRefuses(t *testing.T) {
	for _, folder := range []string{"", "/", "/data", "volumes/pvc-1", "/volumes/pvc-1/../.."} {
		if act("delete", folder) == nil {
			t.Error(folder)
		}
	}
	if act("", "/volumes/pvc-1") == nil {
		t.Error("no action")
	}
}
