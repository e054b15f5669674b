package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	keptLines   = 40  // of each test's output, the last ones
	keptColumns = 300 // of each line
	explained   = 12  // failed tests whose output is shown
)

// event is a line of test2json's.
type event struct {
	Action, Test, Output string
	Elapsed              float64
}

// run is what became of every test of a test binary.
type run struct {
	order   []string
	verdict map[string]string // pass, fail, skip; none for a test that did not come to its end
	output  map[string][]string
	overall string
	seconds float64
}

// readRun reads test2json's output to its end.
func readRun(input io.Reader) (*run, error) {
	r := &run{verdict: map[string]string{}, output: map[string][]string{}}
	lines := bufio.NewReader(input)
	for {
		line, err := lines.ReadString('\n')
		if err != nil && line == "" {
			if err == io.EOF {
				err = nil
			}
			return r, err
		}
		var e event
		if json.Unmarshal([]byte(line), &e) != nil {
			// What a test binary says without going through its tests, as when it cannot be started.
			e = event{Action: "output", Output: line}
		}
		r.take(e)
	}
}

func (r *run) take(e event) {
	switch e.Action {
	case "run":
		r.order = append(r.order, e.Test)
	case "output":
		line := strings.TrimRight(e.Output, "\n")
		if len(line) > keptColumns {
			line = strings.ToValidUTF8(line[:keptColumns], "") + "…"
		}
		kept := append(r.output[e.Test], line)
		r.output[e.Test] = kept[max(0, len(kept)-keptLines):]
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.overall, r.seconds = e.Action, e.Elapsed
		} else {
			r.verdict[e.Test] = e.Action
		}
	}
}

// judge gives what is wrong with the run.
func (r *run) judge() error {
	var wrong []error
	if len(r.order) == 0 {
		wrong = append(wrong, errors.New("no test was run"))
	}
	for _, kind := range []string{"fail", "skip", ""} {
		if names := r.bad(kind); len(names) > 0 {
			called := map[string]string{"fail": "failed", "skip": "skipped", "": "without an end"}[kind]
			wrong = append(wrong, fmt.Errorf("%d %s (%s)", len(names), called, strings.Join(names[:min(len(names), 30)], ", ")))
		}
	}
	if r.overall != "pass" && len(wrong) == 0 {
		wrong = append(wrong, errors.New("the test binary did not pass"))
	}
	return errors.Join(wrong...)
}

// bad are the innermost tests of that verdict.
func (r *run) bad(kind string) (names []string) {
	for _, name := range r.order {
		if r.verdict[name] != kind || kind == "skip" && isMesh(name) {
			continue
		}
		isAncestor := func(other string) bool {
			return strings.HasPrefix(other, name+"/") && r.verdict[other] == kind
		}
		if !slices.ContainsFunc(r.order, isAncestor) {
			names = append(names, name)
		}
	}
	return names
}

func isMesh(name string) bool {
	parts := strings.Split(name, "/")
	return len(parts) == 2 && strings.HasPrefix(parts[1], meshPrefix)
}

// summary counts what passed: tests, which are the second level of names, and all they consist of.
func (r *run) summary() string {
	tests, steps, skipped := 0, 0, 0
	for _, name := range r.order {
		isTest := strings.Count(name, "/") == 1
		switch {
		case r.verdict[name] == "skip":
			skipped++
		case isTest:
			tests++
			fallthrough
		default:
			steps++
		}
	}
	text := fmt.Sprintf("%d tests passed (%d with those within them)", tests, steps)
	if skipped > 0 {
		text += fmt.Sprintf(", %d of meshes left out", skipped)
	}
	return fmt.Sprintf("%s, in %.0f s", text, r.seconds)
}

// explain shows what the tests that went wrong said.
func (r *run) explain(to io.Writer) {
	names := slices.Concat(r.bad("fail"), r.bad(""))
	for _, name := range names[:min(len(names), explained)] {
		fmt.Fprintf(to, "\n--- %s\n", name)
		for _, line := range r.output[name] {
			fmt.Fprintln(to, line)
		}
	}
	if len(names) > explained {
		fmt.Fprintf(to, "\n… and %d more\n", len(names)-explained)
	}
	if len(names) == 0 {
		for _, line := range r.output[""] {
			fmt.Fprintln(to, line)
		}
	}
}
