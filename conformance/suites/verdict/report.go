package main

import (
	"errors"
	"fmt"
	"os"

	confv1 "sigs.k8s.io/gateway-api/conformance/apis/v1"
	"sigs.k8s.io/yaml"
)

// judgeReport gives what an official report holds against the implementation: anything but the success of everything.
func judgeReport(file string, profiles int) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var report confv1.ConformanceReport
	if err := yaml.Unmarshal(text, &report); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	var wrong []error
	if len(report.ProfileReports) != profiles {
		wrong = append(wrong, fmt.Errorf("the report is about %d profiles, not %d", len(report.ProfileReports), profiles))
	}
	for _, profile := range report.ProfileReports {
		levels := map[string]*confv1.Status{"core": &profile.Core}
		if profile.Extended != nil {
			levels["extended"] = &profile.Extended.Status
		}
		for level, status := range levels {
			if status.Result != confv1.Success || status.Failed+status.Skipped > 0 || level == "core" && status.Passed == 0 {
				wrong = append(wrong, fmt.Errorf("%s, %s: %s, %+v", profile.Name, level, status.Result, status.Statistics))
			}
		}
	}
	return errors.Join(wrong...)
}
