package main

import (
	"strings"
	"testing"
)

const passing = `{"Action":"run","Test":"TestConformance"}
{"Action":"run","Test":"TestConformance/MeshBasic"}
{"Action":"skip","Test":"TestConformance/MeshBasic"}
{"Action":"run","Test":"TestConformance/HTTPRouteSimple"}
{"Action":"run","Test":"TestConformance/HTTPRouteSimple/first"}
{"Action":"output","Test":"TestConformance/HTTPRouteSimple/first","Output":"asked\n"}
{"Action":"pass","Test":"TestConformance/HTTPRouteSimple/first"}
{"Action":"pass","Test":"TestConformance/HTTPRouteSimple"}
{"Action":"pass","Test":"TestConformance"}
{"Action":"pass","Elapsed":12}
`

func TestVerdict(t *testing.T) {
	for name, c := range map[string]struct{ events, wants string }{
		"passes":                         {passing, ""},
		"nothing was run":                {`{"Action":"pass","Elapsed":1}`, "no test was run"},
		"a test was skipped":             {strings.Replace(passing, `"pass","Test":"TestConformance/HTTPRouteSimple"`, `"skip","Test":"TestConformance/HTTPRouteSimple"`, 1), "1 skipped (TestConformance/HTTPRouteSimple)"},
		"part of a test failed":          {strings.ReplaceAll(passing, `"pass","Test"`, `"fail","Test"`), "1 failed (TestConformance/HTTPRouteSimple/first)"},
		"it ended in the midst":          {strings.Join(strings.Split(passing, "\n")[:6], "\n"), "1 without an end (TestConformance/HTTPRouteSimple/first)"},
		"all passed, and the binary not": {strings.Replace(passing, `{"Action":"pass","Elapsed"`, `{"Action":"fail","Elapsed"`, 1), "the test binary did not pass"},
		"it could not be started":        {"exec format error\n", "no test was run"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := readRun(strings.NewReader(c.events))
			if err != nil {
				t.Fatal(err)
			}
			said := ""
			if err := r.judge(); err != nil {
				said = err.Error()
			}
			if (said == "") != (c.wants == "") || !strings.Contains(said, c.wants) {
				t.Errorf("said %q, not %q", said, c.wants)
			}
		})
	}
}

func TestWhatFailedIsShown(t *testing.T) {
	failing := strings.ReplaceAll(passing, `"pass"`, `"fail"`)
	r, err := readRun(strings.NewReader(failing))
	if err != nil {
		t.Fatal(err)
	}
	var shown strings.Builder
	r.explain(&shown)
	if want := "\n--- TestConformance/HTTPRouteSimple/first\nasked\n"; shown.String() != want {
		t.Errorf("shown is %q", shown.String())
	}
}

func TestSummary(t *testing.T) {
	r, err := readRun(strings.NewReader(passing))
	if err != nil {
		t.Fatal(err)
	}
	if want := "1 tests passed (3 with those within them), 1 of meshes left out, in 12 s"; r.summary() != want {
		t.Errorf("it is %q", r.summary())
	}
}
