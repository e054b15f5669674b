package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Process is one of the cluster's, as this machine sees it.
type Process struct{ PID int }

// Used is what a process has used so far, and holds now.
type Used struct {
	CPU       time.Duration
	RSS, Peak int // KiB
}

// Processes finds the cluster's processes of Pailou by an argument of theirs; there may be none at the moment.
func Processes(t *testing.T, argument string) []Process {
	t.Helper()
	return ProcessesOf(t, "pailou", argument)
}

// ProcessesOf is the same for any program.
func ProcessesOf(t *testing.T, program, argument string) (found []Process) {
	t.Helper()
	root, err := os.ReadFile(filepath.Join(os.Getenv("KUBELAB_DIR"), "pid"))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		arguments := strings.Split(string(line), "\x00")
		if len(arguments) > 1 && strings.HasSuffix(arguments[0], program) && strings.Contains(string(line), "\x00"+argument) && descends(pid, strings.TrimSpace(string(root))) {
			found = append(found, Process{pid})
		}
	}
	return found
}

// descends says whether a process has another among its ancestors.
func descends(pid int, ancestor string) bool {
	for pid > 1 {
		if strconv.Itoa(pid) == ancestor {
			return true
		}
		parent, err := strconv.Atoi(status(pid, "PPid"))
		if err != nil {
			return false
		}
		pid = parent
	}
	return false
}

func status(pid int, name string) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

// Used is what it has used so far.
func (p Process) Used() (u Used) {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	_, rest, _ := strings.Cut(string(text), ") ")
	if fields := strings.Fields(rest); len(fields) > 12 {
		user, _ := strconv.Atoi(fields[11])
		system, _ := strconv.Atoi(fields[12])
		u.CPU = time.Duration(user+system) * 10 * time.Millisecond
	}
	fmt.Sscan(status(p.PID, "VmRSS"), &u.RSS)
	fmt.Sscan(status(p.PID, "VmHWM"), &u.Peak)
	return u
}

// Threads is how many threads it has.
func (p Process) Threads() int {
	threads, _ := strconv.Atoi(status(p.PID, "Threads"))
	return threads
}

// Sum adds up several processes'; of memory it takes the largest.
func Sum(processes []Process) (all Used) {
	for _, p := range processes {
		u := p.Used()
		all.CPU += u.CPU
		all.RSS, all.Peak = max(all.RSS, u.RSS), max(all.Peak, u.Peak)
	}
	return all
}
