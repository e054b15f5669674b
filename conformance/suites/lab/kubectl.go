package lab

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// Kubectl runs a command on the cluster and gives what it prints.
func Kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	return KubectlInput(t, "", arguments...)
}

// KubectlInput is the same with something on standard input.
func KubectlInput(t *testing.T, input string, arguments ...string) string {
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

// Apply applies a manifest of the test's own, with the image of Pailou filled in.
func Apply(t *testing.T, file, image string) {
	t.Helper()
	manifest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	KubectlInput(t, strings.ReplaceAll(string(manifest), "IMAGE", image), "apply", "-f", "-")
}

// Programmed waits for a Gateway of a namespace and gives where it listens, on port 8080.
func Programmed(t *testing.T, namespace, name string) Endpoint {
	t.Helper()
	Kubectl(t, "wait", "gateway/"+name, "-n", namespace, "--for=condition=Programmed", "--timeout=60s")
	address := Kubectl(t, "get", "gateway", name, "-n", namespace, "-o", "jsonpath={.status.addresses[0].value}")
	if address == "" {
		t.Fatalf("Gateway %s is programmed and has no address", name)
	}
	return Endpoint("http://" + address + ":8080")
}
