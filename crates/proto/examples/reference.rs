//! Writes the reference of the gRPC services that clients call, out of the protos and what stands beside each thing there:
//! `cargo run -p proto --example reference -- proto deploy/api.md`

use std::fmt::Write as _;
use std::path::Path;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor};

/// What clients call, in the order in which they meet it.
const AREAS: [&str; 4] = ["inference", "planning", "research", "admin"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, out] = arguments.as_slice() else {
        return Err("give the folder of the protos and the file to write".into());
    };
    Ok(std::fs::write(out, text(Path::new(folder))?)?)
}

/// The whole page.
pub fn text(folder: &Path) -> Result<String, Box<dyn std::error::Error>> {
    let mut compiler = protox::Compiler::new([folder])?;
    compiler.include_imports(true).include_source_info(true);
    compiler.open_files(AREAS.map(|area| format!("taskmaster/{area}/v1/{area}.proto")))?;
    let pool = compiler.descriptor_pool();
    let mut page = String::from(
        "# The gRPC services\n\nMade of the protos below [`proto`](../proto) by `make reference`; a change by hand is lost. \
         Errors, keys and the rules\nthat these follow are in [`proto/README.md`](../proto/README.md). A node tells the same by \
         server reflection: `grpcurl HOST:3002 list`.\n",
    );
    for area in AREAS {
        let name = format!("taskmaster/{area}/v1/{area}.proto");
        let file = pool.get_file_by_name(&name).ok_or_else(|| format!("there is no {name}"))?;
        area_text(&pool, &file, &mut page)?;
    }
    Ok(page)
}

fn area_text(pool: &DescriptorPool, file: &FileDescriptor, page: &mut String) -> std::fmt::Result {
    for service in file.services() {
        writeln!(page, "\n## {}\n", service.full_name())?;
        // What is said at the head of the file is said of the service.
        if let Some(said) = said(file, &[12]).or_else(|| said(file, service.path())) {
            writeln!(page, "{said}\n")?;
        }
        for method in service.methods() {
            let stream = |is: bool| if is { "stream " } else { "" };
            let (input, output) = (method.input(), method.output());
            writeln!(
                page,
                "- **{}** ({}[{}](#{})) → {}[{}](#{})",
                method.name(),
                stream(method.is_client_streaming()),
                input.name(),
                anchor(&input),
                stream(method.is_server_streaming()),
                output.name(),
                anchor(&output),
            )?;
            if let Some(said) = said(file, method.path()) {
                writeln!(page, "  <br>{}", said.replace('\n', " "))?;
            }
        }
    }
    let package = file.package_name().to_owned();
    let messages = pool.all_messages().filter(|message| message.package_name() == package && !message.is_map_entry());
    for message in messages {
        message_text(file, &message, page)?;
    }
    Ok(())
}

fn message_text(file: &FileDescriptor, message: &MessageDescriptor, page: &mut String) -> std::fmt::Result {
    writeln!(page, "\n<a id=\"{}\"></a>\n### {}\n", anchor(message), short(message.full_name()))?;
    if let Some(said) = said(file, message.path()) {
        writeln!(page, "{said}\n")?;
    }
    if message.fields().len() == 0 {
        return writeln!(page, "Has no fields.");
    }
    writeln!(page, "| field | type | |\n|---|---|---|")?;
    for field in message.fields() {
        let said = said(file, field.path()).unwrap_or_default().replace('\n', " ").replace('|', "\\|");
        writeln!(page, "| `{}` = {} | {} | {said} |", field.name(), field.number(), type_of(&field))?;
    }
    Ok(())
}

fn type_of(field: &FieldDescriptor) -> String {
    let one = match field.kind() {
        Kind::Message(message) if message.is_map_entry() => {
            let (key, value) = (message.map_entry_key_field(), message.map_entry_value_field());
            return format!("map of {} to {}", type_of(&key), type_of(&value));
        }
        Kind::Message(message) => format!("[{}](#{})", short(message.full_name()), anchor(&message)),
        Kind::Enum(words) => {
            let values: Vec<_> = words.values().map(|value| format!("`{}`", value.name())).collect();
            format!("one of {}", values.join(", "))
        }
        plain => format!("{plain:?}").to_lowercase(),
    };
    let one_of = field.containing_oneof().filter(|one_of| !one_of.is_synthetic());
    match (field.cardinality(), one_of) {
        (Cardinality::Repeated, _) => format!("list of {one}"),
        (_, Some(one_of)) => format!("{one}, one of `{}`", one_of.name()),
        (_, None) if field.supports_presence() && !matches!(field.kind(), Kind::Message(_)) => {
            format!("{one}, may be absent")
        }
        _ => one,
    }
}

/// Without `taskmaster.` and the version, which are the same everywhere on the page.
fn short(full_name: &str) -> String {
    full_name.trim_start_matches("taskmaster.").replace(".v1.", ".")
}

fn anchor(message: &MessageDescriptor) -> String {
    short(message.full_name()).replace('.', "-").to_lowercase()
}

/// What stands before or behind a thing in its file.
fn said(file: &FileDescriptor, path: &[i32]) -> Option<String> {
    let info = file.file_descriptor_proto().source_code_info.as_ref()?;
    let location = info.location.iter().find(|location| location.path == path)?;
    let comments = [location.leading_comments(), location.trailing_comments()];
    let lines = comments.iter().flat_map(|comment| comment.lines()).map(str::trim).filter(|line| !line.is_empty());
    let said = lines.collect::<Vec<_>>().join("\n");
    (!said.is_empty()).then_some(said)
}
