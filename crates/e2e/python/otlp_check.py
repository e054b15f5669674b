"""Reads requests to a collector from standard input, a path and hexadecimal digits on each line, and prints each as a line of JSON.

Needs `opentelemetry-proto`, whose messages are the official ones. A field that those do not know, and a required number of bytes that an
identity does not have, end it.
"""

import json
import sys

from google.protobuf.json_format import MessageToDict
from google.protobuf.unknown_fields import UnknownFieldSet
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

KINDS = {"Trace": ExportTraceServiceRequest, "Logs": ExportLogsServiceRequest, "Metrics": ExportMetricsServiceRequest}


def check(message):
    unknown = [field.field_number for field in UnknownFieldSet(message)]
    assert not unknown, f"{message.DESCRIPTOR.full_name}: unknown fields {unknown}"
    for field, value in message.ListFields():
        if field.name in ("trace_id", "span_id", "parent_span_id"):
            assert len(value) == (16 if field.name == "trace_id" else 8), f"{field.name}: {value.hex()}"
        if field.name == "attributes":
            keys = [pair.key for pair in value]
            assert len(keys) == len(set(keys)), f"{message.DESCRIPTOR.full_name}: a key twice in {keys}"
        if field.message_type is not None:
            for item in [value] if hasattr(value, "ListFields") else value:
                check(item)


for line in sys.stdin:
    path, digits = line.split()
    kind = next(kind for kind in KINDS if f"{kind}Service/" in path)
    message = KINDS[kind].FromString(bytes.fromhex(digits))
    check(message)
    print(json.dumps({"kind": kind, "message": MessageToDict(message)}), flush=True)
