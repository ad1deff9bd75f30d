// kubeup-volume-helper makes and removes the folder of a volume, in the helper pods of local-path-provisioner.
//
// The provisioner runs it as its setupCommand and teardownCommand: with the folder in $VOL_DIR and "-a create" or
// "-a delete" among the arguments. Upstream has scripts for that, in an image with a shell.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	action := flag.String("a", "", "create or delete")
	for _, name := range []string{"p", "s", "m"} { // path, size and mode: the path is in $VOL_DIR too
		flag.String(name, "", "as the provisioner gives it")
	}
	flag.Parse()
	if err := act(*action, os.Getenv("VOL_DIR")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// act makes or removes a volume's folder. Only what is at least two levels below the root is taken for one.
func act(action, folder string) error {
	folder = filepath.Clean(folder)
	if !filepath.IsAbs(folder) || strings.Count(folder, "/") < 2 {
		return fmt.Errorf("%q is no volume's folder", folder)
	}
	switch action {
	case "create":
		if err := os.MkdirAll(folder, 0o777); err != nil {
			return err
		}
		// Whatever user a pod runs as is to write there. (What MkdirAll makes is narrowed by the umask.)
		return os.Chmod(folder, 0o777)
	case "delete":
		return os.RemoveAll(folder)
	}
	return fmt.Errorf("nothing is known of the action %q", action)
}
