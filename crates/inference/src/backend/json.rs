//! Reading what engines list. Fields come and go between versions, so each is read alone and may be missing.

use base::report::Capability;
use base::{Code, Fault, Result};
use serde_json::Value;

/// The text at `pointer`; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The whole number at `pointer`; 0 when there is none.
pub(super) fn bytes(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or(0)
}

/// The number of tokens at `pointer`; 0 when there is none.
pub(super) fn tokens(value: &Value, pointer: &str) -> u32 {
    u32::try_from(bytes(value, pointer)).unwrap_or(u32::MAX)
}

/// The list at `pointer`, without which the answer is not what was asked for.
pub(super) fn list<'a>(value: &'a Value, pointer: &str, engine: &str) -> Result<&'a [Value]> {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).ok_or_else(|| {
        let message = format!("engine `{engine}` lists no models where its kind does (`{pointer}`)");
        Fault::new(Code::EngineFailed, message).hint("check that the worker's backend is the kind of engine at its url")
    })
}

/// The capabilities at `pointer`, as far as they have a word here.
pub(super) fn capabilities(value: &Value, pointer: &str) -> Vec<Capability> {
    let words = value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    words.iter().filter_map(|word| Capability::parse(word.as_str()?)).collect()
}
