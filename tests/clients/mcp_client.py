"""The client of the official MCP SDK against a node: over HTTP, and through `tmctl mcp` in a project's folder.

The arguments are the node's HTTP address, its gRPC address, and the path of tmctl.
"""

import asyncio
import json
import pathlib
import sys
import tempfile
import time

import jsonschema
from mcp import Client, MCPError, StdioServerParameters

import fake

BASE, GRPC, TMCTL = sys.argv[1:]
PRD = """# Garden

## Water

- The pump must start when the soil is dry.
- The pump must stop when the tank is empty.

## Light

- The lamp must follow the sun.
"""
# How a client may begin: as all did, or by asking what the server is.
MODES = ["legacy", "auto"]


def http(tools="all", mode="auto"):
    return Client(f"{BASE}/mcp?tools={tools}", mode=mode)


def bridge(root, tools="all", mode="auto", heard=None):
    async def hear(message):
        if heard is not None and isinstance(message, Exception):
            heard.append(message)

    arguments = ["--server", GRPC, "mcp", "--dir", str(root), "--tools", tools]
    return Client(StdioServerParameters(command=TMCTL, args=arguments), mode=mode, message_handler=hear)


def folder(name):
    return pathlib.Path(tempfile.mkdtemp(), name)


async def data(client, name, progress=None, /, **arguments):
    """What a tool gives; the SDK has held it against the tool's output schema."""
    result = await client.call_tool(name, arguments, progress_callback=progress)
    assert not result.is_error, f"{name}: {result}"
    said = result.structured_content
    assert json.loads(result.content[0].text) == said, f"{name}: text and structure differ"
    return said["data"]


async def refusal(client, name, /, **arguments):
    result = await client.call_tool(name, arguments)
    assert result.is_error, f"{name}: {result}"
    error = result.structured_content["error"]
    assert error["hint"] and f"hint: {error['hint']}" in result.content[0].text, result
    return error


async def plans(client, root, prd):
    """A whole plan, from the document to the next task, in a project of its own."""
    place = {"projectRoot": str(root)}
    steps = []

    async def progress(done, total, message):
        steps.append((done, total, message))

    made = await data(client, "initialize_project", **place)
    assert (made["project"]["name"], made["isNew"]) == (root.name, True), made
    job = await data(client, "parse_prd", progress, planner="structural", numTasks=3, **place, **prd)
    assert job["state"] == "done" and job["result"]["uncovered"] == [], job
    figures = [done for done, _, _ in steps]
    assert steps and figures == sorted(set(figures)), steps

    begun = time.monotonic()
    job = await data(client, "expand_task", id="1", num=2, waitSeconds=0, **place)
    assert job["state"] in ("waiting", "running") and "job_status" in job["next"], job
    assert time.monotonic() - begun < 10
    job = await data(client, "job_status", id=job["job"], **place)
    assert job["state"] == "done", job

    added = await data(client, "add_task", title="Paint the fence", dependencies="1", priority="low", **place)
    (new,) = added["added"]
    first = await data(client, "next_task", **place)
    assert first["nextTask"]["id"].split(".")[0] == "1" and first["reasons"], first
    changed = await data(client, "set_task_status", id=new, status="review", **place)
    assert changed["tasks"][0]["status"] == "review", changed
    return new


async def lists(client, root):
    place = {"projectRoot": str(root)}
    pages, offset = [], 0
    while offset is not None:
        page = await data(client, "get_tasks", limit=2, offset=offset, **place)
        assert len(page["tasks"]) <= 2
        pages += [task["id"] for task in page["tasks"]]
        offset = page["nextOffset"]
    assert len(pages) == page["total"] == len(set(pages)) > 2, pages


async def reads(client, root):
    listed = [str(resource.uri) for resource in (await client.list_resources()).resources]
    assert f"task://{root.name}/master" in listed, listed
    for uri, wanted in [(f"task://{root.name}/master/1", '"id":"1"'), (f"report://{root.name}/master", "# ")]:
        (content,) = (await client.read_resource(uri)).contents
        assert wanted in content.text, content
    try:
        await client.read_resource("task://nowhere/master")
    except MCPError as error:
        assert error.error.data["hint"], error
    else:
        raise AssertionError("a project that is not there was read")


async def refuses(client, root):
    place = {"projectRoot": str(root)}
    assert (await refusal(client, "get_task", id="99", **place))["code"] == "not_found"
    assert (await refusal(client, "set_task_status", id="1", status="ready", **place))["code"] == "invalid_argument"
    stale = await client.call_tool("set_task_status", {"id": "1", "status": "done", "expectedVersion": 99, **place})
    assert stale.is_error and stale.structured_content["conflict"], stale


async def tools_of(client):
    tools = (await client.list_tools()).tools
    for tool in tools:
        jsonschema.Draft202012Validator.check_schema(tool.input_schema)
        jsonschema.Draft202012Validator.check_schema(tool.output_schema)
        assert tool.description and tool.annotations.title
    return {tool.name for tool in tools}


def check_a_client_of_either_age_is_introduced():
    async def check():
        for mode in MODES:
            for client in [http(mode=mode), bridge(tempfile.mkdtemp(), mode=mode)]:
                async with client:
                    assert client.server_info.name == "taskmaster" and client.instructions, mode
                    assert client.server_capabilities.tools and client.server_capabilities.resources

    asyncio.run(check())


def check_tools_come_in_sets():
    async def check():
        for way in [http, lambda tools: bridge(tempfile.mkdtemp(), tools)]:
            sets = []
            for name in ["core", "standard", "all"]:
                async with way(name) as client:
                    sets.append(await tools_of(client))
            core, standard, everything = sets
            assert core < standard < everything and {"parse_prd", "next_task"} <= core, sets
            async with way("get_task,next_task") as client:
                assert await tools_of(client) == {"get_task", "next_task"}

    asyncio.run(check())


def check_a_plan_is_made_over_http():
    async def check():
        for mode in MODES:
            root = folder(f"http-{mode}")
            async with http(mode=mode) as client:
                await plans(client, root, {"prdText": PRD})
                await lists(client, root)
                await reads(client, root)
                await refuses(client, root)
                error = await refusal(client, "parse_prd", input="prd.md", projectRoot=str(root))
                assert "tmctl mcp" in error["hint"], error

    asyncio.run(check())


def check_a_plan_is_made_through_the_bridge():
    async def check():
        for mode in MODES:
            root, heard = folder(f"bridge-{mode}"), []
            root.mkdir()
            (root / "prd.md").write_text(PRD)
            async with bridge(root, mode=mode, heard=heard) as client:
                new = await plans(client, root, {"input": "prd.md"})
                await lists(client, root)
                await reads(client, root)
                await refuses(client, root)
                await keeps_the_folder(client, root, new)
            assert not heard, f"stdout has more than messages: {heard}"

    asyncio.run(check())


async def keeps_the_folder(client, root, new):
    """What the folder on the editor's machine has, and what comes back of it."""
    place, inner = {"projectRoot": str(root)}, root / ".taskmaster"
    config = json.loads((inner / "config.json").read_text())
    assert config["global"]["anonymousTelemetry"] is False and (inner / "templates").is_dir()
    path = inner / "tasks/tasks.json"

    def tasks():
        return {str(task["id"]): task for task in json.loads(path.read_text())["master"]["tasks"]}

    assert tasks()[new]["status"] == "review" and len(tasks()["1"]["subtasks"]) == 2, tasks()
    file = json.loads(path.read_text())
    (mine,) = [task for task in file["master"]["tasks"] if str(task["id"]) == new]
    mine["title"] = "Paint the gate"
    path.write_text(json.dumps(file))
    assert (await data(client, "get_task", id=new, **place))["title"] == "Paint the gate"
    await data(client, "set_task_status", id=new, status="done", **place)
    assert (tasks()[new]["title"], tasks()[new]["status"]) == ("Paint the gate", "done")

    job = await data(client, "analyze_project_complexity", planner="structural", **place)
    report = inner / "reports/task-complexity-report.json"
    assert job["report"] == str(report.resolve()), job
    report = json.loads(report.read_text())
    assert report["complexityAnalysis"] and report["meta"]["projectName"] == root.name, report
    assert (await data(client, "complexity_report", **place))["report"]["complexityAnalysis"] == report["complexityAnalysis"]
    await data(client, "add_tag", name="next", copyFromCurrent=True, **place)
    await data(client, "analyze_project_complexity", planner="structural", tag="next", **place)
    assert (inner / "reports/task-complexity-report_next.json").is_file()

    written = (await data(client, "generate", **place))["files"]
    assert str((inner / "tasks/task_001.md").resolve()) in written, written
    kept = await data(client, "research", query="Which pump fits?", saveToFile=True, saveTo="1", **place)
    assert "Which pump fits?" in pathlib.Path(kept["savedToFile"]).read_text()
    assert "<info added on " in tasks()["1"]["details"]


fake.run(dict(globals()))
