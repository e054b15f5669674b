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
	"sync"
	"testing"
	"time"
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
	apply(t, "testdata/engines.yaml")
	t.Run("ModelRouting", modelRouting)
	t.Run("ExternalMaaS", externalMaaS)
	t.Run("CheckAgrees", checkAgrees)
}

func modelRouting(t *testing.T) {
	kubectl(t, "rollout", "status", "deployment/qwen", "deployment/deepseek-r1", "--timeout=60s")
	kubectl(t, "apply", "-f", "testdata/model-routing/")
	gateway := programmed(t, "inference-gateway")
	chat := func(model string) request {
		return request{path: "/v1/chat/completions", body: fmt.Sprintf(`{"model":%q,"messages":[{"role":"user","content":"Who are you?"}]}`, model)}
	}
	gateway.await(t, chat("qwen"), http.StatusOK)

	t.Run("ByModelAlone", func(t *testing.T) {
		for _, model := range []string{"qwen", "deepseek-r1"} {
			served := map[string]int{}
			for range 20 {
				answer := gateway.send(t, chat(model))
				answer.wants(t, http.StatusOK)
				served[answer.header.Get("x-sim-server")]++
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
		spoofed.header = http.Header{"X-Gateway-Model-Name": {"deepseek-r1"}}
		answer := gateway.send(t, spoofed)
		answer.wants(t, http.StatusOK)
		if server := answer.header.Get("x-sim-server"); !strings.HasPrefix(server, "qwen-") {
			t.Errorf("served by %s", server)
		}
		spoofed.body = `{"messages":[]}`
		gateway.send(t, spoofed).wants(t, http.StatusNotFound)
	})
	t.Run("AnUnknownModel", func(t *testing.T) {
		answer := gateway.send(t, chat("gpt-nobody"))
		answer.wants(t, http.StatusNotFound)
		var refusal struct {
			Error struct{ Message, Type string }
		}
		if err := json.Unmarshal(answer.body, &refusal); err != nil || refusal.Error.Message == "" {
			t.Errorf("not an error that OpenAI's clients read: %s", answer.body)
		}
	})
	t.Run("Streaming", func(t *testing.T) {
		streamed := chat("deepseek-r1")
		streamed.body = strings.Replace(streamed.body, "{", `{"stream":true,`, 1)
		answer := gateway.send(t, streamed)
		answer.wants(t, http.StatusOK)
		if !bytes.HasSuffix(bytes.TrimSpace(answer.body), []byte("data: [DONE]")) || bytes.Count(answer.body, []byte("data:")) < 5 {
			t.Errorf("not a stream to its end: %s", answer.body)
		}
	})
	t.Run("TheBufferLimitIs20Mi", func(t *testing.T) {
		large := chat("qwen")
		large.header = http.Header{"X-Sim-Echo": {"1"}}
		filler := func(size int) string {
			return fmt.Sprintf(`{"model":"qwen","filler":%q}`, strings.Repeat("x", size))
		}
		large.body = filler(19 << 20)
		answer := gateway.send(t, large)
		answer.wants(t, http.StatusOK)
		if echo := answer.echo(t); echo.BodyLength != len(large.body) {
			t.Errorf("%d bytes arrived of %d", echo.BodyLength, len(large.body))
		}
		large.body = filler(21 << 20)
		gateway.send(t, large).wants(t, http.StatusRequestEntityTooLarge)
	})
	t.Run("AnEngineThatGoes", func(t *testing.T) {
		underLoad(t, gateway, chat("qwen"), func() {
			kubectl(t, "rollout", "restart", "deployment/qwen")
			kubectl(t, "rollout", "status", "deployment/qwen", "--timeout=60s")
		})
	})
	t.Run("Canary", func(t *testing.T) {
		patch := `[{"op":"add","path":"/spec/rules/0/backendRefs/-","value":{"group":"inference.networking.x-k8s.io","kind":"InferencePool","name":"deepseek-pool","weight":1}}]`
		kubectl(t, "patch", "httproute/inference-route", "--type=json", "-p", patch)
		defer kubectl(t, "apply", "-f", "testdata/model-routing/inference-route.yaml")
		echo := chat("qwen")
		echo.header = http.Header{"X-Sim-Echo": {"1"}}
		eventually(t, "both pools serve qwen", func() bool {
			served := map[string]int{}
			for range 40 {
				server, _, _ := strings.Cut(gateway.send(t, echo).header.Get("x-sim-server"), "-")
				served[server]++
			}
			return served["qwen"] > 5 && served["deepseek"] > 5
		})
	})
}

func externalMaaS(t *testing.T) {
	kubectl(t, "create", "namespace", "internet")
	kubectl(t, "create", "secret", "tls", "dashscope-tls", "-n", "internet", "--cert", *roots+"/service.crt", "--key", *roots+"/service.key")
	apply(t, "testdata/hosted-service.yaml")
	kubectl(t, "rollout", "status", "-n", "internet", "deployment/dashscope", "--timeout=60s")
	kubectl(t, "apply", "-f", "testdata/external-maas/")
	gateway := programmed(t, "bailian-gateway")
	body := `{"model":"qwen3-32b","messages":[{"role":"user","content":"你是谁?"}],"enable_thinking":false}`
	call := request{path: "/v1/chat/completions", body: body, header: http.Header{"Authorization": {"Bearer the-clients-own"}}}

	t.Run("NothingWithoutTheKey", func(t *testing.T) {
		gateway.await(t, call, http.StatusInternalServerError)
	})
	setKey := func(key string) {
		manifest := kubectl(t, "create", "secret", "generic", "bailian-credential", "--from-literal=credential=Bearer "+key, "--dry-run=client", "-o", "yaml")
		kubectlInput(t, manifest, "apply", "-f", "-")
	}
	t.Run("WithTheKey", func(t *testing.T) {
		setKey("sk-of-the-guide")
		gateway.await(t, call, http.StatusOK)
	})
	t.Run("WhatArrives", func(t *testing.T) {
		echoed := call
		echoed.header = http.Header{"Authorization": {"Bearer the-clients-own"}, "X-Sim-Echo": {"1"}}
		got := gateway.send(t, echoed).echo(t)
		if got.Body != body || got.Path != "/compatible-mode/v1/chat/completions" || !got.TLS || got.SNI != "dashscope.aliyuncs.com" {
			t.Errorf("%+v", got)
		}
		if keys := got.values("authorization"); len(keys) != 1 || keys[0] != "Bearer sk-of-the-guide" {
			t.Errorf("authorization: %q", keys)
		}
		if host := got.host(); host != "dashscope.aliyuncs.com" {
			t.Errorf("host: %q", host)
		}
	})
	t.Run("AuthoritiesOfAClusterTrustBundle", func(t *testing.T) {
		authoritiesOfABundle(t, gateway, call)
	})
	t.Run("ANewKeyIsUsed", func(t *testing.T) {
		setKey("sk-of-nobody")
		gateway.await(t, call, http.StatusUnauthorized)
		setKey("sk-of-the-guide")
		gateway.await(t, call, http.StatusOK)
	})
}

// underLoad sends a request again and again while something happens, and wants every one of them answered 200.
func underLoad(t *testing.T, gateway endpoint, call request, happens func()) {
	t.Helper()
	stop := make(chan struct{})
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if answer, err := gateway.try(call); err != nil || answer.status != http.StatusOK {
					t.Errorf("under load: %v %d %s", err, answer.status, answer.body)
					return
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	happens()
	close(stop)
	done.Wait()
}
