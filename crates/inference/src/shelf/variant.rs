//! A model with settings of its own: `NAME.toml` beside the files, which names its base and what it adds.

use std::path::{Path, PathBuf};

use base::{Code, Fault, Result};
use serde::{Deserialize, Deserializer, Serialize};

use super::digest::{self, Digests};
use super::files::{self, with_hint};
use super::{Origin, Shelved};
use crate::gguf::Kind;

/// A system text of a few thousand words fits many times.
const MOST_TEXT_BYTES: u64 = 1 << 20;
const MOST_STOPS: usize = 64;

/// What a variant adds to its base.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// A file beside it, or the name of a model on the shelf.
    pub base: String,
    /// What stands before every chat that brings no system text itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// A file beside it, or the name of an adapter on the shelf.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<String>,
    /// How strongly the adapter works; 1 when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter_scale: Option<f64>,
    /// What holds where an ask does not say otherwise.
    #[serde(default, skip_serializing_if = "Parameters::is_empty")]
    pub parameters: Parameters,
}

macro_rules! parameters {
    ($($(#[$doc:meta])* $name:ident: $kind:ty, $bounds:expr;)*) => {
        /// Settings of an answer, by the names that Ollama made known.
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct Parameters {
            $($(#[$doc])* #[serde(default, skip_serializing_if = "Option::is_none")] pub $name: Option<$kind>,)*
            /// Texts that end the answer.
            #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_more")]
            pub stop: Vec<String>,
        }

        impl Parameters {
            /// Whether nothing is set.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }

            /// What is not set is taken of `below`.
            fn over(self, below: &Self) -> Self {
                let stop = if self.stop.is_empty() { below.stop.clone() } else { self.stop };
                Self { $($name: self.$name.or(below.$name),)* stop }
            }

            /// The first number that is out of its bounds.
            fn out_of_bounds(&self) -> Option<String> {
                $(if let Some(value) = self.$name && !$bounds.contains(&f64::from(value)) {
                    let (least, most) = ($bounds.start(), $bounds.end());
                    return Some(format!("parameters.{} is {value}, and must be from {least} to {most}", stringify!($name)));
                })*
                None
            }
        }
    };
}

parameters! {
    /// How freely tokens are drawn; 0 takes the likeliest.
    temperature: f64, (0.0..=10.0);
    /// Draws from so many of the likeliest; 0 is off.
    top_k: u32, (0.0..=1e6);
    /// Draws from the likeliest that make up this share.
    top_p: f64, (0.0..=1.0);
    /// Draws from what is at least this share as likely as the likeliest.
    min_p: f64, (0.0..=1.0);
    /// Draws from what is about as likely as expected.
    typical_p: f64, (0.0..=1.0);
    /// How much less likely repeated tokens become.
    repeat_penalty: f64, (0.0..=10.0);
    /// How many tokens back repetition is looked for; -1 is all.
    repeat_last_n: i32, (-1.0..=1e9);
    /// Grows with each repetition.
    frequency_penalty: f64, (-10.0..=10.0);
    /// For any repetition.
    presence_penalty: f64, (-10.0..=10.0);
    /// Makes answers repeatable.
    seed: u32, (0.0..=4_294_967_295.0);
    /// The longest answer in tokens; negative is as long as the context.
    num_predict: i32, (-2.0..=1e9);
    /// The context in tokens.
    num_ctx: u32, (0.0..=1e9);
}

fn one_or_more<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stops {
        One(String),
        More(Vec<String>),
    }
    Ok(match Stops::deserialize(from)? {
        Stops::One(stop) => vec![stop],
        Stops::More(stops) => stops,
    })
}

impl Parameters {
    /// Reads a JSON object in which every name must be known.
    ///
    /// # Errors
    /// The name that is not known, or the value that cannot be.
    pub fn from_json(text: &str) -> Result<Self> {
        let wrong = |why: String| {
            Fault::invalid(format!("the parameters cannot be used: {why}"))
                .hint("give settings such as temperature=0.2 or num_ctx=8192")
        };
        let object: serde_json::Map<_, _> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
        let parameters: Self = serde_json::from_value(object.into()).map_err(|error| wrong(error.to_string()))?;
        parameters.check().map_err(wrong)?;
        Ok(parameters)
    }

    /// What is set, as a JSON object.
    pub fn to_object(&self) -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(self) {
            Ok(serde_json::Value::Object(object)) => object,
            // Numbers and texts under fixed names always are one.
            _ => serde_json::Map::new(),
        }
    }

    /// What is known of a JSON object, and the names that are not.
    pub(super) fn of_known(given: &serde_json::Map<String, serde_json::Value>) -> (Self, Vec<String>) {
        let mut known = serde_json::Map::new();
        let mut unknown = Vec::new();
        for (name, value) in given {
            let single = serde_json::Map::from_iter([(name.clone(), value.clone())]);
            match serde_json::from_value::<Self>(single.clone().into()) {
                Ok(parameter) if parameter.check().is_ok() => known.extend(single),
                _ => unknown.push(name.clone()),
            }
        }
        // Each was read alone, so together they are too.
        (serde_json::from_value(known.into()).unwrap_or_default(), unknown)
    }

    fn check(&self) -> Result<(), String> {
        if self.stop.len() > MOST_STOPS || self.stop.iter().any(String::is_empty) {
            return Err(format!("parameters.stop takes up to {MOST_STOPS} texts, none of them empty"));
        }
        self.out_of_bounds().map_or(Ok(()), Err)
    }
}

impl Variant {
    /// Reads what [`Variant::to_toml`] or a person wrote.
    ///
    /// # Errors
    /// What is wrong with it, naming the key.
    pub fn parse(text: &str) -> Result<Self, String> {
        let variant: Self = toml::from_str(text).map_err(|error| {
            let line = error.span().map(|span| text.get(..span.start).unwrap_or(text).lines().count().max(1));
            let line = line.map(|line| format!(" in line {line}")).unwrap_or_default();
            format!("{}{line}", error.message().trim_end())
        })?;
        variant.check()?;
        Ok(variant)
    }

    fn check(&self) -> Result<(), String> {
        if self.base.is_empty() {
            return Err("base is empty".to_owned());
        }
        if self.adapter_scale.is_some_and(|scale| !(-100.0..=100.0).contains(&scale)) {
            return Err("adapter_scale must be from -100 to 100".to_owned());
        }
        if self.adapter_scale.is_some() && self.adapter.is_none() {
            return Err("adapter_scale is of no use without adapter".to_owned());
        }
        self.parameters.check()
    }

    /// This on top of a base that has settings of its own: what is not set is taken of `below`.
    fn over(mut self, below: &Self) -> Self {
        self.system = self.system.or_else(|| below.system.clone());
        if self.adapter.is_none() {
            (self.adapter, self.adapter_scale) = (below.adapter.clone(), below.adapter_scale);
        }
        self.parameters = self.parameters.over(&below.parameters);
        self
    }

    /// The text of its file: what is set, in a fixed order.
    ///
    /// # Errors
    /// A value that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        self.check().map_err(|why| Fault::invalid(why).hint("correct that value"))?;
        toml::to_string(self).map_err(|error| {
            Fault::invalid("the settings of the model cannot be written").because(error).hint("leave out odd values")
        })
    }

    /// What it is, whatever its base and adapter are called: the digest of its text with their digests for names.
    ///
    /// # Errors
    /// As for [`Variant::to_toml`].
    pub fn identity(&self, base_digest: &str, adapter_digest: Option<&str>) -> Result<String> {
        let mut canonical = self.clone();
        base_digest.clone_into(&mut canonical.base);
        canonical.adapter = adapter_digest.map(str::to_owned);
        canonical.to_toml().map(|text| digest::of_text(&text))
    }
}

/// A variant whose base is not looked up yet.
pub(super) struct Draft {
    name: String,
    path: PathBuf,
    read: Result<Variant, String>,
}

impl Draft {
    pub fn read(name: String, path: PathBuf) -> Self {
        let text = files::small_text(&path, MOST_TEXT_BYTES).map_err(|error| files::unreadable(&path, &error));
        let read = text.and_then(|text| {
            Variant::parse(&text).map_err(|why| {
                let message = format!("could not read the variant `{}`: {why}", path.display());
                with_hint(&message, "a variant has base, system, adapter, adapter_scale and [parameters]")
            })
        });
        Self { name, path, read }
    }

    /// The model that it stands for, made of those on the shelf.
    pub fn resolve(self, shelved: &[Shelved], digests: &Digests) -> Shelved {
        let Self { name, path, read } = self;
        let mut model = Shelved {
            name,
            path: path.clone(),
            header: Err(String::new()),
            digest: None,
            origin: Origin::Folder,
            variant: None,
            adapter: None,
            notes: Vec::new(),
        };
        let parts = read.and_then(|variant| Parts::of(&variant, &path, shelved).map(|parts| (variant, parts)));
        match parts {
            Ok((variant, parts)) => {
                model.path = parts.base.path.clone();
                model.header = parts.base.header.clone();
                model.adapter = match parts.adapter {
                    Some(adapter) => Some(adapter.path.clone()),
                    None => parts.base.adapter.clone(),
                };
                let variant = match &parts.base.variant {
                    Some(below) => variant.over(below),
                    None => variant,
                };
                model.digest = known_identity(&variant, &model, digests);
                model.variant = Some(variant);
            }
            Err(fault) => model.header = Err(fault),
        }
        model
    }
}

/// The identity, where the bytes of base and adapter were read before.
pub(super) fn known_identity(variant: &Variant, model: &Shelved, digests: &Digests) -> Option<String> {
    let base = digests.known(&model.path)?;
    let adapter = match &model.adapter {
        Some(adapter) => Some(digests.known(adapter)?),
        None => None,
    };
    variant.identity(&base, adapter.as_deref()).ok()
}

/// What a variant is made of.
struct Parts<'a> {
    base: &'a Shelved,
    adapter: Option<&'a Shelved>,
}

impl<'a> Parts<'a> {
    fn of(variant: &Variant, path: &Path, shelved: &'a [Shelved]) -> Result<Self, String> {
        let fault = |message: String, hint: &str| {
            with_hint(&format!("could not use the variant `{}`: {message}", path.display()), hint)
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        let missing = |what: &str, named: &str| {
            fault(
                format!("its {what} `{named}` is not there"),
                "name a file beside it or a model of `tmctl models list`",
            )
        };
        let base = find(&variant.base, folder, shelved).ok_or_else(|| missing("base", &variant.base))?;
        if base.header.is_ok() && !base.is_model() {
            return Err(fault(format!("its base `{}` is an adapter", variant.base), "name it as the adapter"));
        }
        if let Err(why) = &base.header {
            return Err(fault(format!("its base is no good: {why}"), "mend or replace its base"));
        }
        let Some(named) = &variant.adapter else { return Ok(Self { base, adapter: None }) };
        let adapter = find(named, folder, shelved).ok_or_else(|| missing("adapter", named))?;
        match &adapter.header {
            Ok(header) if header.kind == Kind::Adapter => Ok(Self { base, adapter: Some(adapter) }),
            Ok(_) => Err(fault(format!("its adapter `{named}` is a whole model"), "name it as the base")),
            Err(why) => Err(fault(format!("its adapter is no good: {why}"), "mend or replace its adapter")),
        }
    }
}

/// A file of the folder goes before a name.
fn find<'a>(named: &str, folder: &Path, shelved: &'a [Shelved]) -> Option<&'a Shelved> {
    let plain = shelved.iter().filter(|model| model.variant.is_none());
    let is_file = |model: &&Shelved| !named.contains('/') && model.path == folder.join(named);
    plain.clone().find(is_file).or_else(|| shelved.iter().find(|model| model.name == named))
}

/// A model `name` made of `variant` would be this one; used before it is written.
pub(super) fn try_resolve(
    name: &str,
    path: &Path,
    variant: Variant,
    shelved: &[Shelved],
    digests: &Digests,
) -> Result<()> {
    let draft = Draft { name: name.to_owned(), path: path.to_owned(), read: Ok(variant) };
    match draft.resolve(shelved, digests).header {
        Ok(_) => Ok(()),
        Err(why) => Err(Fault::new(Code::InvalidArgument, why)),
    }
}
