"""Qdrant's gRPC over the real engine, for tests: service.py FOLDER ADDRESS [API_KEY]

The messages are those of Qdrant's own client, the engine is qdrant-edge: one shard in a folder for each collection. Ours is
only what stands between, so that what is tested is whether tmd speaks Qdrant's protocol and what its engine makes of it.
A real server's replication and cluster are not here. Prints "ready HOST:PORT".
"""

import json
import shutil
import sys
import threading
import uuid
from concurrent import futures
from pathlib import Path

import grpc
import qdrant_edge as edge
from qdrant_client.grpc import collections_pb2, collections_service_pb2_grpc, json_with_int_pb2, points_pb2, points_service_pb2_grpc
from qdrant_client.grpc import qdrant_common_pb2 as common

MOST_MESSAGE = 64 << 20


def fail(context, code, text):
    context.abort(code, text)


class Shelves:
    """The collections, each a shard; one call at a time."""

    def __init__(self, folder):
        self.folder = folder
        self.lock = threading.RLock()
        self.shards = {}
        for described in sorted(folder.glob("*/collection.json")):
            self.open(described.parent.name, json.loads(described.read_text()))

    @staticmethod
    def config(described):
        def params(one):
            multi = edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim) if one["multi"] else None
            return edge.EdgeVectorParams(size=one["size"], distance=edge.Distance.Cosine, multivector_config=multi)

        def sparse(one):
            return edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf if one["idf"] else None)

        dense = {name: params(one) for name, one in described["dense"].items()}
        return edge.EdgeConfig(
            vectors=dense or None, sparse_vectors={name: sparse(one) for name, one in described["sparse"].items()}
        )

    def open(self, name, described):
        path, made = self.folder / name / "shard", self.folder / name / "made"
        if made.exists():
            shard = edge.EdgeShard.load(str(path))
        else:
            # Killed between the two: nothing was acknowledged.
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(parents=True)
            shard = edge.EdgeShard.create(str(path), self.config(described))
            made.write_text("")
        self.shards[name] = shard

    def create(self, name, described):
        folder = self.folder / name
        folder.mkdir(parents=True)
        (folder / "collection.json").write_text(json.dumps(described))
        self.open(name, described)

    def delete(self, name):
        shard = self.shards.pop(name, None)
        if shard is None:
            return False
        shard.close()
        shutil.rmtree(self.folder / name)
        return True

    def shard(self, name, context):
        if name not in self.shards:
            fail(context, grpc.StatusCode.NOT_FOUND, f"Not found: Collection `{name}` doesn't exist!")
        return self.shards[name]


def id_of(point_id):
    return uuid.UUID(point_id.uuid) if point_id.WhichOneof("point_id_options") == "uuid" else point_id.num


def id_to_wire(point_id):
    if isinstance(point_id, int):
        return common.PointId(num=point_id)
    return common.PointId(uuid=str(point_id))


def value_of(value):
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return [value_of(one) for one in value.list_value.values]
    if kind == "struct_value":
        return {key: value_of(one) for key, one in value.struct_value.fields.items()}
    return None if kind in (None, "null_value") else getattr(value, kind)


def value_to_wire(value):
    if isinstance(value, bool):
        return json_with_int_pb2.Value(bool_value=value)
    if isinstance(value, int):
        return json_with_int_pb2.Value(integer_value=value)
    if isinstance(value, float):
        return json_with_int_pb2.Value(double_value=value)
    if isinstance(value, str):
        return json_with_int_pb2.Value(string_value=value)
    if isinstance(value, list):
        values = [value_to_wire(one) for one in value]
        return json_with_int_pb2.Value(list_value=json_with_int_pb2.ListValue(values=values))
    return json_with_int_pb2.Value(null_value=0)


def vector_of(vector):
    kind = vector.WhichOneof("vector")
    if kind == "sparse":
        return edge.SparseVector(indices=list(vector.sparse.indices), values=list(vector.sparse.values))
    if kind == "multi_dense":
        return [list(one.data) for one in vector.multi_dense.vectors]
    if kind == "dense":
        return list(vector.dense.data)
    raise ValueError(f"no vector of kind {kind}")


def condition_of(condition):
    kind = condition.WhichOneof("condition_one_of")
    if kind == "has_id":
        return edge.HasIdCondition({id_of(one) for one in condition.has_id.has_id})
    if kind == "filter":
        return filter_of(condition.filter)
    if kind != "field":
        raise ValueError(f"no condition of kind {kind}")
    field = condition.field
    if field.HasField("match"):
        match = field.match.WhichOneof("match_value")
        if match == "keywords":
            return edge.FieldCondition(field.key, match=edge.MatchAny(list(field.match.keywords.strings)))
        raise ValueError(f"no match of kind {match}")
    bounds = {name: getattr(field.range, name) for name in ("lt", "gt", "gte", "lte") if field.range.HasField(name)}
    return edge.FieldCondition(field.key, range=edge.RangeFloat(**bounds))


def filter_of(wanted):
    conditions = {name: [condition_of(one) for one in getattr(wanted, name)] for name in ("must", "should", "must_not")}
    return edge.Filter(**{name: some for name, some in conditions.items() if some})


def payload_of(selector):
    kind = selector.WhichOneof("selector_options")
    return list(selector.include.fields) if kind == "include" else bool(kind == "enable" and selector.enable)


def payload_to_wire(payload):
    return {key: value_to_wire(value) for key, value in (payload or {}).items()}


def answering(call):
    """One call at a time; what the engine refuses is a bad request, as at a real server."""

    def answer(self, request, context):
        with self.shelves.lock:
            try:
                return call(self, request, context)
            except (ValueError, TypeError, RuntimeError) as error:
                print(f"{call.__name__}: {error}", file=sys.stderr, flush=True)
                return fail(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except Exception as error:
                if context.code() is None:
                    print(f"{call.__name__}: {error!r}", file=sys.stderr, flush=True)
                raise

    return answer


class Collections(collections_service_pb2_grpc.CollectionsServicer):
    def __init__(self, shelves):
        self.shelves = shelves

    @answering
    def Create(self, request, context):
        if request.collection_name in self.shelves.shards:
            fail(context, grpc.StatusCode.INVALID_ARGUMENT, f"Collection `{request.collection_name}` already exists!")
        dense = {}
        for name, params in request.vectors_config.params_map.map.items():
            if params.distance != collections_pb2.Distance.Cosine:
                raise ValueError("only cosine here")
            dense[name] = {"size": params.size, "multi": params.HasField("multivector_config")}
        sparse = {}
        for name, params in request.sparse_vectors_config.map.items():
            sparse[name] = {"idf": params.modifier == collections_pb2.Modifier.Idf}
        self.shelves.create(request.collection_name, {"dense": dense, "sparse": sparse})
        return collections_pb2.CollectionOperationResponse(result=True)

    @answering
    def Delete(self, request, context):
        return collections_pb2.CollectionOperationResponse(result=self.shelves.delete(request.collection_name))

    @answering
    def CollectionExists(self, request, context):
        exists = collections_pb2.CollectionExists(exists=request.collection_name in self.shelves.shards)
        return collections_pb2.CollectionExistsResponse(result=exists)

    @answering
    def Get(self, request, context):
        info = self.shelves.shard(request.collection_name, context).info()
        result = collections_pb2.CollectionInfo(points_count=info.points_count)
        return collections_pb2.GetCollectionInfoResponse(result=result)

    @answering
    def List(self, request, context):
        named = [collections_pb2.CollectionDescription(name=name) for name in sorted(self.shelves.shards)]
        return collections_pb2.ListCollectionsResponse(collections=named)


class Points(points_service_pb2_grpc.PointsServicer):
    def __init__(self, shelves):
        self.shelves = shelves

    def done(self):
        result = points_pb2.UpdateResult(status=points_pb2.UpdateStatus.Completed)
        return points_pb2.PointsOperationResponse(result=result)

    @answering
    def Upsert(self, request, context):
        def point(one):
            vectors = {name: vector_of(vector) for name, vector in one.vectors.vectors.vectors.items()}
            payload = {key: value_of(value) for key, value in one.payload.items()}
            return edge.Point(id_of(one.id), vectors, payload)

        condition = filter_of(request.update_filter) if request.HasField("update_filter") else None
        points = [point(one) for one in request.points]
        shard = self.shelves.shard(request.collection_name, context)
        shard.update(edge.UpdateOperation.upsert_points(points, condition=condition))
        return self.done()

    @answering
    def Delete(self, request, context):
        shard = self.shelves.shard(request.collection_name, context)
        if request.points.WhichOneof("points_selector_one_of") == "points":
            ids = [id_of(one) for one in request.points.points.ids]
            shard.update(edge.UpdateOperation.delete_points(ids))
        else:
            shard.update(edge.UpdateOperation.delete_points_by_filter(filter_of(request.points.filter)))
        return self.done()

    @answering
    def CreateFieldIndex(self, request, context):
        shard = self.shelves.shard(request.collection_name, context)
        if request.field_type != points_pb2.FieldType.FieldTypeKeyword:
            raise ValueError("only keywords here")
        shard.update(edge.UpdateOperation.create_field_index(request.field_name, edge.PayloadSchemaType.Keyword))
        return self.done()

    @answering
    def Scroll(self, request, context):
        wanted = edge.ScrollRequest(
            offset=id_of(request.offset) if request.HasField("offset") else None,
            limit=request.limit or 10,
            filter=filter_of(request.filter) if request.HasField("filter") else None,
            with_payload=payload_of(request.with_payload),
            with_vector=False,
        )
        records, after = self.shelves.shard(request.collection_name, context).scroll(wanted)
        result = [
            points_pb2.RetrievedPoint(id=id_to_wire(one.id), payload=payload_to_wire(one.payload)) for one in records
        ]
        return points_pb2.ScrollResponse(
            result=result, next_page_offset=None if after is None else id_to_wire(after)
        )

    @answering
    def Count(self, request, context):
        wanted = edge.CountRequest(
            filter=filter_of(request.filter) if request.HasField("filter") else None, exact=request.exact
        )
        count = self.shelves.shard(request.collection_name, context).count(wanted)
        return points_pb2.CountResponse(result=points_pb2.CountResult(count=count))

    @answering
    def QueryBatch(self, request, context):
        shard = self.shelves.shard(request.collection_name, context)
        return points_pb2.QueryBatchResponse(result=[self.query(shard, one) for one in request.query_points])

    @staticmethod
    def query(shard, request):
        nearest = request.query.nearest
        kind = nearest.WhichOneof("variant")
        if kind == "sparse":
            vector = edge.SparseVector(indices=list(nearest.sparse.indices), values=list(nearest.sparse.values))
        elif kind == "dense":
            vector = list(nearest.dense.data)
        else:
            raise ValueError(f"no query of kind {kind}")
        found = shard.query(
            edge.QueryRequest(
                limit=request.limit or 10,
                query=edge.Query.Nearest(vector, using=request.using or None),
                filter=filter_of(request.filter) if request.HasField("filter") else None,
                with_payload=payload_of(request.with_payload),
            )
        )
        result = [
            points_pb2.ScoredPoint(id=id_to_wire(one.id), payload=payload_to_wire(one.payload), score=one.score)
            for one in found
        ]
        return points_pb2.BatchResult(result=result)


class Key(grpc.ServerInterceptor):
    """Refuses who does not show the key."""

    def __init__(self, key):
        self.key = key

        def refuse(request, context):
            fail(context, grpc.StatusCode.UNAUTHENTICATED, "Must provide an API key or an Authorization bearer token")

        self.refusal = grpc.unary_unary_rpc_method_handler(refuse)

    def intercept_service(self, continuation, details):
        shown = dict(details.invocation_metadata).get("api-key")
        return continuation(details) if shown == self.key else self.refusal


def main():
    folder, address = Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    interceptors = [Key(sys.argv[3])] if len(sys.argv) > 3 else []
    limits = [("grpc.max_receive_message_length", MOST_MESSAGE), ("grpc.so_reuseport", 0)]
    server = grpc.server(futures.ThreadPoolExecutor(4), interceptors=interceptors, options=limits)
    shelves = Shelves(folder)
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(Collections(shelves), server)
    points_service_pb2_grpc.add_PointsServicer_to_server(Points(shelves), server)
    port = server.add_insecure_port(address)
    server.start()
    print(f"ready {address.rsplit(':', 1)[0]}:{port}", flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
