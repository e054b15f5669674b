// Kubelab-launch is what a container's process is before it is the
// container's program. It is no part of kubelab, since what a program of that size
// does before main is a tenth of a second of processor time, which would be
// charged to whatever runs in the container.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"pailou.dev/kubelab/launch"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "kubelab-launch:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var spec launch.Spec
	if err := json.Unmarshal(text, &spec); err != nil {
		return err
	}
	return spec.Become()
}
