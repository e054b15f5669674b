"""Reads a file of metrics with the parser of Prometheus' own client, and prints its samples as JSON, a line each."""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with open(sys.argv[1], encoding="utf-8") as file:
    text = file.read()
for family in text_string_to_metric_families(text):
    for sample in family.samples:
        exemplar = sample.exemplar and {"labels": sample.exemplar.labels, "value": sample.exemplar.value, "time": float(sample.exemplar.timestamp)}
        print(json.dumps({"name": sample.name, "labels": sample.labels, "value": sample.value, "exemplar": exemplar}))
