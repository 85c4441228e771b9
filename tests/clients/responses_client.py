"""The Responses of OpenAI's own client against the nodes whose addresses are the arguments."""

import json
import sys

import openai
import pydantic

import fake

HERE = openai.OpenAI(base_url=f"{sys.argv[1]}/v1", api_key="anything", max_retries=0, timeout=30)
# One model per kind of engine, and one that all of them have.
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]
HELLO = {"instructions": "be short", "input": "hello"}
ANSWER = fake.answer(("system", "be short"), ("user", "hello"))
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "name": "add_task", "description": "adds one", "parameters": SCHEMA, "strict": False}


class Person(pydantic.BaseModel):
    name: str
    age: int


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
    for base in sys.argv[1:]:
        client = openai.OpenAI(base_url=f"{base}/v1", api_key="anything")
        for model in MODELS:
            whole = client.responses.create(model=model, **HELLO)
            fake.same(whole.output_text, ANSWER)
            assert (whole.status, whole.model, whole.error) == ("completed", model, None), whole
            assert whole.usage.output_tokens == fake.WORDS and whole.usage.input_tokens > 0, whole.usage
            assert whole.id.startswith("resp_") and whole.output[0].id.startswith("msg_")


def check_input_may_be_a_conversation():
    turns = [
        {"role": "developer", "content": "be short"},
        {"role": "user", "content": [{"type": "input_text", "text": "hello"}]},
    ]
    for model in MODELS:
        first = HERE.responses.create(model=model, input=turns, store=True, metadata={"a": "b"}, include=[])
        fake.same(first.output_text, ANSWER)
        # The client sends what it got back with the next question.
        more = turns + [item.model_dump() for item in first.output] + [{"role": "user", "content": "and now?"}]
        told = ("system", "be short"), ("user", "hello"), ("assistant", ANSWER), ("user", "and now?")
        fake.same(HERE.responses.create(model=model, input=more).output_text, fake.answer(*told))


def check_a_stream_is_told_event_by_event():
    for model in MODELS:
        events = list(HERE.responses.create(model=model, stream=True, **HELLO))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        kinds = list(dict.fromkeys(event.type for event in events))
        assert kinds == [
            "response.created", "response.in_progress", "response.output_item.added", "response.content_part.added",
            "response.output_text.delta", "response.output_text.done", "response.content_part.done",
            "response.output_item.done", "response.completed",
        ], kinds
        fake.same("".join(event.delta for event in events if event.type == "response.output_text.delta"), ANSWER)
        last = events[-1].response
        fake.same(last.output_text, ANSWER)
        assert last.usage.output_tokens == fake.WORDS and last.id == events[0].response.id


def check_the_clients_own_stream_follows():
    with HERE.responses.stream(model="on-ollama", **HELLO) as stream:
        for _ in stream:
            pass
        fake.same(stream.get_final_response().output_text, ANSWER)


def check_a_limit_cuts_and_is_told():
    for model in MODELS:
        cut = HERE.responses.create(model=model, max_output_tokens=5, **HELLO)
        fake.same(cut.output_text, fake.answer(("system", "be short"), ("user", "hello"), words=5))
        assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens"), cut
        *_, last = HERE.responses.create(model=model, max_output_tokens=5, stream=True, **HELLO)
        assert last.type == "response.incomplete", last


def check_a_schema_is_kept():
    form = {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}}
    for model in MODELS:
        is_person(HERE.responses.create(model=model, text=form, **HELLO).output_text)
        parsed = HERE.responses.parse(model=model, text_format=Person, **HELLO)
        assert isinstance(parsed.output_parsed, Person), parsed
        anything = HERE.responses.create(model=model, text={"format": {"type": "json_object"}}, **HELLO)
        assert isinstance(json.loads(anything.output_text), dict)
        fake.same(HERE.responses.create(model=model, text={"format": {"type": "text"}}, **HELLO).output_text, ANSWER)


def check_tools_are_called_whole_and_streamed():
    for wish in [{"input": "please call:add_task"}, {"input": "hi", "tool_choice": "required"}]:
        for model in MODELS:
            whole = HERE.responses.create(model=model, tools=[TOOL], **wish)
            (call,) = [item for item in whole.output if item.type == "function_call"]
            assert (call.name, whole.output_text) == ("add_task", "") and call.call_id, whole
            is_person(call.arguments)
            events = list(HERE.responses.create(model=model, tools=[TOOL], stream=True, **wish))
            parts = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
            fake.same("".join(parts), call.arguments)
            turns = [
                {"role": "user", "content": wish["input"]}, call.model_dump(),
                {"type": "function_call_output", "call_id": call.call_id, "output": "done"},
            ]
            assert HERE.responses.create(model=model, input=turns, tools=[TOOL]).output_text
    named = {"type": "function", "name": "add_task"}
    called = HERE.responses.create(model="on-vllm", input="hi", tools=[TOOL], tool_choice=named).output[-1]
    assert called.type == "function_call", called


def check_errors_are_typed_and_say_what_to_do():
    def ask(**changes):
        return lambda: HERE.responses.create(**{"model": "chat"} | HELLO | changes)

    unknown = refusal(openai.NotFoundError, ask(model="on-olama"))
    assert "on-ollama" in unknown.message and unknown.code == "model_not_found", unknown
    for wrong in [{"input": 5}, {"temperature": "hot"}, {"max_output_tokens": -1}, {"previous_response_id": "resp_1"}]:
        bad = refusal(openai.BadRequestError, ask(**wrong))
        assert f"`{next(iter(wrong))}`" in bad.message and "hint" in bad.message, bad
    assert "whole conversation" in refusal(openai.BadRequestError, ask(previous_response_id="resp_1")).message
    refusal(openai.APIStatusError, ask(tools=[{"type": "web_search"}]))
    refusal(openai.BadRequestError, ask(input="x" * 100_000))
    refusal(openai.NotFoundError, lambda: HERE.responses.retrieve("resp_1"))


fake.run(dict(globals()))
