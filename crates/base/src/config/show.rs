//! The effective configuration as TOML, for `tmd config`; what is secret is masked.

use std::fmt::Write as _;
use std::time::Duration;

use super::*;
use crate::units::format_duration;

impl Config {
    /// The effective configuration; reading it back gives the same one but for masked secrets, which a webhook refuses.
    pub fn to_toml(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_toml(&mut out);
        out
    }

    fn write_toml(&self, out: &mut String) -> std::fmt::Result {
        let roles: Vec<&str> = self.node.roles.iter().map(|role| role.as_str()).collect();
        writeln!(out, "[node]\nname = {}", quote(self.node.name.as_str()))?;
        writeln!(out, "data_dir = {}\nroles = {}", quote_path(&self.node.data_dir), list(&roles))?;
        writeln!(out, "[http]\nlisten = \"{}\"", self.http_listen)?;
        writeln!(out, "allowed_origins = {}", list(&self.http_allowed_origins))?;
        writeln!(out, "[grpc]\nlisten = \"{}\"", self.grpc_listen)?;
        writeln!(out, "[peers]")?;
        write_listener(out, &self.peers)?;
        writeln!(out, "[actors]\nenabled = {}", self.actors.is_some())?;
        if let Some(actors) = &self.actors {
            write_listener(out, actors)?;
        }
        if let Some(tls) = &self.tls {
            writeln!(out, "[tls]\nca = {}", quote_path(&tls.ca))?;
            writeln!(out, "cert = {}\nkey = {}", quote_path(&tls.cert), quote_path(&tls.key))?;
            if let Some(issuer) = &tls.issuer {
                let (cert, key) = (quote_path(&issuer.cert), quote_path(&issuer.key));
                writeln!(out, "issuer_cert = {cert}\nissuer_key = {key}")?;
            }
        }
        self.write_store(out)?;
        writeln!(out, "[privacy]\nmode = \"{}\"\nlock = {}", self.privacy.mode, self.privacy_lock)?;
        writeln!(out, "local_ranges = {}", list(&self.privacy.local_ranges))?;
        self.write_triggers(out)?;
        writeln!(out, "[auth]\nkeys = \"{}\"", self.auth)?;
        self.write_bounds(out)?;
        self.write_engine(out)?;
        self.write_research(out)?;
        self.write_models(out)
    }

    fn write_triggers(&self, out: &mut String) -> std::fmt::Result {
        if let Some(percent) = self.privacy_local_percent {
            writeln!(out, "local_percent = {percent}")?;
        }
        for Trigger { name, when, threshold, window, act, to } in &self.privacy_triggers {
            writeln!(out, "[[privacy.triggers]]\nname = {}\nwhen = \"{when}\"", quote(name))?;
            writeln!(out, "threshold = {threshold:?}\nwindow = {}\nact = \"{act}\"\nto = {to}", time(*window))?;
        }
        Ok(())
    }

    fn write_research(&self, out: &mut String) -> std::fmt::Result {
        let folders: Vec<_> = self.research.folders.iter().map(|folder| folder.to_string_lossy()).collect();
        writeln!(out, "[research]\nfolders = {}", list(&folders))?;
        writeln!(out, "scan_every = {}", time(self.research.scan_every))?;
        writeln!(out, "pages = {}", list(&self.research.pages))?;
        self.write_qdrant(out)
    }

    fn write_qdrant(&self, out: &mut String) -> std::fmt::Result {
        let Some(qdrant) = &self.research.qdrant else { return Ok(()) };
        writeln!(out, "[research.qdrant]\nurl = {}\nprefix = {}", quote(&qdrant.url), quote(&qdrant.prefix))?;
        match &qdrant.api_key_file {
            Some(file) => writeln!(out, "api_key_file = {}", quote_path(file)),
            None => Ok(()),
        }
    }

    /// Without the two places that only the environment tells.
    fn write_engine(&self, out: &mut String) -> std::fmt::Result {
        let engine = &self.engine;
        let stores: Vec<&str> = engine.stores.iter().map(|store| store.as_str()).collect();
        writeln!(out, "[engine]\nprogram = {}", quote_path(&engine.program))?;
        writeln!(out, "folder = {}\nstores = {}", quote_path(&engine.folder), list(&stores))?;
        writeln!(out, "context = {}\nthreads = {}", engine.context, engine.threads)
    }

    fn write_store(&self, out: &mut String) -> std::fmt::Result {
        match &self.store {
            Store::Sled => writeln!(out, "[store]\nkind = \"sled\"")?,
            Store::Etcd(etcd) => {
                writeln!(out, "[store]\nkind = \"etcd\"\nendpoints = {}", list(&etcd.endpoints))?;
                writeln!(out, "prefix = {}\nlease_ttl = {}", quote(&etcd.prefix), time(etcd.lease_ttl))?;
                writeln!(out, "timeout = {}", time(etcd.timeout))?;
                if let Some((user, file)) = &etcd.user {
                    writeln!(out, "user = {}\npassword_file = {}", quote(user), quote_path(file))?;
                }
            }
        }
        if let Some(encryption) = &self.encryption {
            writeln!(out, "encryption = true\nkey_file = {}", quote_path(&encryption.key_file))?;
            let old: Vec<_> = encryption.old_key_files.iter().map(|path| path.to_string_lossy()).collect();
            writeln!(out, "old_key_files = {}", list(&old))?;
        }
        let Some(backup) = &self.backup else { return Ok(()) };
        writeln!(out, "[backup]\nto = {}\nevery = {}", quote_path(&backup.to), time(backup.every))?;
        writeln!(out, "keep = {}\nrecipient = {}", backup.keep, quote(&backup.recipient))?;
        backup.node.as_ref().map_or(Ok(()), |node| writeln!(out, "node = {}", quote(node.as_str())))
    }

    fn write_bounds(&self, out: &mut String) -> std::fmt::Result {
        let limits = &self.limits;
        writeln!(out, "[limits]\nbody = \"{}\"\nanswer = \"{}\"", limits.body, limits.answer)?;
        writeln!(out, "first_token = {}\nidle_token = {}", time(limits.first_token), time(limits.idle_token))?;
        writeln!(
            out,
            "ask = {}\ndrain = {}\nconnections = {}",
            time(limits.ask),
            time(limits.drain),
            limits.connections
        )?;
        writeln!(out, "header = {}\nwrite = {}", time(limits.header), time(limits.write))?;
        let routing = &self.routing;
        writeln!(out, "[routing]\nheadroom = {:?}\nbusy_above = {:?}", routing.headroom, routing.busy_above)?;
        writeln!(out, "swaps_per_minute = {}\nmax_wait = {}", routing.swaps_per_minute, time(routing.max_wait))?;
        writeln!(out, "hedge = {}\nheartbeat = {}", routing.hedge, time(routing.heartbeat))?;
        writeln!(out, "suspect_after = {}", time(routing.suspect_after))?;
        match &self.cache {
            None => writeln!(out, "[cache]\nkind = \"off\"")?,
            Some(cache) => {
                writeln!(out, "[cache]\nkind = \"{}\"", if cache.redis.is_some() { "redis" } else { "sled" })?;
                if let Some(url) = &cache.redis {
                    writeln!(out, "url = {}", quote(&masked(url)))?;
                }
                if let Some(file) = &cache.password_file {
                    writeln!(out, "password_file = {}", quote_path(file))?;
                }
                writeln!(out, "ttl = {}\nsize = \"{}\"", time(cache.ttl), cache.size)?;
            }
        }
        writeln!(out, "[recovery]\nenabled = {}", self.recovery.enabled)?;
        writeln!(out, "budget_per_hour = {}\n[telemetry]", self.recovery.budget_per_hour)?;
        if let Some(otlp) = &self.telemetry.otlp {
            writeln!(out, "otlp = {}", quote(otlp))?;
        }
        writeln!(out, "sample = {:?}\ncontent = {}", self.telemetry.sample, self.telemetry.content)?;
        writeln!(out, "log = {}\njson = {}", quote(&self.telemetry.log), self.telemetry.json)?;
        if let Some(path) = &self.nvml {
            writeln!(out, "[gpu]\nnvml = {}", quote_path(path))?;
        }
        let Some(github) = &self.github else { return Ok(()) };
        writeln!(out, "[hooks.github]")?;
        match &github.secret {
            SecretAt::Here(_) => writeln!(out, "secret = \"***\"")?,
            SecretAt::File(file) => writeln!(out, "secret_file = {}", quote_path(file))?,
        }
        writeln!(out, "project = {}\ntag = {}", quote(&github.project), quote(&github.tag))?;
        match &github.mapping {
            Some(mapping) => writeln!(out, "mapping = {}", quote_path(mapping)),
            None => Ok(()),
        }
    }

    fn write_models(&self, out: &mut String) -> std::fmt::Result {
        if !self.roles.is_empty() {
            writeln!(out, "[roles]")?;
        }
        for (role, models) in &self.roles {
            writeln!(out, "{role} = {}", list(models))?;
        }
        for worker in &self.workers {
            writeln!(out, "[[workers]]\nname = {}\nbackend = \"{}\"", quote(&worker.name), worker.backend)?;
            writeln!(out, "url = {}\nslots = {}\nqueue = {}", quote(&worker.url), worker.slots, worker.queue)?;
            if !worker.command.is_empty() {
                writeln!(out, "command = {}", list(&worker.command))?;
            }
            writeln!(out, "models = {}\nmemory = \"{}\"", list(&worker.models), worker.memory)?;
            if let Some(file) = &worker.key_file {
                writeln!(out, "key_file = {}", quote_path(file))?;
            }
        }
        for model in &self.models {
            let capabilities: Vec<_> = model.capabilities.iter().map(|capability| capability.as_str()).collect();
            writeln!(out, "[[models]]\nname = {}\naliases = {}", quote(&model.name), list(&model.aliases))?;
            writeln!(out, "engines = {}\ncapabilities = {}", list(&model.engines), list(&capabilities))?;
            if let Some(tier) = &model.tier {
                writeln!(out, "tier = {}", quote(tier))?;
            }
            writeln!(out, "replicas = {}", model.replicas)?;
        }
        Ok(())
    }
}

fn write_listener(out: &mut String, listener: &Listener) -> std::fmt::Result {
    writeln!(out, "listen = \"{}\"", listener.listen)?;
    match &listener.advertise {
        Some(advertise) => writeln!(out, "advertise = {}", quote(advertise)),
        None => Ok(()),
    }
}

fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quote_path(path: &std::path::Path) -> String {
    quote(&path.to_string_lossy())
}

fn time(duration: Duration) -> String {
    format!("\"{}\"", format_duration(duration))
}

fn list<T: AsRef<str>>(texts: &[T]) -> String {
    format!("[{}]", texts.iter().map(|text| quote(text.as_ref())).collect::<Vec<_>>().join(", "))
}

/// A URL without the password in it.
fn masked(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://***@{host}"),
        _ => url.to_owned(),
    }
}
