"""Anthropic's own client against the nodes whose addresses are the arguments."""

import asyncio
import sys

import anthropic

import fake

HERE = anthropic.Anthropic(base_url=sys.argv[1], api_key="anything", max_retries=0, timeout=30)
# One model per kind of engine, and one that all of them have.
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]
HELLO = {"system": "be short", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 1000}
ANSWER = fake.answer(("system", "be short"), ("user", "hello"))
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
}
TOOL = {"name": "add_task", "description": "adds one", "input_schema": SCHEMA}


def is_person(person):
    assert isinstance(person["name"], str) and 0 <= person["age"] <= 150, person


def refusal(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {kind.__name__}")


def check_every_node_answers_for_every_model():
    for base in sys.argv[1:]:
        client = anthropic.Anthropic(base_url=base, api_key="anything")
        for model in MODELS:
            whole = client.messages.create(model=model, **HELLO)
            (block,) = whole.content
            fake.same(block.text, ANSWER)
            assert (whole.stop_reason, whole.model, whole.role) == ("end_turn", model, "assistant"), whole
            assert whole.usage.output_tokens == fake.WORDS and whole.usage.input_tokens > 0, whole.usage


def check_content_may_be_blocks():
    blocks = [{"type": "text", "text": "hello", "cache_control": {"type": "ephemeral"}}]
    ask = {"system": [{"type": "text", "text": "be short"}], "messages": [{"role": "user", "content": blocks}]}
    for model in MODELS:
        whole = HERE.messages.create(model=model, max_tokens=1000, metadata={"user_id": "me"}, **ask)
        fake.same(whole.content[0].text, ANSWER)


def check_a_stream_is_told_event_by_event():
    for model in MODELS:
        kinds = list(dict.fromkeys(event.type for event in HERE.messages.create(model=model, stream=True, **HELLO)))
        assert kinds == [
            "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop",
        ], kinds
        with HERE.messages.stream(model=model, **HELLO) as stream:
            fake.same("".join(stream.text_stream), ANSWER)
            whole = stream.get_final_message()
        assert whole.usage.output_tokens == fake.WORDS and whole.stop_reason == "end_turn", whole


def check_a_limit_and_a_stop_sequence_end_the_answer():
    for model in MODELS:
        cut = HERE.messages.create(model=model, **HELLO | {"max_tokens": 5})
        fake.same(cut.content[0].text, fake.answer(("system", "be short"), ("user", "hello"), words=5))
        assert cut.stop_reason == "max_tokens", cut
        stopped = HERE.messages.create(model=model, stop_sequences=["w5-"], **HELLO)
        fake.same(stopped.content[0].text.strip(), ANSWER.split("w5-")[0].strip())


def check_a_limit_beyond_the_context_is_clamped():
    for model in MODELS:
        ask = HELLO | {"max_tokens": 64_000}
        with HERE.messages.stream(model=model, **ask) as stream:
            fake.same(stream.get_final_text(), ANSWER)


def check_tools_are_called_whole_and_streamed():
    wishes = [
        {"messages": [{"role": "user", "content": "please call:add_task"}]},
        {"messages": HELLO["messages"], "tool_choice": {"type": "tool", "name": "add_task"}},
        {"messages": HELLO["messages"], "tool_choice": {"type": "any"}},
    ]
    for wish in wishes:
        for model in MODELS:
            ask = {"model": model, "max_tokens": 1000, "tools": [TOOL]} | wish
            whole = HERE.messages.create(**ask)
            (call,) = whole.content
            assert (call.type, call.name, whole.stop_reason) == ("tool_use", "add_task", "tool_use"), whole
            is_person(call.input)
            with HERE.messages.stream(**ask) as stream:
                (streamed,) = stream.get_final_message().content
            fake.same((streamed.name, streamed.input), (call.name, call.input))
            # The client sends the call and its result back.
            turns = wish["messages"] + [
                {"role": "assistant", "content": [call.model_dump()]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "done"}]},
            ]
            after = HERE.messages.create(model=model, max_tokens=1000, tools=[TOOL], messages=turns)
            assert after.content[0].type == "text", after


def check_thinking_may_be_asked_for():
    for model in MODELS:
        whole = HERE.messages.create(model=model, thinking={"type": "enabled", "budget_tokens": 1024}, **HELLO | {"max_tokens": 4000})
        fake.same(whole.content[-1].text, ANSWER)


def check_tokens_are_counted():
    short, long = (HERE.messages.count_tokens(model="chat", messages=[{"role": "user", "content": text}]) for text in ["a", "a" * 4000])
    assert 0 < short.input_tokens < long.input_tokens, (short, long)


def check_errors_are_typed_and_say_what_to_do():
    def ask(**changes):
        return lambda: HERE.messages.create(**{"model": "chat"} | HELLO | changes)

    unknown = refusal(anthropic.NotFoundError, ask(model="on-olama"))
    assert "on-ollama" in unknown.message and unknown.body["error"]["type"] == "not_found_error", unknown
    unknown = refusal(anthropic.NotFoundError, ask(model="on-olama", stream=True))
    for wrong in [{"messages": "hi"}, {"max_tokens": -1}, {"stream": "yes"}]:
        bad = refusal(anthropic.BadRequestError, ask(**wrong))
        assert f"`{next(iter(wrong))}`" in bad.message, bad
        assert bad.body["type"] == "error" and bad.body["error"]["type"] == "invalid_request_error", bad.body
    hot = refusal(anthropic.BadRequestError, ask(extra_body={"temperature": "hot"}))
    assert "`temperature`" in hot.message, hot
    refusal(anthropic.BadRequestError, ask(messages=[{"role": "user", "content": "x" * 100_000}]))


def check_the_asynchronous_client_asks_many_things_at_once():
    async def ask_all():
        async with anthropic.AsyncAnthropic(base_url=sys.argv[1], api_key="anything") as client:
            async def ask(number):
                turns = [{"role": "user", "content": f"question {number}"}]
                async with client.messages.stream(model="chat", max_tokens=1000, messages=turns) as stream:
                    return await stream.get_final_text()

            return await asyncio.gather(*map(ask, range(30)))

    for number, text in enumerate(asyncio.run(ask_all())):
        fake.same(text, fake.answer(("user", f"question {number}")))


fake.run(dict(globals()))
