//! Models with settings of their own.

use proptest::prelude::*;

use super::*;

const FULL: &str = r#"
base = "talker.gguf"
system = "Be brief."
adapter = "lora.gguf"
adapter_scale = 0.5
[parameters]
temperature = 0.2
top_k = 40
top_p = 0.9
min_p = 0.05
repeat_penalty = 1.1
seed = 7
num_predict = 100
stop = "<end>"
"#;

fn bed() -> Bed {
    let bed = Bed::new();
    bed.put("models/talker.gguf", chat("a"));
    bed.put("models/lora.gguf", Sample::adapter().bytes());
    bed
}

#[test]
fn a_variant_is_a_model_of_its_own_over_its_base() {
    let bed = bed();
    bed.put("models/brief.toml", FULL);
    let shelf = bed.shelf();
    assert_eq!(names(&shelf.look()), ["brief", "lora", "talker"]);
    let model = shelf.find("brief").unwrap();
    assert!(model.is_model());
    assert_eq!(
        (model.path.clone(), model.adapter.clone()),
        (bed.path("models/talker.gguf"), Some(bed.path("models/lora.gguf")))
    );
    let variant = model.variant.unwrap();
    assert_eq!(variant.system.as_deref(), Some("Be brief."));
    assert_eq!((variant.parameters.seed, variant.parameters.stop), (Some(7), vec!["<end>".to_owned()]));
}

#[test]
fn its_text_is_read_as_it_was_written() {
    let variant = Variant::parse(FULL).unwrap();
    assert_eq!(Variant::parse(&variant.to_toml().unwrap()).unwrap(), variant);
    let bare = Variant { base: "x".to_owned(), ..Variant::default() };
    assert_eq!(bare.to_toml().unwrap(), "base = \"x\"\n");
}

#[test]
fn a_wrong_text_is_told_by_key() {
    let told = |text: &str| Variant::parse(text).unwrap_err();
    assert!(
        told("base = \"x\"\nsistem = \"y\"").starts_with("unknown field `sistem`"),
        "{}",
        told("base = \"x\"\nsistem = \"y\"")
    );
    assert!(told("base = \"x\"\n[parameters]\ntemprature = 1").contains("unknown field `temprature`"));
    assert!(told("system = \"y\"").contains("missing field `base`"));
    assert_eq!(told("base = \"\""), "base is empty");
    assert_eq!(told("base = \"x\"\n[parameters]\ntop_p = 2.0"), "parameters.top_p is 2, and must be from 0 to 1");
    assert!(told("base = \"x\"\n[parameters]\ntemperature = nan").contains("parameters.temperature is NaN"));
    assert!(told("base = \"x\"\n[parameters]\nstop = [\"\"]").contains("parameters.stop"));
    assert!(told("base = \"x\"\nadapter_scale = 1.0").contains("without adapter"));
    assert!(told("base = [").contains("line 1"));
}

#[test]
fn a_variant_that_cannot_be_made_is_told() {
    let bed = bed();
    bed.put("models/broken.gguf", "junk");
    let put = |name: &str, text: &str| drop(bed.put(&format!("models/{name}.toml"), text));
    put("typo", "bse = \"talker\"");
    put("gone", "base = \"nobody\"");
    put("over-adapter", "base = \"lora\"");
    put("over-broken", "base = \"broken.gguf\"");
    put("no-adapter", "base = \"talker\"\nadapter = \"talker\"");
    put("lost-adapter", "base = \"talker\"\nadapter = \"nobody.gguf\"");
    put("outside", "base = \"../models/talker.gguf\"");
    put("self", "base = \"self\"");
    fs::create_dir(bed.path("models/folder.toml")).unwrap();
    let shelf = bed.shelf();
    assert!(fault(&shelf, "typo").contains("unknown field `bse`"));
    assert!(fault(&shelf, "gone").contains("its base `nobody` is not there"));
    assert!(fault(&shelf, "over-adapter").contains("its base `lora` is an adapter"));
    assert!(fault(&shelf, "over-broken").contains("its base is no good"));
    assert!(fault(&shelf, "no-adapter").contains("its adapter `talker` is a whole model"));
    assert!(fault(&shelf, "lost-adapter").contains("its adapter `nobody.gguf` is not there"));
    assert!(fault(&shelf, "outside").contains("is not there"), "only files beside it");
    assert!(fault(&shelf, "self").contains("is not there"));
}

#[test]
fn its_identity_follows_bytes_and_settings_but_not_names() {
    let bed = bed();
    bed.put("models/one.toml", "base = \"talker.gguf\"\nsystem = \"a\"");
    bed.put("models/two.toml", "# the same\nsystem = 'a'\nbase = 'talker'");
    bed.put("models/three.toml", "base = \"talker\"\nsystem = \"b\"");
    bed.put("models/four.toml", "base = \"talker\"\nsystem = \"a\"\nadapter = \"lora\"");
    let shelf = bed.shelf();
    let identity = |name: &str| shelf.identity(&shelf.find(name).unwrap()).unwrap();
    assert_eq!(identity("one"), identity("two"));
    let all: std::collections::BTreeSet<_> = ["talker", "one", "three", "four"].map(identity).into();
    assert_eq!(all.len(), 4);
    assert_eq!(shelf.find("one").unwrap().digest, Some(identity("two")), "known once the bytes were read");
}

#[test]
fn a_variant_is_created_only_where_it_would_work() {
    let bed = bed();
    let shelf = bed.shelf();
    let variant = Variant { base: "talker".to_owned(), system: Some("Hm.".to_owned()), ..Variant::default() };
    let path = shelf.create("brief", &variant).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "base = \"talker\"\nsystem = \"Hm.\"\n");
    assert!(shelf.find("brief").unwrap().is_model());
    assert_eq!(shelf.create("brief", &variant).unwrap_err().code, Code::Conflict);
    assert_eq!(shelf.create("talker", &variant).unwrap_err().code, Code::Conflict);
    assert_eq!(shelf.create("../up", &variant).unwrap_err().code, Code::InvalidArgument);
    let on_nothing = Variant { base: "nobody".to_owned(), ..Variant::default() };
    assert!(shelf.create("new", &on_nothing).unwrap_err().message.contains("`nobody` is not there"));
    assert_eq!(names(&shelf.look()), ["brief", "lora", "talker"]);
}

#[test]
fn parameters_are_read_of_json_by_the_same_rules() {
    let parameters = Parameters::from_json(r#"{"temperature": 1, "stop": ["a", "b"]}"#).unwrap();
    assert_eq!((parameters.temperature, parameters.stop.len()), (Some(1.0), 2));
    for wrong in ["{\"x\": 1}", "[]", "{", "{\"top_p\": 3}"] {
        let fault = Parameters::from_json(wrong).unwrap_err();
        assert_eq!((fault.code, fault.hint.is_some()), (Code::InvalidArgument, true), "{wrong}");
    }
}

proptest! {
    #[test]
    fn any_settings_are_read_as_they_were_written(
        base in "\\PC{1,40}", system in proptest::option::of(any::<String>()), stop in prop::collection::vec("\\PC{1,10}", 0..4),
        temperature in proptest::option::of(0.0..=10.0), seed in proptest::option::of(any::<u32>()),
        num_predict in proptest::option::of(-2..100_000),
    ) {
        let parameters = Parameters { temperature, seed, num_predict, stop, ..Parameters::default() };
        let variant = Variant { base, system, parameters, ..Variant::default() };
        prop_assert_eq!(Variant::parse(&variant.to_toml().unwrap()), Ok(variant));
    }

    #[test]
    fn any_text_is_a_variant_or_refused(text in any::<String>()) {
        let _ = Variant::parse(&text);
        let _ = Parameters::from_json(&text);
    }
}
