//! What of a changed configuration a running node takes on, and what waits for its next start. This is the one table of
//! it: each field stands here once, and a field that is forgotten does not compile.

use super::*;

/// What became of a changed configuration; fields by the names that the file gives them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// These hold from now on.
    pub live: Vec<String>,
    /// These changed in the file, and hold after the next start.
    pub restart: Vec<String>,
}

impl Config {
    /// Takes on from `wanted` what may change while the node runs. The rest stays as it is, and is named.
    pub fn take_on(&mut self, wanted: &Config) -> Taken {
        let mut taken = Taken::default();
        walk(self, wanted, &mut |field, when, is_changed| match when {
            _ if !is_changed => {}
            When::Live => taken.live.push(field.to_owned()),
            When::Restart => taken.restart.push(field.to_owned()),
        });
        taken
    }
}

/// When a changed field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    Live,
    Restart,
}

/// Told of each field: its name, when a change of it holds, and whether it is changed.
struct Fields<'a>(&'a mut dyn FnMut(&str, When, bool));

impl Fields<'_> {
    /// A field that is taken on at once.
    fn live<T: PartialEq + Clone>(&mut self, field: &str, here: &mut T, wanted: &T) {
        (self.0)(field, When::Live, here != wanted);
        here.clone_from(wanted);
    }

    /// A field that something was made of when the node started.
    fn restart<T: PartialEq>(&mut self, field: &str, here: &T, wanted: &T) {
        (self.0)(field, When::Restart, here != wanted);
    }
}

fn walk(here: &mut Config, wanted: &Config, visit: &mut dyn FnMut(&str, When, bool)) {
    let mut fields = Fields(visit);
    let Config {
        node,
        http_listen,
        http_allowed_origins,
        grpc_listen,
        peers,
        actors,
        tls,
        store,
        encryption,
        backup,
        privacy,
        privacy_lock,
        privacy_local_percent,
        privacy_triggers,
        auth,
        workers,
        models,
        roles,
        limits,
        routing,
        cache,
        recovery,
        telemetry,
        nvml,
        engine,
        github,
        research,
    } = here;
    take_node(&mut fields, node, &wanted.node);
    fields.restart("http.listen", http_listen, &wanted.http_listen);
    fields.live("http.allowed_origins", http_allowed_origins, &wanted.http_allowed_origins);
    fields.restart("grpc.listen", grpc_listen, &wanted.grpc_listen);
    fields.restart("peers", peers, &wanted.peers);
    fields.restart("actors", actors, &wanted.actors);
    // The paths alone: what is in the files is followed while the node runs.
    fields.restart("tls", tls, &wanted.tls);
    fields.restart("store", store, &wanted.store);
    // What is there is sealed with the key of the start.
    fields.restart("store.encryption", encryption, &wanted.encryption);
    fields.restart("backup", backup, &wanted.backup);
    take_privacy(&mut fields, privacy, &wanted.privacy);
    fields.live("privacy.local_percent", privacy_local_percent, &wanted.privacy_local_percent);
    fields.restart("privacy.lock", privacy_lock, &wanted.privacy_lock);
    fields.restart("privacy.triggers", privacy_triggers, &wanted.privacy_triggers);
    fields.restart("auth.keys", auth, &wanted.auth);
    take_workers(&mut fields, workers, &wanted.workers);
    fields.live("models", models, &wanted.models);
    fields.live("roles", roles, &wanted.roles);
    take_limits(&mut fields, limits, &wanted.limits);
    take_routing(&mut fields, routing, &wanted.routing);
    fields.restart("cache", cache, &wanted.cache);
    take_recovery(&mut fields, recovery, &wanted.recovery);
    take_telemetry(&mut fields, telemetry, &wanted.telemetry);
    fields.restart("gpu.nvml", nvml, &wanted.nvml);
    take_engine(&mut fields, engine, &wanted.engine);
    fields.restart("hooks.github", github, &wanted.github);
    take_research(&mut fields, research, &wanted.research);
}

fn take_node(fields: &mut Fields<'_>, here: &mut Node, wanted: &Node) {
    let Node { name, data_dir, roles } = here;
    fields.restart("node.name", name, &wanted.name);
    fields.restart("node.data_dir", data_dir, &wanted.data_dir);
    fields.restart("node.roles", roles, &wanted.roles);
}

fn take_privacy(fields: &mut Fields<'_>, here: &mut Privacy, wanted: &Privacy) {
    let Privacy { mode, local_ranges } = here;
    // The mode of a file is the one at start: what the owner has set since stays.
    fields.live("privacy.mode", mode, &wanted.mode);
    fields.live("privacy.local_ranges", local_ranges, &wanted.local_ranges);
}

fn take_recovery(fields: &mut Fields<'_>, here: &mut Recovery, wanted: &Recovery) {
    let Recovery { enabled, budget_per_hour } = here;
    fields.live("recovery.enabled", enabled, &wanted.enabled);
    fields.restart("recovery.budget_per_hour", budget_per_hour, &wanted.budget_per_hour);
}

fn take_research(fields: &mut Fields<'_>, here: &mut Research, wanted: &Research) {
    let Research { folders, scan_every, pages, qdrant } = here;
    fields.restart("research.folders", folders, &wanted.folders);
    fields.restart("research.scan_every", scan_every, &wanted.scan_every);
    fields.restart("research.pages", pages, &wanted.pages);
    fields.restart("research.qdrant", qdrant, &wanted.qdrant);
}

/// Each worker is a field of its own: the others are left alone.
fn take_workers(fields: &mut Fields<'_>, here: &mut Vec<Worker>, wanted: &[Worker]) {
    let named = |workers: &[Worker], name: &str| workers.iter().find(|worker| worker.name == name).cloned();
    let gone = here.iter().filter(|worker| named(wanted, &worker.name).is_none());
    for name in gone.map(|worker| &worker.name).chain(wanted.iter().map(|worker| &worker.name)) {
        let is_changed = named(here, name) != named(wanted, name);
        (fields.0)(&format!("workers.{name}"), When::Live, is_changed);
    }
    wanted.clone_into(here);
}

fn take_limits(fields: &mut Fields<'_>, here: &mut Limits, wanted: &Limits) {
    let Limits { body, answer, first_token, idle_token, ask, drain, connections, header, write } = here;
    fields.live("limits.first_token", first_token, &wanted.first_token);
    fields.live("limits.idle_token", idle_token, &wanted.idle_token);
    fields.live("limits.ask", ask, &wanted.ask);
    fields.live("limits.drain", drain, &wanted.drain);
    fields.live("limits.header", header, &wanted.header);
    fields.live("limits.write", write, &wanted.write);
    // The faces are made with these.
    fields.restart("limits.body", body, &wanted.body);
    fields.restart("limits.answer", answer, &wanted.answer);
    fields.restart("limits.connections", connections, &wanted.connections);
}

fn take_routing(fields: &mut Fields<'_>, here: &mut Routing, wanted: &Routing) {
    let Routing { headroom, busy_above, swaps_per_minute, max_wait, hedge, heartbeat, suspect_after } = here;
    // The built-in engine is started with it.
    fields.restart("routing.headroom", headroom, &wanted.headroom);
    fields.live("routing.busy_above", busy_above, &wanted.busy_above);
    fields.live("routing.swaps_per_minute", swaps_per_minute, &wanted.swaps_per_minute);
    fields.live("routing.max_wait", max_wait, &wanted.max_wait);
    fields.live("routing.hedge", hedge, &wanted.hedge);
    fields.restart("routing.heartbeat", heartbeat, &wanted.heartbeat);
    fields.restart("routing.suspect_after", suspect_after, &wanted.suspect_after);
}

fn take_telemetry(fields: &mut Fields<'_>, here: &mut Telemetry, wanted: &Telemetry) {
    let Telemetry { otlp, sample, content, log, json } = here;
    fields.live("telemetry.log", log, &wanted.log);
    fields.restart("telemetry.otlp", otlp, &wanted.otlp);
    fields.restart("telemetry.sample", sample, &wanted.sample);
    fields.restart("telemetry.content", content, &wanted.content);
    fields.restart("telemetry.json", json, &wanted.json);
}

fn take_engine(fields: &mut Fields<'_>, here: &mut Engine, wanted: &Engine) {
    let Engine { program, folder, file, stores, context, threads, home, ollama_models } = here;
    fields.restart("engine.program", program, &wanted.program);
    fields.restart("engine.folder", folder, &wanted.folder);
    fields.restart("engine.stores", stores, &wanted.stores);
    fields.restart("engine.context", context, &wanted.context);
    fields.restart("engine.threads", threads, &wanted.threads);
    // From the command line and the environment, which stay as they are while the node runs.
    fields.restart("engine.file", file, &wanted.file);
    fields.restart("engine.home", home, &wanted.home);
    fields.restart("engine.ollama_models", ollama_models, &wanted.ollama_models);
}

#[cfg(test)]
#[path = "changes/tests.rs"]
mod tests;
