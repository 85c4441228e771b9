"""LangChain's clients for OpenAI and Ollama against the nodes whose addresses are the arguments."""

import sys
from typing import Literal

from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel, Field

import fake

URL = sys.argv[1]
# One model per kind of engine, and one that all of them have.
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]
HELLO = [SystemMessage("be short"), HumanMessage("hello")]
ANSWER = fake.answer(("system", "be short"), ("user", "hello"))


class Person(BaseModel):
    """Somebody."""

    name: str = Field(max_length=20)
    mood: Literal["good", "bad"]


@tool
def add_task(name: str) -> str:
    """Adds a task."""
    return f"added {name}"


def chats(model, **settings):
    yield ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key="anything", max_retries=0, **settings)
    yield ChatOllama(model=model, base_url=URL, **settings)


def check_invoke_and_stream_say_the_same():
    for model in MODELS:
        for chat in chats(model, temperature=0):
            whole = chat.invoke(HELLO)
            fake.same(whole.content, ANSWER)
            assert whole.usage_metadata["output_tokens"] == fake.WORDS, whole
            parts = list(chat.stream(HELLO))
            fake.same("".join(part.content for part in parts), ANSWER)
            # The client adds up what it reads, so counts that come twice would show.
            total = sum((part.usage_metadata or {}).get("output_tokens", 0) for part in parts)
            assert total == fake.WORDS, (model, type(chat).__name__, total)


def check_a_batch_uses_more_than_one_worker():
    questions = [f"question {number}" for number in range(20)]
    # Nobody asked for this model before, so that no worker is known as the quicker one.
    openai = ChatOpenAI(model="spread", base_url=f"{URL}/v1", api_key="anything", include_response_headers=True)
    for chat in [openai, ChatOllama(model="spread", base_url=URL)]:
        answers = chat.batch(questions, config={"max_concurrency": 20})
        for question, answer in zip(questions, answers):
            fake.same(answer.content, fake.answer(("user", question)))
        if chat is openai:
            workers = {answer.response_metadata["headers"]["x-tm-worker"] for answer in answers}
            assert len(workers) > 1, f"all went to {workers}"


def check_structured_output_by_every_method():
    for model in MODELS:
        for chat in chats(model):
            for method in ["json_schema", "function_calling"]:
                question = "hello" if method == "json_schema" else "please call:Person"
                told = chat.with_structured_output(Person, method=method).invoke(question)
                assert isinstance(told, Person) and told.mood in ("good", "bad"), (model, method, told)


def check_a_tool_is_called_and_its_result_taken():
    for model in MODELS:
        for chat in chats(model):
            able = chat.bind_tools([add_task])
            question = HumanMessage("please call:add_task")
            called = able.invoke([question])
            (call,) = called.tool_calls
            result = add_task.invoke(call)
            assert isinstance(called, AIMessage) and isinstance(result, ToolMessage), called
            assert able.invoke([question, called, result]).content, model
            parts = list(able.stream([question]))
            whole = parts[0]
            for part in parts[1:]:
                whole += part
            assert [one["args"] for one in whole.tool_calls] == [call["args"]], (model, whole)


def check_every_setting_that_the_clients_have_is_taken():
    for model in MODELS:
        openai = ChatOpenAI(
            model=model, base_url=f"{URL}/v1", api_key="anything", temperature=0.5, max_tokens=5, seed=7, top_p=0.9, n=1,
            presence_penalty=0.1, frequency_penalty=0.1, logprobs=False, logit_bias={}, stop=["nowhere"],
            reasoning_effort="low", service_tier="auto", store=False, metadata={"a": "b"}, stream_usage=True,
        )
        ollama = ChatOllama(
            model=model, base_url=URL, temperature=0.5, num_predict=5, seed=7, top_p=0.9, top_k=40, stop=["nowhere"],
            mirostat=0, mirostat_eta=0.1, mirostat_tau=5.0, num_ctx=4096, num_gpu=1, num_thread=2, repeat_last_n=64,
            repeat_penalty=1.1, tfs_z=1.0, keep_alive="5m", format="", reasoning=False,
        )
        for chat in [openai, ollama]:
            fake.same(chat.invoke("hello").content, fake.answer(("user", "hello"), seed=7, words=5))


def check_both_kinds_of_embeddings_are_the_same():
    # Token counts, on by default, need a file from the internet.
    openai = OpenAIEmbeddings(
        model="embed-text", base_url=f"{URL}/v1", api_key="anything", check_embedding_ctx_length=False
    )
    ollama = OllamaEmbeddings(model="embed-text", base_url=URL)
    texts = [f"text {number}" for number in range(20)]
    for one, other in zip(openai.embed_documents(texts), ollama.embed_documents(texts)):
        assert len(one) == 64 and all(abs(a - b) < 1e-6 for a, b in zip(one, other))
    assert all(abs(a - b) < 1e-6 for a, b in zip(openai.embed_query("x"), ollama.embed_query("x")))


fake.run(dict(globals()))
