//! What in a text is a key of a cloud, or the address of one, and what stands there instead in a house with a Taskmaster.

use std::path::Path;

use serde::Serialize;

/// Something that is to be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, or `environment`.
    pub file: String,
    /// Counted from 1; 0 in the environment.
    pub line: usize,
    /// What it is.
    pub what: String,
    /// What stands there; of a key only its beginning.
    pub shown: String,
    /// What to put there.
    pub instead: String,
}

impl Finding {
    /// As people and editors write it.
    pub fn place(&self) -> String {
        if self.line == 0 { self.file.clone() } else { format!("{}:{}", self.file, self.line) }
    }
}

/// How a cloud is recognised, and how it is spoken to.
struct Cloud {
    name: &'static str,
    /// Hosts of it, and what ends like them where they begin with a dot.
    hosts: &'static [&'static str],
    /// What its keys begin with.
    keys: &'static [&'static str],
    /// What variables with its key are called.
    variables: &'static [&'static str],
    /// The address to put in place of its own.
    address: &'static str,
}

const V1: &str = "http://127.0.0.1:3001/v1 (or the node's name for 127.0.0.1)";
const ROOT: &str = "http://127.0.0.1:3001 (or the node's name for 127.0.0.1)";

/// The first whose prefix fits counts, so that the longer ones come first.
const CLOUDS: [Cloud; 14] = [
    Cloud {
        name: "Anthropic",
        hosts: &["api.anthropic.com"],
        keys: &["sk-ant-"],
        variables: &["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_API_KEY"],
        address: ROOT,
    },
    Cloud {
        name: "OpenRouter",
        hosts: &["openrouter.ai"],
        keys: &["sk-or-"],
        variables: &["OPENROUTER_API_KEY"],
        address: V1,
    },
    Cloud {
        name: "OpenAI",
        hosts: &["api.openai.com"],
        keys: &["sk-proj-", "sk-svcacct-", "sk-admin-", "sk-"],
        variables: &["OPENAI_API_KEY", "OPENAI_KEY"],
        address: V1,
    },
    Cloud {
        name: "Perplexity",
        hosts: &["api.perplexity.ai"],
        keys: &["pplx-"],
        variables: &["PERPLEXITY_API_KEY", "PPLX_API_KEY"],
        address: ROOT,
    },
    Cloud {
        name: "Google",
        hosts: &["generativelanguage.googleapis.com", "aiplatform.googleapis.com"],
        keys: &["AIzaSy"],
        variables: &["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_GENERATIVE_AI_API_KEY"],
        address: V1,
    },
    Cloud {
        name: "Azure OpenAI",
        hosts: &[".openai.azure.com", ".cognitiveservices.azure.com"],
        keys: &[],
        variables: &["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_KEY"],
        address: V1,
    },
    Cloud { name: "Groq", hosts: &["api.groq.com"], keys: &["gsk_"], variables: &["GROQ_API_KEY"], address: V1 },
    Cloud { name: "xAI", hosts: &["api.x.ai"], keys: &["xai-"], variables: &["XAI_API_KEY"], address: V1 },
    Cloud { name: "Mistral", hosts: &["api.mistral.ai"], keys: &[], variables: &["MISTRAL_API_KEY"], address: V1 },
    Cloud { name: "DeepSeek", hosts: &["api.deepseek.com"], keys: &[], variables: &["DEEPSEEK_API_KEY"], address: V1 },
    Cloud {
        name: "Cohere",
        hosts: &["api.cohere.ai", "api.cohere.com"],
        keys: &[],
        variables: &["COHERE_API_KEY", "CO_API_KEY"],
        address: V1,
    },
    Cloud {
        name: "Together",
        hosts: &["api.together.xyz", "api.together.ai"],
        keys: &[],
        variables: &["TOGETHER_API_KEY"],
        address: V1,
    },
    Cloud {
        name: "Hugging Face",
        hosts: &["api-inference.huggingface.co", "router.huggingface.co"],
        keys: &["hf_"],
        variables: &["HF_TOKEN", "HUGGINGFACE_API_KEY", "HUGGINGFACEHUB_API_TOKEN"],
        address: V1,
    },
    Cloud { name: "Ollama's cloud", hosts: &["ollama.com/api"], keys: &[], variables: &[], address: ROOT },
];

/// Providers of Task Master AI that are clouds.
const PROVIDERS: [&str; 12] = [
    "anthropic",
    "openai",
    "google",
    "perplexity",
    "xai",
    "openrouter",
    "mistral",
    "groq",
    "azure",
    "bedrock",
    "vertex",
    "claude-code",
];

/// Shorter than any key.
const LEAST_KEY: usize = 20;
/// A key of one kind of letters is at least so long.
const LEAST_PLAIN_KEY: usize = 32;

/// The cloud that an address is one of.
pub fn cloud_of(url: &str) -> Option<&'static str> {
    cloud_hosts(url).next().map(|(cloud, _)| cloud.name)
}

/// What the environment holds.
pub fn of_environment(variables: &[(String, String)]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, value) in variables {
        let file = format!("environment, {name}");
        if let Some(cloud) = cloud_of_variable(name).filter(|_| is_secret(value)) {
            findings.push(key_finding(&file, 0, cloud, value));
            continue;
        }
        findings.extend(of_line(&file, 0, value));
    }
    findings
}

/// What a file holds.
pub fn of_text(path: &Path, text: &str) -> Vec<Finding> {
    let file = path.display().to_string();
    let is_task_master_s = path.ends_with(".taskmaster/config.json") || path.ends_with(".taskmasterconfig");
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        findings.extend(of_line(&file, at + 1, line));
        if is_task_master_s && let Some(provider) = provider(line) {
            // A provider of this name that is told another address is the house already.
            let is_at_home =
                near(text, at).iter().any(|line| line.contains("\"baseURL\"") && cloud_hosts(line).next().is_none());
            if !is_at_home {
                findings.push(Finding {
                    file: file.clone(),
                    line: at + 1,
                    what: "provider of Task Master AI that is a cloud".to_owned(),
                    shown: provider.to_owned(),
                    instead: format!(
                        "\"provider\": \"openai-compatible\", \"baseURL\": \"{}\"",
                        "http://127.0.0.1:3001/v1"
                    ),
                });
            }
        }
    }
    findings
}

/// The lines of the same object: those around, as far as braces do not end it.
fn near(text: &str, at: usize) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let (before, after) = lines.split_at(at.min(lines.len()));
    let own = after.first().copied().unwrap_or_default();
    let mut near = vec![own];
    near.extend(before.iter().rev().take_while(|line| !line.contains(['{', '}'])));
    if !own.contains('}') {
        near.extend(after.iter().skip(1).take_while(|line| !line.contains('}')));
    }
    near
}

fn provider(line: &str) -> Option<&'static str> {
    let value = line.split_once("\"provider\"")?.1.trim_start().strip_prefix(':')?.trim_start().strip_prefix('"')?;
    let word = value.split('"').next()?;
    PROVIDERS.into_iter().find(|provider| *provider == word)
}

fn of_line(file: &str, line: usize, text: &str) -> Vec<Finding> {
    let mut findings: Vec<Finding> = keys(text).map(|(cloud, key)| key_finding(file, line, cloud, key)).collect();
    if findings.is_empty()
        && let Some((cloud, value)) = assigned(text)
    {
        findings.push(key_finding(file, line, cloud, value));
    }
    for (cloud, shown) in cloud_hosts(text) {
        findings.push(Finding {
            file: file.to_owned(),
            line,
            what: format!("address of {}", cloud.name),
            shown: shown.to_owned(),
            instead: cloud.address.to_owned(),
        });
    }
    findings
}

fn key_finding(file: &str, line: usize, cloud: &Cloud, key: &str) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        what: format!("key of {}", cloud.name),
        shown: masked(cloud, key),
        instead: "a key of the house (`tmctl keys create NAME`), or any word where keys are off; then revoke this one"
            .to_owned(),
    }
}

/// What everybody knows of a key, and how long it is.
fn masked(cloud: &Cloud, key: &str) -> String {
    let prefix = cloud.keys.iter().find(|prefix| key.starts_with(**prefix)).copied().unwrap_or_default();
    format!("{prefix}… ({} characters)", key.chars().count())
}

/// The keys that can be told by how they begin.
fn keys(text: &str) -> impl Iterator<Item = (&'static Cloud, &str)> {
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    text.split(move |c: char| !is_of_key(c)).filter_map(|word| {
        let (cloud, prefix) = CLOUDS.iter().find_map(|cloud| {
            let prefix = cloud.keys.iter().find(|prefix| word.starts_with(**prefix))?;
            Some((cloud, prefix))
        })?;
        looks_random(word.get(prefix.len()..)?).then_some((cloud, word))
    })
}

/// Words of people have no digits between letters of both kinds, and are shorter.
fn looks_random(rest: &str) -> bool {
    let has = |is: fn(&char) -> bool| rest.chars().any(|c| is(&c));
    let has_digit = has(char::is_ascii_digit);
    let is_mixed = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    let longest = rest.split(['-', '_']).map(str::len).max().unwrap_or(0);
    // Names in kebab-case are long, too, but of short words.
    has_digit && longest >= 12 && (is_mixed && rest.len() >= LEAST_KEY || rest.len() >= LEAST_PLAIN_KEY)
}

fn cloud_of_variable(name: &str) -> Option<&'static Cloud> {
    CLOUDS.iter().find(|cloud| cloud.variables.contains(&name))
}

/// A value that a known variable is given: `NAME=…`, `"NAME": "…"`, `export NAME='…'`.
fn assigned(text: &str) -> Option<(&'static Cloud, &str)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    CLOUDS.iter().flat_map(|cloud| cloud.variables.iter().map(move |name| (cloud, *name))).find_map(|(cloud, name)| {
        let (before, after) = text.split_once(name)?;
        if before.ends_with(is_of_name) || after.starts_with(is_of_name) {
            return None;
        }
        let after = after.trim_start_matches(['"', '\'', ' ', ']', ')']);
        let value = after.strip_prefix(['=', ':'])?.trim_start().trim_start_matches(['"', '\'']);
        let end = value.find(['"', '\'', ' ', ',', ';', '}', '#']).unwrap_or(value.len());
        let value = value.get(..end)?;
        is_secret(value).then_some((cloud, value))
    })
}

/// No placeholder, no reference to somewhere else, no word such as `none`.
fn is_secret(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    let is_placeholder =
        ["your", "xxx", "***", "example", "changeme", "placeholder", "dummy", "replace", "insert", "todo"]
            .iter()
            .any(|word| lower.contains(word));
    // Such as `process.env.KEY`, or the path of a file.
    let is_reference = ["process.", "env.", "os.", "config.", "settings.", "/", "~", "./"]
        .iter()
        .any(|begin| lower.starts_with(begin));
    let is_elsewhere = is_reference || value.contains(['$', '<', '>', '{', '(', '%']) || value.contains("://");
    // A key of the house is what should be here.
    let is_at_home = value.starts_with("tm-");
    value.len() >= LEAST_KEY
        && !is_placeholder
        && !is_elsewhere
        && !is_at_home
        && value.bytes().all(|b| b.is_ascii_graphic())
}

/// Addresses of clouds, with the host as it stands there.
fn cloud_hosts(text: &str) -> impl Iterator<Item = (&'static Cloud, &str)> {
    CLOUDS.iter().flat_map(move |cloud| {
        cloud.hosts.iter().filter_map(move |host| host_in(text, host).map(|shown| (cloud, shown)))
    })
}

/// The whole host in `text` that is `host`, or ends with it where it begins with a dot.
fn host_in<'a>(text: &'a str, host: &str) -> Option<&'a str> {
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    text.match_indices(host).find_map(|(at, _)| {
        let (before, rest) = (text.get(..at)?, text.get(at + host.len()..)?);
        let is_ended = !rest.starts_with(|c: char| is_of_host(c) && c != '.')
            // A full stop ends a sentence; before a letter it goes on as another host.
            && !rest.strip_prefix('.').is_some_and(|more| more.starts_with(|c: char| c.is_ascii_alphanumeric()));
        let label = before.len() - before.trim_end_matches(is_of_host).len();
        let is_begun = if host.starts_with('.') { label > 0 } else { label == 0 && !before.ends_with('@') };
        (is_ended && is_begun).then(|| text.get(at - label..at + host.len())).flatten()
    })
}
