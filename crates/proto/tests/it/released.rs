//! What a release spoke is understood by the next one, and the other way round: nothing is taken away, no number gets a
//! new meaning. The releases lie in `released/`; `examples/descriptors.rs` writes one down.

use std::path::{Path, PathBuf};

use prost::Message as _;
use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use prost_types::FileDescriptorSet;

use crate::now;

fn releases() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("released");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut releases: Vec<_> = files
        .filter(|path| path.extension().is_some_and(|end| end == "binpb"))
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    releases.sort();
    releases
}

fn pool(bytes: &[u8]) -> DescriptorPool {
    DescriptorPool::decode(bytes).unwrap()
}

/// What a client or node of the release `before` could not understand any more.
fn breaches(before: &DescriptorPool, after: &DescriptorPool) -> Vec<String> {
    let mut breaches = Vec::new();
    for service in before.services() {
        let found = after.get_service_by_name(service.full_name());
        for method in service.methods() {
            let name = method.full_name().to_owned();
            let after = found.as_ref().and_then(|service| service.methods().find(|one| one.name() == method.name()));
            let Some(after) = after else {
                breaches.push(format!("{name} is gone"));
                continue;
            };
            let shape = |method: &prost_reflect::MethodDescriptor| {
                let (input, output) = (method.input(), method.output());
                let streams = (method.is_client_streaming(), method.is_server_streaming());
                (input.full_name().to_owned(), output.full_name().to_owned(), streams)
            };
            if shape(&method) != shape(&after) {
                breaches.push(format!("{name} is called another way"));
            }
        }
    }
    for message in before.all_messages() {
        match after.get_message_by_name(message.full_name()) {
            Some(after) => fields(&message, &after, &mut breaches),
            None => breaches.push(format!("{} is gone", message.full_name())),
        }
    }
    for words in before.all_enums() {
        match after.get_enum_by_name(words.full_name()) {
            Some(after) => values(&words, &after, &mut breaches),
            None => breaches.push(format!("{} is gone", words.full_name())),
        }
    }
    breaches
}

fn fields(before: &MessageDescriptor, after: &MessageDescriptor, breaches: &mut Vec<String>) {
    for field in before.fields() {
        let name = field.full_name();
        let is_reserved = || after.reserved_ranges().any(|range| range.contains(&field.number()));
        match after.get_field(field.number()) {
            None if is_reserved() => {}
            None => breaches.push(format!("{name} is gone, and its number {} is not reserved", field.number())),
            Some(now) if now.name() != field.name() => {
                breaches.push(format!("the number {} of {name} is now that of {}", field.number(), now.name()));
            }
            Some(now) if shape(&now) != shape(&field) => breaches.push(format!("{name} has another type")),
            Some(_) => {}
        }
    }
}

fn values(before: &EnumDescriptor, after: &EnumDescriptor, breaches: &mut Vec<String>) {
    for value in before.values() {
        if after.get_value(value.number()).is_none_or(|now| now.name() != value.name()) {
            breaches.push(format!("{} is gone or another", value.full_name()));
        }
    }
}

/// What decides how a field stands on the wire, and what its absence means.
fn shape(field: &FieldDescriptor) -> (String, bool, bool, Option<String>) {
    let one_of = field.containing_oneof().map(|one_of| one_of.name().to_owned());
    (kind(&field.kind()), field.cardinality() == Cardinality::Repeated, field.supports_presence(), one_of)
}

fn kind(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => message.full_name().to_owned(),
        Kind::Enum(words) => words.full_name().to_owned(),
        plain => format!("{plain:?}"),
    }
}

#[test]
fn nothing_that_a_release_spoke_was_taken_away_or_got_a_new_meaning() {
    let (now, releases) = (now(), releases());
    assert!(!releases.is_empty(), "no release is written down");
    for (path, bytes) in releases {
        let breaches = breaches(&pool(&bytes), &now);
        assert!(breaches.is_empty(), "since {}:\n{}", path.display(), breaches.join("\n"));
    }
}

/// The rule finds what it is there for; each change is made to the last release.
#[test]
fn each_way_to_break_the_wire_is_found() {
    let (_, bytes) = releases().pop().unwrap();
    let before = pool(&bytes);
    type Break = fn(&mut FileDescriptorSet);
    fn report(set: &mut FileDescriptorSet) -> &mut prost_types::DescriptorProto {
        let file = set.file.iter_mut().find(|file| file.name().ends_with("node.proto")).unwrap();
        file.message_type.iter_mut().find(|message| message.name() == "NodeReport").unwrap()
    }
    fn version(set: &mut FileDescriptorSet) -> &mut prost_types::FieldDescriptorProto {
        report(set).field.iter_mut().find(|field| field.name() == "version").unwrap()
    }
    let cases: [(&str, Break); 6] = [
        ("is gone, and its number 9", |set| report(set).field.retain(|field| field.name() != "version")),
        ("is now that of", |set| version(set).name = Some("release".into())),
        ("has another type", |set| version(set).set_type(prost_types::field_descriptor_proto::Type::Bytes)),
        ("has another type", |set| version(set).set_label(prost_types::field_descriptor_proto::Label::Repeated)),
        ("Node.Heartbeat is gone", |set| {
            let file = set.file.iter_mut().find(|file| file.name().ends_with("node.proto")).unwrap();
            file.service[0].method.retain(|method| method.name() != "Heartbeat");
        }),
        ("Node.Heartbeat is called another way", |set| {
            let file = set.file.iter_mut().find(|file| file.name().ends_with("node.proto")).unwrap();
            let method = file.service[0].method.iter_mut().find(|method| method.name() == "Heartbeat").unwrap();
            method.server_streaming = Some(true);
        }),
    ];
    for (wanted, spoil) in cases {
        let mut set = FileDescriptorSet::decode(bytes.as_slice()).unwrap();
        spoil(&mut set);
        let found = breaches(&before, &DescriptorPool::from_file_descriptor_set(set).unwrap());
        assert!(found.len() == 1 && found[0].contains(wanted), "{wanted}: {found:?}");
    }
    // A number that is reserved is given up for good, and that is allowed.
    let mut set = FileDescriptorSet::decode(bytes.as_slice()).unwrap();
    let message = report(&mut set);
    message.field.retain(|field| field.name() != "version");
    message.reserved_range.push(prost_types::descriptor_proto::ReservedRange { start: Some(9), end: Some(10) });
    assert_eq!(breaches(&before, &DescriptorPool::from_file_descriptor_set(set).unwrap()), Vec::<String>::new());
}

/// A message in which every field is there, with what is not its default.
fn full(message: &MessageDescriptor, depth: u32) -> DynamicMessage {
    let mut full = DynamicMessage::new(message.clone());
    for field in message.fields() {
        let Some(value) = value(&field.kind(), depth) else { continue };
        let value = match () {
            () if field.is_map() => continue,
            () if field.is_list() => Value::List(vec![value.clone(), value]),
            () => value,
        };
        full.set_field(&field, value);
    }
    full
}

fn value(kind: &Kind, depth: u32) -> Option<Value> {
    Some(match kind {
        Kind::Double => Value::F64(0.5),
        Kind::Float => Value::F32(0.5),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(-7),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => Value::I64(-7),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(7),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(7),
        Kind::Bool => Value::Bool(true),
        Kind::String => Value::String("é".to_owned()),
        Kind::Bytes => Value::Bytes(vec![0, 255].into()),
        Kind::Enum(words) => Value::EnumNumber(words.values().last()?.number()),
        Kind::Message(message) if depth > 0 => Value::Message(full(message, depth - 1)),
        Kind::Message(_) => return None,
    })
}

/// Through a node of the other release and back: what one has said is what it hears.
fn there_and_back(from: &DescriptorPool, through: &DescriptorPool) -> usize {
    let mut messages = 0;
    for message in from.all_messages() {
        let Some(other) = through.get_message_by_name(message.full_name()) else { continue };
        let said = full(&message, 4);
        let heard = DynamicMessage::decode(other, said.encode_to_vec().as_slice()).unwrap();
        let back = DynamicMessage::decode(message.clone(), heard.encode_to_vec().as_slice()).unwrap();
        assert_eq!(back, said, "{}", message.full_name());
        messages += 1;
    }
    messages
}

#[test]
fn every_message_of_a_release_goes_through_this_one_and_back_and_the_other_way_round() {
    let now = now();
    for (path, bytes) in releases() {
        let before = pool(&bytes);
        assert!(there_and_back(&before, &now) > 100, "{}", path.display());
        assert!(there_and_back(&now, &before) > 100, "{}", path.display());
    }
}

/// The types that the program is made of: what an older node says, a newer one takes, and what a newer one says beyond
/// that is no trouble to an older one.
#[test]
fn reports_and_runs_of_a_release_are_taken_by_the_program_and_what_it_writes_is_read_by_them() {
    for (_, bytes) in releases() {
        let before = pool(&bytes);
        let report = before.get_message_by_name("taskmaster.node.v1.NodeReport").unwrap();
        let mut said = full(&report, 4);
        said.set_field_by_name("node", Value::String("n".to_owned()));
        said.set_field_by_name("workers", Value::List(Vec::new()));
        let wire = proto::node::NodeReport::decode(said.encode_to_vec().as_slice()).unwrap();
        let read = base::report::NodeReport::try_from(wire).unwrap();
        assert_eq!((read.node.as_str(), read.version.as_str(), read.sequence), ("n", "é", 7));
        let mut written = proto::node::NodeReport::from(&read);
        written.features = vec!["telepathy".to_owned()];
        let heard = DynamicMessage::decode(report, written.encode_to_vec().as_slice()).unwrap();
        assert_eq!(heard.get_field_by_name("version"), said.get_field_by_name("version"));
        assert_eq!(heard.get_field_by_name("machine"), said.get_field_by_name("machine"));

        let run = before.get_message_by_name("taskmaster.node.v1.RunRequest").unwrap();
        let said = full(&run, 4);
        let wire = proto::node::RunRequest::decode(said.encode_to_vec().as_slice()).unwrap();
        assert_eq!(DynamicMessage::decode(run, wire.encode_to_vec().as_slice()).unwrap(), said);
    }
}
