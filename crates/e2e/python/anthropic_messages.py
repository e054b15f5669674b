"""What applications do with Anthropic's SDK, against the gateway at the given URL."""

import sys

import anthropic

url, model = sys.argv[1], sys.argv[2]
client = anthropic.Anthropic(base_url=url, api_key="unused", max_retries=0, timeout=60)
ask = dict(model=model, max_tokens=20, messages=[{"role": "user", "content": "你好, gate"}])

message = client.messages.create(**ask)
assert message.content[0].text and message.usage.output_tokens <= 20, message
with client.messages.stream(**ask) as stream:
    said = "".join(stream.text_stream)
    assert said == stream.get_final_message().content[0].text
try:
    client.messages.create(**{**ask, "model": "no-such-model"})
except anthropic.NotFoundError as error:
    assert error.body["error"]["type"] == "not_found_error", error.body
else:
    raise AssertionError("an unknown model was served")
assert [known.id for known in client.models.list(limit=5)] == [model]
assert client.models.retrieve(model).display_name == model
print("ok")
