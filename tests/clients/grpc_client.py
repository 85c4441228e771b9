"""A client that knows no service before it asks: gRPC by reflection, against the addresses in the arguments."""

import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

import fake

PATIENCE = 30


class Server:
    """The services that one server describes."""

    def __init__(self, address):
        self.channel = grpc.insecure_channel(address)
        self.described = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.described)

    def services(self):
        return set(self.described.get_services())

    def call(self, service, name, **fields):
        """Calls a method; gives its answer, or the list of its answers."""
        method = self.pool.FindServiceByName(service).methods_by_name[name]
        request, answer = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        kind = self.channel.unary_stream if method.server_streaming else self.channel.unary_unary
        invoke = kind(
            f"/{service}/{name}", request_serializer=request.SerializeToString, response_deserializer=answer.FromString
        )
        answered = invoke(request(**fields), timeout=PATIENCE)
        return list(answered) if method.server_streaming else answered


SERVERS = [Server(address) for address in sys.argv[1:]]
INFERENCE, ADMIN = "taskmaster.inference.v1.Inference", "taskmaster.admin.v1.Admin"
MODELS = ["chat", "on-ollama", "on-vllm", "on-llamacpp"]


def check_services_are_listed_and_those_between_nodes_are_not():
    for server in SERVERS:
        services = server.services()
        assert {INFERENCE, ADMIN} <= services, services
        assert not any("node" in name or "engine" in name for name in services), services


def check_every_node_generates_with_every_model():
    for server in SERVERS:
        for model in MODELS:
            turns = [{"role": "system", "content": "be short"}, {"role": "user", "content": "hello"}]
            events = server.call(INFERENCE, "Generate", model=model, messages=turns)
            fake.same("".join(event.text for event in events), fake.answer(("system", "be short"), ("user", "hello")))
            kinds = [event.WhichOneof("event") for event in events]
            assert kinds[0] == "started" and kinds[-1] == "done" and set(kinds[1:-1]) == {"text"}, kinds
            assert events[0].started.model == model and events[0].started.ask, events[0]
            assert events[-1].done.usage.completion_tokens == fake.WORDS, events[-1]


def check_texts_become_vectors():
    told = SERVERS[1].call(INFERENCE, "Embed", model="embed-text", inputs=["the quick fox", "größe"])
    assert [len(vector.values) for vector in told.vectors] == [64, 64]


def check_models_and_nodes_are_listed_alike_everywhere():
    for server in SERVERS:
        models = {model.name for model in server.call(INFERENCE, "ListModels").models}
        assert models == {*MODELS, "spread", "embed-text", "eyes"}, models
        nodes = {node.name: node.state for node in server.call(ADMIN, "ListNodes").nodes}
        assert len(nodes) == len(SERVERS), nodes


def check_health_is_told():
    for server in SERVERS:
        health = health_pb2_grpc.HealthStub(server.channel)
        for service in ["", INFERENCE]:
            told = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE)
            assert told.status == health_pb2.HealthCheckResponse.SERVING, service


def check_errors_are_statuses_that_say_what_to_do():
    hello = [{"role": "user", "content": "hello"}]
    for fields, code, word in [
        ({"model": "on-olama", "messages": hello}, grpc.StatusCode.NOT_FOUND, "on-ollama"),
        ({"model": "chat", "messages": hello, "kind": "odd"}, grpc.StatusCode.INVALID_ARGUMENT, "kind"),
    ]:
        try:
            SERVERS[0].call(INFERENCE, "Generate", **fields)
        except grpc.RpcError as error:
            told = error.details() + str(error.trailing_metadata())
            assert error.code() == code and word in told, told
        else:
            raise AssertionError(f"no {code}")


fake.run(dict(globals()))
