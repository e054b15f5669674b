// Package mission applies the two guides that Pailou implements, unchanged, in a cluster, and checks what each of them promises.
//
// The engines are pods of simulated ones; the hosted service is reached by the name that the guide gives, which the cluster's
// DNS leads to a server of the test's own.
package mission

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"pailou.dev/conformance/lab"
)

var (
	image    = flag.String("image", "ghcr.io/pailou/pailou:0.1.0", "image of the simulated engines")
	binary   = flag.String("pailou", "pailou", "the program, for `pailou check`")
	makeRoot = flag.String("make-root", "", "write a certificate authority and the hosted service's certificate to this directory, and end")
	roots    = flag.String("roots", "", "directory that -make-root wrote; its authority is one of the node's")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *makeRoot != "" {
		if err := writeAuthority(*makeRoot, "dashscope.aliyuncs.com"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestMission(t *testing.T) {
	lab.Apply(t, "testdata/engines.yaml", *image)
	t.Run("ModelRouting", modelRouting)
	t.Run("ExternalMaaS", externalMaaS)
	t.Run("CheckAgrees", checkAgrees)
}

func modelRouting(t *testing.T) {
	lab.Kubectl(t, "rollout", "status", "deployment/qwen", "deployment/deepseek-r1", "--timeout=60s")
	lab.Kubectl(t, "apply", "-f", "testdata/model-routing/")
	gateway := lab.Programmed(t, "default", "inference-gateway")
	chat := func(model string) lab.Request {
		return lab.Request{Path: "/v1/chat/completions", Body: fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"Who are you?"}]}`, model)}
	}
	gateway.Await(t, chat("qwen"), http.StatusOK)

	t.Run("ByModelAlone", func(t *testing.T) {
		for _, model := range []string{"qwen", "deepseek-r1"} {
			served := map[string]int{}
			for range 20 {
				answer := gateway.Send(t, chat(model))
				answer.Wants(t, http.StatusOK)
				served[answer.Header.Get("x-sim-server")]++
			}
			for server := range served {
				if !strings.HasPrefix(server, model+"-") {
					t.Errorf("%s was served by %s", model, server)
				}
			}
			if len(served) != 2 {
				t.Errorf("%s was served by %v, not by both replicas", model, served)
			}
		}
	})
	t.Run("AHeaderOfTheClientsDoesNotCount", func(t *testing.T) {
		spoofed := chat("qwen")
		spoofed.Header = http.Header{"X-Gateway-Model-Name": {"deepseek-r1"}}
		answer := gateway.Send(t, spoofed)
		answer.Wants(t, http.StatusOK)
		if server := answer.Header.Get("x-sim-server"); !strings.HasPrefix(server, "qwen-") {
			t.Errorf("served by %s", server)
		}
		spoofed.Body = `{"messages":[]}`
		gateway.Send(t, spoofed).Wants(t, http.StatusNotFound)
	})
	t.Run("AnUnknownModel", func(t *testing.T) {
		answer := gateway.Send(t, chat("gpt-nobody"))
		answer.Wants(t, http.StatusNotFound)
		var refusal struct {
			Error struct{ Message, Type string }
		}
		if err := json.Unmarshal(answer.Body, &refusal); err != nil || refusal.Error.Message == "" {
			t.Errorf("not an error that OpenAI's clients read: %s", answer.Body)
		}
	})
	t.Run("Streaming", func(t *testing.T) {
		streamed := chat("deepseek-r1")
		streamed.Body = strings.Replace(streamed.Body, "{", `{"stream":true,`, 1)
		answer := gateway.Send(t, streamed)
		answer.Wants(t, http.StatusOK)
		if !bytes.HasSuffix(bytes.TrimSpace(answer.Body), []byte("data: [DONE]")) || bytes.Count(answer.Body, []byte("data:")) < 5 {
			t.Errorf("not a stream to its end: %s", answer.Body)
		}
	})
	t.Run("TheBufferLimitIs20Mi", func(t *testing.T) {
		large := chat("qwen")
		large.Header = http.Header{"X-Sim-Echo": {"1"}}
		filler := func(size int) string {
			return fmt.Sprintf(`{"model":"qwen","filler":%q}`, strings.Repeat("x", size))
		}
		large.Body = filler(19 << 20)
		answer := gateway.Send(t, large)
		answer.Wants(t, http.StatusOK)
		if echo := answer.Echo(t); echo.BodyLength != len(large.Body) {
			t.Errorf("%d bytes arrived of %d", echo.BodyLength, len(large.Body))
		}
		large.Body = filler(21 << 20)
		gateway.Send(t, large).Wants(t, http.StatusRequestEntityTooLarge)
	})
	t.Run("AnEngineThatGoes", func(t *testing.T) {
		gateway.UnderLoad(t, chat("qwen"), func() {
			lab.Kubectl(t, "rollout", "restart", "deployment/qwen")
			lab.Kubectl(t, "rollout", "status", "deployment/qwen", "--timeout=60s")
		})
	})
	t.Run("Canary", func(t *testing.T) {
		patch := `[{"op":"add","path":"/spec/rules/0/backendRefs/-","value":{"group":"inference.networking.x-k8s.io","kind":"InferencePool","name":"deepseek-pool","weight":1}}]`
		lab.Kubectl(t, "patch", "httproute/inference-route", "--type=json", "-p", patch)
		defer lab.Kubectl(t, "apply", "-f", "testdata/model-routing/inference-route.yaml")
		echo := chat("qwen")
		echo.Header = http.Header{"X-Sim-Echo": {"1"}}
		lab.Eventually(t, "both pools serve qwen", 30*time.Second, func() bool {
			served := map[string]int{}
			for range 40 {
				server, _, _ := strings.Cut(gateway.Send(t, echo).Header.Get("x-sim-server"), "-")
				served[server]++
			}
			return served["qwen"] > 5 && served["deepseek"] > 5
		})
	})
}

func externalMaaS(t *testing.T) {
	lab.Kubectl(t, "create", "namespace", "internet")
	lab.Kubectl(t, "create", "secret", "tls", "dashscope-tls", "-n", "internet", "--cert", *roots+"/service.crt", "--key", *roots+"/service.key")
	lab.Apply(t, "testdata/hosted-service.yaml", *image)
	lab.Kubectl(t, "rollout", "status", "-n", "internet", "deployment/dashscope", "--timeout=60s")
	lab.Kubectl(t, "apply", "-f", "testdata/external-maas/")
	gateway := lab.Programmed(t, "default", "bailian-gateway")
	body := `{"model":"qwen3-32b","messages":[{"role":"user","content":"你是谁?"}],"enable_thinking":false}`
	call := lab.Request{Path: "/v1/chat/completions", Body: body, Header: http.Header{"Authorization": {"Bearer the-clients-own"}}}

	t.Run("NothingWithoutTheKey", func(t *testing.T) {
		gateway.Await(t, call, http.StatusInternalServerError)
	})
	setKey := func(key string) {
		manifest := lab.Kubectl(t, "create", "secret", "generic", "bailian-credential", "--from-literal=credential=Bearer "+key, "--dry-run=client", "-o", "yaml")
		lab.KubectlInput(t, manifest, "apply", "-f", "-")
	}
	t.Run("WithTheKey", func(t *testing.T) {
		setKey("sk-of-the-guide")
		gateway.Await(t, call, http.StatusOK)
	})
	t.Run("WhatArrives", func(t *testing.T) {
		echoed := call
		echoed.Header = http.Header{"Authorization": {"Bearer the-clients-own"}, "X-Sim-Echo": {"1"}}
		got := gateway.Send(t, echoed).Echo(t)
		if got.Body != body || got.Path != "/compatible-mode/v1/chat/completions" || !got.TLS || got.SNI != "dashscope.aliyuncs.com" {
			t.Errorf("%+v", got)
		}
		if keys := got.Values("authorization"); len(keys) != 1 || keys[0] != "Bearer sk-of-the-guide" {
			t.Errorf("authorization: %q", keys)
		}
		if host := got.Host(); host != "dashscope.aliyuncs.com" {
			t.Errorf("host: %q", host)
		}
	})
	t.Run("AuthoritiesOfAClusterTrustBundle", func(t *testing.T) {
		authoritiesOfABundle(t, gateway, call)
	})
	t.Run("ANewKeyIsUsed", func(t *testing.T) {
		setKey("sk-of-nobody")
		gateway.Await(t, call, http.StatusUnauthorized)
		setKey("sk-of-the-guide")
		gateway.Await(t, call, http.StatusOK)
	})
}
