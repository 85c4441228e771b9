//! Which key opens what: one row for every call of every face. What has no row is refused to everybody.
//!
//! `tests/it/scopes.rs` walks all routes, all methods of the protos and all tools, so that none is left without.

use base::Scope::{self, Admin, Infer, Read, Research, Tasks};

/// What a call wants of its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: it tells nothing about the house, or proves its caller by other means.
    Open,
    /// A key; what is called with it then is looked at one by one.
    AnyKey,
    /// A key with this scope.
    Key(Scope),
}

impl Need {
    /// The scope that the key has to have.
    pub const fn scope(self) -> Option<Scope> {
        match self {
            Self::Key(scope) => Some(scope),
            Self::Open | Self::AnyKey => None,
        }
    }
}

/// Methods, route, need. Those of asks come first, since they are looked for most.
#[rustfmt::skip]
pub const HTTP: &[(&str, &str, Need)] = &[
    ("POST", "/v1/chat/completions", Need::Key(Infer)),
    ("POST", "/chat/completions", Need::Key(Infer)),
    ("POST", "/v1/embeddings", Need::Key(Infer)),
    ("POST", "/embeddings", Need::Key(Infer)),
    ("POST", "/v1/messages", Need::Key(Infer)),
    ("POST", "/messages", Need::Key(Infer)),
    ("POST", "/api/chat", Need::Key(Infer)),
    ("POST", "/api/generate", Need::Key(Infer)),
    ("POST", "/api/embed", Need::Key(Infer)),
    ("POST", "/api/embeddings", Need::Key(Infer)),
    ("POST", "/v1/completions", Need::Key(Infer)),
    ("POST", "/completions", Need::Key(Infer)),
    ("POST", "/v1/responses", Need::Key(Infer)),
    ("POST", "/responses", Need::Key(Infer)),
    ("POST", "/v1/rerank", Need::Key(Infer)),
    ("GET", "/v1/models", Need::Key(Infer)),
    ("GET", "/v1/models/{*name}", Need::Key(Infer)),
    ("GET", "/models", Need::Key(Infer)),
    ("GET", "/models/{*name}", Need::Key(Infer)),
    ("POST", "/v1/messages/count_tokens", Need::Key(Infer)),
    ("GET", "/api/tags", Need::Key(Infer)),
    ("GET", "/api/ps", Need::Key(Infer)),
    ("POST", "/api/show", Need::Key(Infer)),
    ("GET", "/api/version", Need::Key(Infer)),
    ("POST", "/api/pull", Need::Key(Admin)),
    ("POST", "/api/push", Need::Key(Admin)),
    ("POST", "/api/create", Need::Key(Admin)),
    ("POST", "/api/copy", Need::Key(Admin)),
    ("DELETE", "/api/delete", Need::Key(Admin)),
    ("GET POST", "/api/projects", Need::Key(Tasks)),
    ("GET PATCH DELETE", "/api/projects/{project}", Need::Key(Tasks)),
    ("GET POST", "/api/projects/{project}/tags", Need::Key(Tasks)),
    ("GET PATCH DELETE", "/api/projects/{project}/tags/{tag}", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/tasks", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/tasks/{ids}", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/next", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/check", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/history", Need::Key(Tasks)),
    ("GET", "/api/projects/{project}/render/{kind}", Need::Key(Tasks)),
    ("POST", "/api/projects/{project}/edits", Need::Key(Tasks)),
    ("POST", "/api/projects/{project}/move", Need::Key(Tasks)),
    ("POST", "/api/projects/{project}/undo", Need::Key(Tasks)),
    ("GET PUT", "/api/projects/{project}/tasks.json", Need::Key(Tasks)),
    ("GET POST", "/api/projects/{project}/jobs", Need::Key(Tasks)),
    ("GET", "/api/jobs", Need::Key(Tasks)),
    ("GET DELETE", "/api/jobs/{id}", Need::Key(Tasks)),
    ("GET", "/api/jobs/{id}/events", Need::Key(Tasks)),
    ("GET POST", "/api/research/collections", Need::Key(Research)),
    ("DELETE", "/api/research/collections/{name}", Need::Key(Research)),
    ("GET POST DELETE", "/api/research/collections/{name}/documents", Need::Key(Research)),
    ("GET DELETE", "/api/research/collections/{name}/documents/{id}", Need::Key(Research)),
    ("GET", "/api/research/document", Need::Key(Research)),
    ("POST", "/api/research/search", Need::Key(Research)),
    ("POST", "/api/research/ask", Need::Key(Research)),
    ("POST", "/api/research/loops", Need::Key(Research)),
    ("GET", "/api/research/clusters", Need::Key(Research)),
    ("GET", "/api/research/status", Need::Key(Research)),
    ("POST", "/v1/agent", Need::Key(Research)),
    ("GET", "/api/cluster/nodes", Need::Key(Read)),
    ("POST", "/api/cluster/nodes/{node}/drain", Need::Key(Admin)),
    ("GET", "/api/cluster/workers", Need::Key(Read)),
    ("GET", "/api/cluster/models", Need::Key(Read)),
    ("GET", "/api/cluster/asks", Need::Key(Read)),
    ("GET", "/api/cluster/asks/{ask}", Need::Key(Read)),
    ("GET", "/api/cluster/failures", Need::Key(Read)),
    ("GET", "/api/cluster/health", Need::Key(Read)),
    ("GET", "/api/cluster/mode", Need::Key(Read)),
    ("POST", "/api/cluster/mode", Need::Key(Admin)),
    ("GET", "/api/cluster/load", Need::Key(Read)),
    ("GET", "/api/cluster/dialled", Need::Key(Read)),
    ("GET", "/api/cluster/live", Need::Key(Read)),
    ("GET", "/metrics", Need::Key(Read)),
    ("POST", "/mcp", Need::AnyKey),
    ("POST", "/hooks/github", Need::Open),
    ("GET", "/", Need::Open),
    ("GET", "/openapi.json", Need::Open),
    ("GET", "/healthz", Need::Open),
    ("GET", "/readyz", Need::Open),
];

/// Service, need, methods.
#[rustfmt::skip]
pub const GRPC: &[(&str, Need, &[&str])] = &[
    ("taskmaster.inference.v1.Inference", Need::Key(Infer), &["Generate", "Embed", "Rerank", "ListModels"]),
    ("taskmaster.admin.v1.Admin", Need::Key(Read), &[
        "ListNodes", "ListWorkers", "ListModels", "Explain", "ListFailures", "GetMode", "Health", "ListActors",
        "WatchEvents", "ListAsks", "ListLoad", "ListDialled", "ListModes", "PrivacyReport", "VerifyAudit",
    ]),
    ("taskmaster.admin.v1.Admin", Need::Key(Admin), &[
        "ReportFailure", "SetMode", "RollbackMode", "Drain", "Reload", "Place", "ImportModel", "CreateModel", "PullModel", "BenchModel",
        "CreateKey", "ListKeys", "RevokeKey", "RotateKey", "Inject", "RevokeCertificates", "GetStore",
    ]),
    ("taskmaster.planning.v1.Planning", Need::Key(Tasks), &[
        "ListProjects", "CreateProject", "ChangeProject", "DeleteProject", "ListTemplates", "ListTags", "ChangeTag",
        "ListTasks", "NextTask", "CheckTasks", "Render", "Edit", "MoveToTag", "Undo", "History", "WatchTag", "Export",
        "Import", "Start", "GetJob", "ListJobs", "CancelJob", "WatchJob",
    ]),
    ("taskmaster.planning.v1.Planning", Need::AnyKey, &["Mcp"]),
    ("taskmaster.research.v1.Research", Need::Key(Research), &[
        "CreateCollection", "ListCollections", "DeleteCollection", "AddDocuments", "ListDocuments", "GetDocument",
        "RemoveDocuments", "Export", "ListFolders", "AddUrls", "Search", "Ask", "StartLoop", "Clusters", "Status",
    ]),
    ("taskmaster.backup.v1.Backups", Need::Key(Admin), &["Export", "Import"]),
    // These reach into the disks of nodes, or change what holds the documents.
    ("taskmaster.research.v1.Research", Need::Key(Admin), &["WatchFolder", "UnwatchFolder", "Migrate"]),
];

/// Scope, tools of MCP. Its resources are tasks.
#[rustfmt::skip]
pub const TOOLS: &[(Scope, &[&str])] = &[
    (Tasks, &[
        "initialize_project", "models", "rules", "response-language", "parse_prd", "analyze_project_complexity",
        "expand_task", "expand_all", "scope_up_task", "scope_down_task", "add_task", "update", "update_task",
        "update_subtask", "generate_tasks_from_code", "get_tasks", "get_task", "next_task", "suggest_next_steps",
        "complexity_report", "validate_dependencies", "list_tags", "generate", "job_status", "set_task_status",
        "update_task_progress", "add_subtask", "remove_task", "remove_subtask", "clear_subtasks", "move_task",
        "add_dependency", "remove_dependency", "fix_dependencies", "add_tag", "delete_tag", "use_tag", "rename_tag",
        "copy_tag", "undo", "cancel_job",
    ]),
    (Research, &["research", "search_documents", "read_document", "add_document"]),
    (Read, &["cluster_status"]),
];

/// What `method` at a route wants; `None` where the route has no row. A method that the route does not have wants a key,
/// to be told so.
pub fn of_http(method: &str, route: &str) -> Option<Need> {
    // A page that may be got may be looked for.
    let method = if method == "HEAD" { "GET" } else { method };
    let mut known = None;
    for (methods, _, need) in HTTP.iter().filter(|(_, known, _)| *known == route) {
        if methods.split(' ').any(|one| one == method) {
            return Some(*need);
        }
        known = Some(Need::AnyKey);
    }
    known
}

/// What a method of a service wants, by its path `/SERVICE/METHOD`; `None` where there is no such row.
pub fn of_grpc(path: &str) -> Option<Need> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    let row = GRPC.iter().find(|(known, _, methods)| *known == service && methods.contains(&method));
    row.map(|(_, need, _)| *need)
}

/// What a tool of MCP wants; `None` where it has no row.
pub fn of_tool(name: &str) -> Option<Scope> {
    TOOLS.iter().find(|(_, tools)| tools.contains(&name)).map(|(scope, _)| *scope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_has_one_row_and_what_has_none_has_no_need_that_anybody_could_meet() {
        assert_eq!(of_http("GET", "/api/cluster/mode"), Some(Need::Key(Read)));
        assert_eq!(of_http("HEAD", "/api/cluster/mode"), Some(Need::Key(Read)));
        assert_eq!(of_http("POST", "/api/cluster/mode"), Some(Need::Key(Admin)));
        assert_eq!(of_http("PUT", "/api/cluster/mode"), Some(Need::AnyKey));
        assert_eq!(of_http("GET", "/api/cluster/secrets"), None);
        assert_eq!(of_grpc("/taskmaster.admin.v1.Admin/SetMode"), Some(Need::Key(Admin)));
        for none in ["/taskmaster.admin.v1.Admin/Fly", "/taskmaster.admin.v1.Admin", "", "/grpc.health.v1.Health/Check"]
        {
            assert_eq!(of_grpc(none), None, "{none}");
        }
        assert_eq!(of_tool("fly"), None);
        let mut calls: Vec<String> = Vec::new();
        for (methods, route, _) in HTTP {
            calls.extend(methods.split(' ').map(|method| format!("{method} {route}")));
        }
        for (service, _, methods) in GRPC {
            calls.extend(methods.iter().map(|method| format!("{service}/{method}")));
        }
        calls.extend(TOOLS.iter().flat_map(|(_, tools)| tools.iter().map(|tool| (*tool).to_owned())));
        let count = calls.len();
        calls.sort_unstable();
        calls.dedup();
        assert_eq!(calls.len(), count, "a call has two rows");
    }

    #[test]
    fn what_changes_the_cluster_or_its_keys_wants_admin() {
        for call in ["SetMode", "Drain", "CreateKey", "ListKeys", "RevokeKey", "RevokeCertificates", "GetStore"] {
            assert_eq!(of_grpc(&format!("/taskmaster.admin.v1.Admin/{call}")), Some(Need::Key(Admin)), "{call}");
        }
    }
}
