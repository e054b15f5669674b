"""The part of OpenAI's API that a small real engine has, through the gateway at the given URL."""

import sys

import openai

url, model = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=120)
hello = [{"role": "user", "content": "hello"}]

answer = client.chat.completions.create(model=model, messages=hello, max_tokens=8)
assert answer.usage.completion_tokens <= 8, answer
chunks = list(client.chat.completions.create(model=model, messages=hello, max_tokens=8, stream=True))
assert chunks[-1].choices[0].finish_reason in ("stop", "length"), chunks[-1]
completion = client.completions.create(model=model, prompt="the gate", max_tokens=4)
assert completion.choices[0].finish_reason in ("stop", "length"), completion
with client.chat.completions.create(model=model, messages=hello, max_tokens=400, stream=True) as stream:
    next(iter(stream))
# The engine must still be there after a stream that was given up.
client.chat.completions.create(model=model, messages=hello, max_tokens=1)
print("ok")
