"""OpenAI's own client against the nodes whose addresses are the arguments."""

import asyncio
import base64
import json
import sys

import openai

import fake

BASES = [f"{url}/v1" for url in sys.argv[1:]]
HERE = openai.OpenAI(base_url=BASES[0], api_key="anything", max_retries=0, timeout=30)
# One model per kind of engine, and one that all of them have.
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]
HELLO = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
ANSWER = fake.answer(("system", "be short"), ("user", "hello"))
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "add_task", "description": "adds one", "parameters": SCHEMA}}
PIXEL = base64.b64encode(b"\x89PNG\r\n\x1a\nno real picture").decode()


def is_person(text):
    person = json.loads(text)
    assert isinstance(person["name"], str) and 0 <= person["age"] <= 150, text


def refusal(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def check_every_node_answers_for_every_model():
    for base in BASES:
        client = openai.OpenAI(base_url=base, api_key="anything")
        for model in MODELS:
            whole = client.chat.completions.create(model=model, messages=HELLO)
            fake.same(whole.choices[0].message.content, ANSWER)
            assert whole.choices[0].finish_reason == "stop" and whole.model == model, whole
            assert whole.usage.completion_tokens == fake.WORDS and whole.usage.prompt_tokens > 0, whole.usage


def check_a_base_url_may_lack_the_version_and_end_in_a_slash():
    for base in [sys.argv[1], f"{sys.argv[1]}/v1/"]:
        client = openai.OpenAI(base_url=base, api_key="anything")
        assert client.models.list().data
        assert client.chat.completions.create(model="chat", messages=HELLO).choices[0].message.content == ANSWER
        assert client.completions.create(model="on-vllm", prompt="once", max_tokens=3).choices[0].text
        assert client.embeddings.create(model="embed-text", input="x").data


def check_a_stream_tells_usage_with_its_finish_or_in_its_own_chunk():
    for model in MODELS:
        for wants_usage in [False, True]:
            wish = {"stream_options": {"include_usage": True}} if wants_usage else {}
            chunks = list(HERE.chat.completions.create(model=model, messages=HELLO, stream=True, **wish))
            text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
            fake.same(text, ANSWER)
            assert len({chunk.id for chunk in chunks}) == 1, "one answer has one id"
            finished = [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason]
            assert [chunk.choices[0].finish_reason for chunk in finished] == ["stop"]
            counted = [chunk for chunk in chunks if chunk.usage]
            assert [chunk.usage.completion_tokens for chunk in counted] == [fake.WORDS], (model, wants_usage)
            assert (counted[0].choices == []) == wants_usage, (model, wants_usage)


def check_a_limit_cuts_and_is_told():
    for model in MODELS:
        for limit in [{"max_tokens": 5}, {"max_completion_tokens": 5}]:
            cut = HERE.chat.completions.create(model=model, messages=HELLO, **limit)
            fake.same(cut.choices[0].message.content, fake.answer(("system", "be short"), ("user", "hello"), words=5))
            assert cut.choices[0].finish_reason == "length"


def check_a_seed_and_no_temperature_repeat_an_answer():
    hello = {"messages": [{"role": "user", "content": "hello"}]}
    for model in MODELS:
        answers = {HERE.chat.completions.create(model=model, seed=7, **hello).choices[0].message.content for _ in range(3)}
        assert answers == {fake.answer(("user", "hello"), seed=7)}, answers
        cold = HERE.chat.completions.create(model=model, temperature=0, n=1, **hello)
        fake.same(cold.choices[0].message.content, fake.answer(("user", "hello")))


def check_what_clients_send_beside_the_question_is_taken():
    beside = dict(
        logprobs=False, logit_bias={}, parallel_tool_calls=True, user="me", metadata={"a": "b"}, store=False,
        service_tier="auto", top_p=0.9, presence_penalty=0.1, frequency_penalty=0.1, reasoning_effort="low",
        extra_body={"top_logprobs": None, "top_k": 40, "prompt_cache_key": "x", "tools": None, "stop": None},
    )
    for model in MODELS:
        tool = {"tools": [TOOL], "tool_choice": "auto"}
        whole = HERE.chat.completions.create(model=model, messages=HELLO, **beside | tool)
        fake.same(whole.choices[0].message.content, ANSWER)


def check_tools_are_called_whole_and_streamed():
    ask = {"messages": [{"role": "user", "content": "please call:add_task"}], "tools": [TOOL]}
    for model in MODELS:
        choice = HERE.chat.completions.create(model=model, **ask).choices[0]
        (call,) = choice.message.tool_calls
        assert (choice.finish_reason, call.function.name, bool(call.id)) == ("tool_calls", "add_task", True), choice
        is_person(call.function.arguments)
        chunks = [chunk for chunk in HERE.chat.completions.create(model=model, stream=True, **ask) if chunk.choices]
        parts = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
        assert [part.function.name for part in parts if part.function.name] == ["add_task"], parts
        assert {part.index for part in parts} == {0}, parts
        fake.same("".join(part.function.arguments or "" for part in parts), call.function.arguments)
        # The client sends the call and its result back.
        turns = ask["messages"] + [
            choice.message.model_dump(exclude_none=True), {"role": "tool", "tool_call_id": call.id, "content": "done"}
        ]
        assert HERE.chat.completions.create(model=model, messages=turns, tools=[TOOL]).choices[0].message.content


def check_a_schema_is_kept():
    kinds = [
        {"type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": SCHEMA}},
        {"type": "json_object"},
        {"type": "text"},
    ]
    for model in MODELS:
        answers = [
            HERE.chat.completions.create(model=model, messages=HELLO, response_format=kind).choices[0].message.content
            for kind in kinds
        ]
        is_person(answers[0])
        assert isinstance(json.loads(answers[1]), dict)
        fake.same(answers[2], ANSWER)
        asked = HERE.chat.completions.create(model=model, messages=HELLO, response_format=kinds[0], stream=True)
        is_person("".join(chunk.choices[0].delta.content or "" for chunk in asked if chunk.choices))


def check_images_go_to_a_model_that_sees():
    look = [{"role": "user", "content": [
        {"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}},
    ]}]
    fake.same(
        HERE.chat.completions.create(model="eyes", messages=look).choices[0].message.content,
        fake.answer(("user", "look")),
    )
    blind = refusal(openai.APIStatusError, lambda: HERE.chat.completions.create(model="on-ollama", messages=look))
    assert "vision" in str(blind), blind


def check_raw_completions():
    for model in ["on-ollama", "on-vllm", "on-llamacpp"]:
        whole = HERE.completions.create(model=model, prompt="Once upon a time", max_tokens=9)
        fake.same(whole.choices[0].text, fake.raw_answer("Once upon a time", words=9))
        assert whole.choices[0].finish_reason == "length" and whole.usage.completion_tokens == 9
        stream = HERE.completions.create(model=model, prompt="Once upon a time", stream=True)
        fake.same("".join(chunk.choices[0].text for chunk in stream if chunk.choices), fake.raw_answer("Once upon a time"))


def check_embeddings_are_the_same_in_both_encodings():
    texts = ["the quick fox", "a slow turtle", "größe"]
    for base in BASES:
        client = openai.OpenAI(base_url=base, api_key="anything")
        floats = client.embeddings.create(model="embed-text", input=texts, encoding_format="float")
        packed = client.embeddings.create(model="embed-text", input=texts, encoding_format="base64")
        default = client.embeddings.create(model="embed-text", input=texts)
        single = client.embeddings.create(model="embed-text", input=texts[0])
        assert [item.index for item in floats.data] == [0, 1, 2] and floats.usage.prompt_tokens > 0
        decoded = [memoryview(base64.b64decode(item.embedding)).cast("f").tolist() for item in packed.data]
        for item, other, unpacked in zip(floats.data, default.data, decoded):
            close = all(abs(a - b) < 1e-6 and abs(a - c) < 1e-6 for a, b, c in zip(item.embedding, other.embedding, unpacked))
            assert close and len(item.embedding) == len(unpacked) == len(other.embedding) == 64
        assert all(abs(a - b) < 1e-6 for a, b in zip(single.data[0].embedding, default.data[0].embedding))


def check_models_are_listed_and_shown():
    names = {model.id for model in HERE.models.list()}
    assert names == {*MODELS, "spread", "embed-text", "eyes"}, names
    assert HERE.models.retrieve("on-vllm").id == "on-vllm"
    refusal(openai.NotFoundError, lambda: HERE.models.retrieve("nothing-like-it"))


def check_errors_are_typed_and_say_what_to_do():
    def ask(**changes):
        return lambda: HERE.chat.completions.create(**{"model": "chat", "messages": HELLO} | changes)

    unknown = refusal(openai.NotFoundError, ask(model="on-olama"))
    assert "on-ollama" in unknown.message and unknown.code == "model_not_found" and unknown.param == "model", unknown
    unknown = refusal(openai.NotFoundError, ask(model="on-olama", stream=True))
    assert "on-ollama" in unknown.message
    for wrong in [{"messages": "hi"}, {"temperature": "hot"}, {"max_tokens": -1}, {"stream": "yes"}, {"n": 0}]:
        bad = refusal(openai.BadRequestError, ask(**wrong))
        assert f"`{next(iter(wrong))}`" in bad.message and bad.type == "invalid_request_error", bad
    for model in ["on-ollama", "on-vllm", "on-llamacpp"]:
        refusal(openai.BadRequestError, ask(model=model, messages=[{"role": "user", "content": "x" * 100_000}]))
    late = refusal(openai.InternalServerError, ask(extra_headers={"x-tm-timeout": "0.01"}, messages=[{"role": "user", "content": "late"}]))
    assert late.status_code == 504, late
    refusal(openai.APITimeoutError, ask(timeout=0.02, messages=[{"role": "user", "content": "too late"}]))


def check_the_asynchronous_client_asks_many_things_at_once():
    async def ask_all():
        async with openai.AsyncOpenAI(base_url=BASES[1], api_key="anything") as client:
            async def ask(number):
                turns = [{"role": "user", "content": f"question {number}"}]
                stream = await client.chat.completions.create(model="chat", messages=turns, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])

            return await asyncio.gather(*map(ask, range(30)))

    for number, text in enumerate(asyncio.run(ask_all())):
        fake.same(text, fake.answer(("user", f"question {number}")))


def check_a_stream_that_is_left_does_not_hinder_the_next():
    stream = HERE.chat.completions.create(model="on-vllm", messages=HELLO, stream=True)
    next(iter(stream))
    stream.close()
    fake.same(HERE.chat.completions.create(model="on-vllm", messages=HELLO).choices[0].message.content, ANSWER)


fake.run(dict(globals()))
