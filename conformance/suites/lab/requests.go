package lab

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Endpoint is the URL, without a path, of something that listens.
type Endpoint string

// Request is a POST of JSON.
type Request struct {
	Host, Path, Body string
	Header           http.Header
	Trailer          http.Header // of a body whose length is not told
}

// Answer is a whole answer.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte
}

// Try sends a request by a connection of its own.
func (e Endpoint) Try(r Request) (Answer, error) {
	call, err := http.NewRequest(http.MethodPost, string(e)+r.Path, strings.NewReader(r.Body))
	if err != nil {
		return Answer{}, err
	}
	for name, values := range r.Header {
		call.Header[name] = values
	}
	if call.Trailer = r.Trailer; r.Trailer != nil {
		call.ContentLength = -1
	}
	call.Host = r.Host
	call.Header.Set("content-type", "application/json")
	response, err := (&http.Client{Timeout: 30 * time.Second}).Do(call)
	if err != nil {
		return Answer{}, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return Answer{response.StatusCode, response.Header, body}, err
}

// Send sends a request that has to be answered.
func (e Endpoint) Send(t *testing.T, r Request) Answer {
	t.Helper()
	answer, err := e.Try(r)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

// Await sends a request until it is answered with a status, three times in a row.
func (e Endpoint) Await(t *testing.T, r Request, status int) {
	t.Helper()
	inARow, last := 0, ""
	for end := time.Now().Add(60 * time.Second); inARow < 3; time.Sleep(50 * time.Millisecond) {
		answer, err := e.Try(r)
		if last = fmt.Sprintf("%v %d %s", err, answer.Status, answer.Body); err == nil && answer.Status == status {
			inARow++
			continue
		}
		if inARow = 0; time.Now().After(end) {
			t.Fatalf("no %d within a minute; the last was %s", status, last)
		}
	}
}

// UnderLoad sends a request again and again while something happens, and wants every one of them answered 200.
func (e Endpoint) UnderLoad(t *testing.T, r Request, happens func()) {
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
				if answer, err := e.Try(r); err != nil || answer.Status != http.StatusOK {
					t.Errorf("under load: %v %d %s", err, answer.Status, answer.Body)
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

// Wants fails the test unless the status is this.
func (a Answer) Wants(t *testing.T, status int) {
	t.Helper()
	if a.Status != status {
		t.Fatalf("answered %d, not %d: %s", a.Status, status, a.Body)
	}
}

// Echo is what a simulated server says that it got.
type Echo struct {
	Path, Authority, SNI, Body string
	TLS                        bool
	BodyLength                 int `json:"body_length"`
	Headers                    [][2]string
}

// Echo reads the answer as an echo.
func (a Answer) Echo(t *testing.T) Echo {
	t.Helper()
	var e Echo
	if err := json.Unmarshal(a.Body, &e); err != nil {
		t.Fatalf("not an echo (%v): %s", err, a.Body)
	}
	return e
}

// Values are those of a header, in their order.
func (e Echo) Values(name string) (values []string) {
	for _, pair := range e.Headers {
		if pair[0] == name {
			values = append(values, pair[1])
		}
	}
	return values
}

// Host is the authority that was asked for, however the protocol names it.
func (e Echo) Host() string {
	if hosts := e.Values("host"); len(hosts) > 0 {
		return hosts[0]
	}
	return e.Authority
}
