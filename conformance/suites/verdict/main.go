// Verdict says in one line how a suite went, or what failed in it, and ends accordingly.
//
// It reads what `go tool test2json` makes of a test binary's output and, where there is one, the official report. A test
// that was skipped counts as failed, but for those of a mesh, which a gateway is not.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
)

// meshPrefix begins the names of the official tests that are about meshes.
const meshPrefix = "Mesh"

func main() {
	report := flag.String("report", "", "the official report")
	profiles := flag.Int("profiles", 0, "how many profiles the report must hold")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: verdict [-report FILE -profiles COUNT] NAME EVENTS")
		os.Exit(2)
	}
	flag.Parse()
	if flag.NArg() != 2 {
		flag.Usage()
	}
	file, err := os.Open(flag.Arg(1))
	if err != nil {
		fmt.Fprintln(os.Stderr, "verdict:", err)
		os.Exit(2)
	}
	defer file.Close()
	run, err := readRun(file)
	if err == nil && *report != "" {
		err = judgeReport(*report, *profiles)
	}
	err = errors.Join(err, run.judge())
	if err != nil {
		fmt.Printf("%s: FAILED: %s\n", flag.Arg(0), strings.ReplaceAll(err.Error(), "\n", "; "))
		run.explain(os.Stdout)
		os.Exit(1)
	}
	fmt.Printf("%s: %s\n", flag.Arg(0), run.summary())
}
