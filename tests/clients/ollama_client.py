"""Ollama's own client against the nodes whose addresses are the arguments."""

from concurrent.futures import ThreadPoolExecutor
import asyncio
import json
import sys

import ollama
from ollama._types import Options

import fake

HERE = ollama.Client(host=sys.argv[1], timeout=30)
# One model per kind of engine, and one that all of them have.
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]
HELLO = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
ANSWER = fake.answer(("system", "be short"), ("user", "hello"))
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 150}},
    "required": ["name", "age"],
}


def add_task(name: str, age: int) -> str:
    """Adds a task.

    Args:
        name: what it is called
        age: how old it is
    """
    return f"{name} {age}"


def refusal(call):
    try:
        call()
    except ollama.ResponseError as error:
        return error
    raise AssertionError("no ResponseError")


def check_every_node_chats_with_every_model():
    for host in sys.argv[1:]:
        client = ollama.Client(host=host)
        for model in MODELS:
            whole = client.chat(model=model, messages=HELLO)
            fake.same(whole.message.content, ANSWER)
            assert (whole.done, whole.done_reason, whole.model) == (True, "stop", model), whole
            assert whole.eval_count == fake.WORDS and whole.prompt_eval_count > 0 and whole.total_duration > 0, whole


def check_chats_stream():
    for model in MODELS:
        parts = list(HERE.chat(model=model, messages=HELLO, stream=True))
        fake.same("".join(part.message.content or "" for part in parts), ANSWER)
        assert len(parts) > 10 and [part.done for part in parts].count(True) == 1 and parts[-1].done, model
        assert parts[-1].eval_count == fake.WORDS and parts[-1].done_reason == "stop", parts[-1]


def check_generate_whole_and_streamed():
    for model in MODELS:
        ask = {"model": model, "prompt": "hello", "system": "be short"}
        whole = HERE.generate(**ask)
        fake.same(whole.response, ANSWER)
        parts = list(HERE.generate(**ask, stream=True))
        fake.same("".join(part.response for part in parts), ANSWER)
        assert parts[-1].done and parts[-1].eval_count == fake.WORDS, parts[-1]


def check_an_ask_without_a_prompt_only_loads():
    def is_told(told, reason):
        text = told.message.content if isinstance(told, ollama.ChatResponse) else told.response
        assert (told.done, told.done_reason, text) == (True, reason, ""), told

    for model in MODELS:
        is_told(HERE.generate(model=model, keep_alive="5m"), "load")
        is_told(HERE.generate(model=model, prompt=""), "load")
        is_told(HERE.chat(model=model), "load")
        (part,) = HERE.generate(model=model, stream=True)
        is_told(part, "load")
    is_told(HERE.generate(model="on-ollama", keep_alive=0), "unload")
    never = refusal(lambda: HERE.generate(model="on-vllm", keep_alive=0))
    assert never.status_code == 501 and "cannot unload" in never.error, never


def check_every_option_that_the_client_has_is_taken():
    options = Options(
        numa=False, num_ctx=4096, num_batch=512, num_gpu=1, main_gpu=0, low_vram=False, f16_kv=True, logits_all=False,
        vocab_only=False, use_mmap=True, use_mlock=False, embedding_only=False, num_thread=4, num_keep=5, seed=7,
        num_predict=5, top_k=20, top_p=0.9, tfs_z=0.5, typical_p=0.7, repeat_last_n=33, temperature=0.8,
        repeat_penalty=1.2, presence_penalty=1.5, frequency_penalty=1.0, mirostat=1, mirostat_tau=0.8,
        mirostat_eta=0.6, penalize_newline=True, stop=["\n", "user:"],
    )
    for model in MODELS:
        want = fake.answer(("user", "hello"), seed=7, words=5)
        chat = HERE.chat(
            model=model, messages=[{"role": "user", "content": "hello"}], options=options, keep_alive="10m", think=False,
            tools=[], format="", logprobs=False, top_logprobs=0,
        )
        fake.same(chat.message.content, want)
        assert chat.done_reason == "length", chat
        told = HERE.generate(
            model=model, prompt="hello", options=options, keep_alive=-1, suffix="", template="", context=[], raw=False,
            images=[], format=None, think=None,
        )
        fake.same(told.response, want)


def check_an_endless_limit_is_no_limit():
    for model in MODELS:
        for endless in [-1, -2]:
            chat = HERE.chat(model=model, messages=HELLO, options={"num_predict": endless})
            fake.same(chat.message.content, ANSWER)


def check_tools_are_called():
    for model in MODELS:
        ask = [{"role": "user", "content": "please call:add_task"}]
        told = HERE.chat(model=model, messages=ask, tools=[add_task])
        (call,) = told.message.tool_calls
        assert call.function.name == "add_task", told
        assert add_task(**call.function.arguments)
        parts = list(HERE.chat(model=model, messages=ask, tools=[add_task], stream=True))
        streamed = [call for part in parts for call in part.message.tool_calls or []]
        assert [call.function.arguments for call in streamed] == [call.function.arguments], model
        turns = ask + [told.message, {"role": "tool", "tool_name": "add_task", "content": "done"}]
        assert HERE.chat(model=model, messages=turns, tools=[add_task]).message.content


def check_a_schema_is_kept():
    for model in MODELS:
        person = json.loads(HERE.chat(model=model, messages=HELLO, format=SCHEMA).message.content)
        assert isinstance(person["name"], str) and 0 <= person["age"] <= 150, person
        assert isinstance(json.loads(HERE.chat(model=model, messages=HELLO, format="json").message.content), dict)
        assert isinstance(json.loads(HERE.generate(model=model, prompt="hello", format=SCHEMA).response), dict)


def check_images_go_to_a_model_that_sees():
    look = {"role": "user", "content": "look", "images": [b"\x89PNG\r\n\x1a\nno real picture"]}
    fake.same(HERE.chat(model="eyes", messages=[look]).message.content, fake.answer(("user", "look")))
    told = HERE.generate(model="eyes", prompt="look", images=[b"\x89PNG\r\n\x1a\nno real picture"])
    fake.same(told.response, fake.answer(("user", "look")))
    assert "vision" in refusal(lambda: HERE.chat(model="on-ollama", messages=[look])).error


def check_both_kinds_of_embeddings():
    for host in sys.argv[1:]:
        client = ollama.Client(host=host)
        both = client.embed(model="embed-text", input=["the quick fox", "größe"], truncate=True, keep_alive="5m")
        one = client.embed(model="embed-text", input="the quick fox", options={"num_ctx": 512})
        old = client.embeddings(model="embed-text", prompt="the quick fox")
        assert [len(vector) for vector in both.embeddings] == [64, 64] and len(one.embeddings) == 1
        for vector in [one.embeddings[0], old.embedding]:
            assert all(abs(a - b) < 1e-6 for a, b in zip(vector, both.embeddings[0]))


def check_models_are_listed_and_shown():
    listed = {model.model: model for model in HERE.list().models}
    assert {*MODELS, "spread", "embed-text", "eyes"} == set(listed), listed
    assert "on-vllm" in {model.model for model in HERE.ps().models}
    assert "tools" in HERE.show("on-ollama").capabilities and HERE.show("eyes").capabilities
    assert "on-ollama" in refusal(lambda: HERE.show("on-olama")).error


def check_a_context_goes_back_to_the_worker_that_made_it():
    only = HERE.generate(model="on-ollama", prompt="remember me")
    assert only.context, "an engine of Ollama gives a context"
    for _ in range(5):
        again = HERE.generate(model="on-ollama", prompt="who am I", context=only.context)
        fake.same(again.response, fake.answer(("user", "who am I")))
    # The model that all engines have: what one of them gave leads back to it. More asks at once than two engines have
    # slots for reach the third one, whichever is quickest; where this client is too slow to send as many at once, it
    # is asked again.
    ask = lambda seed: HERE.generate(model="chat", prompt="remember me", options={"seed": seed})
    with ThreadPoolExecutor(24) as pool:
        rounds = (pool.map(ask, range(24 * at, 24 * at + 24)) for at in range(40))
        first = next((one for answers in rounds for one in answers if one.context), None)
    assert first, "no answer of an engine of Ollama among 960, 24 at once"
    parts = list(HERE.generate(model="chat", prompt="and streamed", context=first.context, stream=True))
    fake.same("".join(part.response for part in parts), fake.answer(("user", "and streamed")))
    assert parts[-1].context
    again = HERE.generate(model="chat", prompt="go on", context=parts[-1].context)
    fake.same(again.response, fake.answer(("user", "go on")))
    foreign = refusal(lambda: HERE.generate(model="chat", prompt="hello", context=[1, 2, 3]))
    assert foreign.status_code == 400 and "context" in foreign.error, foreign


def check_errors_are_told():
    unknown = refusal(lambda: HERE.chat(model="on-olama", messages=HELLO))
    assert unknown.status_code == 404 and "on-ollama" in unknown.error, unknown
    assert "on-ollama" in refusal(lambda: list(HERE.chat(model="on-olama", messages=HELLO, stream=True))).error
    for change in [
        lambda: HERE.pull("llama3"), lambda: list(HERE.pull("llama3", stream=True)), lambda: HERE.delete("chat"),
        lambda: HERE.create("mine", from_="chat"), lambda: HERE.copy("chat", "mine"), lambda: HERE.push("chat"),
    ]:
        told = refusal(change)
        assert told.status_code == 501 and "engine" in told.error, told


def check_the_asynchronous_client_asks_many_things_at_once():
    async def ask_all():
        client = ollama.AsyncClient(host=sys.argv[2])

        async def ask(number):
            turns = [{"role": "user", "content": f"question {number}"}]
            return "".join([part.message.content async for part in await client.chat("chat", turns, stream=True)])

        return await asyncio.gather(*map(ask, range(30)))

    for number, text in enumerate(asyncio.run(ask_all())):
        fake.same(text, fake.answer(("user", f"question {number}")))


fake.run(dict(globals()))
