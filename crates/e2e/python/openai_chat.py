"""What applications do with OpenAI's SDK, against the gateway at the given URL. Exits 0 when all of it works."""

import asyncio
import json
import sys

import openai

url, model = sys.argv[1], sys.argv[2]
client = openai.OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=60)
HELLO = [{"role": "user", "content": "你好, gate"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather somewhere",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat():
    answer = client.chat.completions.create(model=model, messages=HELLO, max_tokens=20)
    assert answer.model == model and answer.choices[0].message.content, answer
    assert answer.usage.completion_tokens <= 20, answer.usage


def stream():
    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model=model, messages=HELLO, max_tokens=20, stream=True, stream_options=options))
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert said and chunks[-1].usage.completion_tokens > 0, chunks[-1]


def tools():
    ask = dict(model=model, messages=HELLO, tools=[WEATHER], tool_choice={"type": "function", "function": {"name": "get_weather"}})
    call = client.chat.completions.create(**ask).choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather" and "city" in json.loads(call.function.arguments), call
    arguments = ""
    for chunk in client.chat.completions.create(**ask, stream=True):
        for part in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            arguments += part.function.arguments or ""
    assert "city" in json.loads(arguments), arguments


def embeddings():
    answer = client.embeddings.create(model=model, input=["a", "b"])
    assert len(answer.data) == 2 and len(answer.data[0].embedding) > 8


def responses():
    assert client.responses.create(model=model, input="hello").output_text
    kinds = [event.type for event in client.responses.create(model=model, input="hello", stream=True)]
    assert kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds


def unknown_model():
    try:
        client.chat.completions.create(model="no-such-model", messages=HELLO)
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model was served")


def models():
    assert [known.id for known in client.models.list()] == [model]
    assert client.models.retrieve(model).id == model
    answer = client.chat.completions.with_raw_response.create(model=model, messages=HELLO, max_tokens=1)
    assert answer.headers["x-request-id"], answer.headers
    try:
        client.models.retrieve("org/no-such-model")
    except openai.NotFoundError as error:
        assert error.code == "model_not_found", error
    else:
        raise AssertionError("an unknown model is listed")


def abort():
    with client.chat.completions.create(model=model, messages=HELLO, max_tokens=5000, stream=True) as chunks:
        next(iter(chunks))


async def abort_async():
    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0) as other:
        chunks = await other.chat.completions.create(model=model, messages=HELLO, max_tokens=5000, stream=True)
        async for _ in chunks:
            break
        await chunks.close()


for step in [chat, stream, tools, embeddings, responses, unknown_model, models, abort]:
    step()
    print(step.__name__, "ok")
asyncio.run(abort_async())
print("abort_async ok")
