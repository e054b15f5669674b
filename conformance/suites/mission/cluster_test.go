package mission

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// kubectl runs a command on the cluster and gives what it prints.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return kubectlInput(t, "", arguments...)
}

func kubectlInput(t *testing.T, input string, arguments ...string) string {
	t.Helper()
	command := exec.Command("kubelab", append([]string{"kubectl"}, arguments...)...)
	command.Stdin = strings.NewReader(input)
	var errors bytes.Buffer
	command.Stderr = &errors
	output, err := command.Output()
	if err != nil {
		t.Fatalf("kubectl %s: %v\n%s%s", strings.Join(arguments, " "), err, output, errors.Bytes())
	}
	return string(output)
}

// apply applies a manifest of the test's own, with the image filled in.
func apply(t *testing.T, file string) {
	t.Helper()
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	kubectlInput(t, strings.ReplaceAll(string(manifest), "IMAGE", *image), "apply", "-f", "-")
}

// programmed waits for a Gateway and gives its address.
func programmed(t *testing.T, name string) endpoint {
	t.Helper()
	kubectl(t, "wait", "gateway/"+name, "--for=condition=Programmed", "--timeout=60s")
	address := kubectl(t, "get", "gateway", name, "-o", "jsonpath={.status.addresses[0].value}")
	if address == "" {
		t.Fatalf("Gateway %s is programmed and has no address", name)
	}
	return endpoint("http://" + address + ":8080")
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}

// endpoint is where a Gateway listens.
type endpoint string

type request struct {
	path, body string
	header     http.Header
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (e endpoint) try(r request) (answer, error) {
	call, err := http.NewRequest(http.MethodPost, string(e)+r.path, strings.NewReader(r.body))
	if err != nil {
		return answer{}, err
	}
	for name, values := range r.header {
		call.Header[name] = values
	}
	call.Header.Set("content-type", "application/json")
	response, err := (&http.Client{Timeout: 30 * time.Second}).Do(call)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, body}, err
}

func (e endpoint) send(t *testing.T, r request) answer {
	t.Helper()
	answer, err := e.try(r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// await sends a request until it is answered with a status, three times in a row.
func (e endpoint) await(t *testing.T, r request, status int) {
	t.Helper()
	inARow, last := 0, ""
	for end := time.Now().Add(60 * time.Second); inARow < 3; time.Sleep(50 * time.Millisecond) {
		answer, err := e.try(r)
		if last = fmt.Sprintf("%v %d %s", err, answer.status, answer.body); err == nil && answer.status == status {
			inARow++
			continue
		}
		if inARow = 0; time.Now().After(end) {
			t.Fatalf("no %d within a minute; the last was %s", status, last)
		}
	}
}

func (a answer) wants(t *testing.T, status int) {
	t.Helper()
	if a.status != status {
		t.Fatalf("answered %d, not %d: %s", a.status, status, a.body)
	}
}

// echo is what a simulated server says that it got.
type echo struct {
	Path, Authority, SNI, Body string
	TLS                        bool
	BodyLength                 int `json:"body_length"`
	Headers                    [][2]string
}

func (a answer) echo(t *testing.T) echo {
	t.Helper()
	var e echo
	if err := json.Unmarshal(a.body, &e); err != nil {
		t.Fatalf("not an echo (%v): %s", err, a.body)
	}
	return e
}

func (e echo) values(name string) (values []string) {
	for _, pair := range e.Headers {
		if pair[0] == name {
			values = append(values, pair[1])
		}
	}
	return values
}

func (e echo) host() string {
	if hosts := e.values("host"); len(hosts) > 0 {
		return hosts[0]
	}
	return e.Authority
}
