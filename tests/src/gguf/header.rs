//! The head of a GGUF file, read back: its metadata and the table of its tensors.

use std::io::Read;

use anyhow::{Context, Result, bail};

use super::file::Value;

/// A longer name, list or table is not of a file that was made here.
const LONGEST: u64 = 1 << 24;

/// What a file says about itself.
#[derive(Clone, Debug, Default)]
pub struct Header {
    /// Keys and values, in the order of the file.
    pub metadata: Vec<(String, Value)>,
    /// Name, dimensions with the innermost first, type, place behind the header; in the order of the file.
    pub tensors: Vec<(String, Vec<usize>, u32, u64)>,
}

impl Header {
    /// Reads it from the beginning of a file.
    pub fn read(from: &mut impl Read) -> Result<Self> {
        let mut magic = [0; 4];
        from.read_exact(&mut magic).context("could not read the beginning")?;
        let version = u32_of(from)?;
        if &magic != b"GGUF" || version != 3 {
            bail!("this is no GGUF file of version 3");
        }
        let (tensors, values) = (length(from)?, length(from)?);
        let mut header = Self::default();
        for _ in 0..values {
            let key = text(from)?;
            let value = value(from).with_context(|| format!("could not read the value of {key}"))?;
            header.metadata.push((key, value));
        }
        for _ in 0..tensors {
            let name = text(from)?;
            let mut dimensions = Vec::new();
            for _ in 0..u32_of(from)? {
                dimensions.push(length(from)?);
            }
            header.tensors.push((name, dimensions, u32_of(from)?, u64::from_le_bytes(bytes(from)?)));
        }
        Ok(header)
    }

    /// The dimensions of a tensor.
    pub fn dimensions(&self, tensor: &str) -> Option<&[usize]> {
        self.tensors.iter().find(|(name, ..)| name == tensor).map(|(_, dimensions, ..)| dimensions.as_slice())
    }
}

fn bytes<const N: usize>(from: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes).context("the file ends inside its header")?;
    Ok(bytes)
}

fn u32_of(from: &mut impl Read) -> Result<u32> {
    Ok(u32::from_le_bytes(bytes(from)?))
}

fn length(from: &mut impl Read) -> Result<usize> {
    let length = u64::from_le_bytes(bytes(from)?);
    if length > LONGEST {
        bail!("a length of {length} is too much");
    }
    Ok(length as usize)
}

fn text(from: &mut impl Read) -> Result<String> {
    let mut text = vec![0; length(from)?];
    from.read_exact(&mut text).context("the file ends inside a text")?;
    String::from_utf8(text).context("a text is not UTF-8")
}

fn value(from: &mut impl Read) -> Result<Value> {
    const TEXTS: u32 = 8;
    const I32S: u32 = 5;
    Ok(match u32_of(from)? {
        4 => Value::U32(u32_of(from)?),
        6 => Value::F32(f32::from_le_bytes(bytes(from)?)),
        7 => Value::Bool(bytes::<1>(from)? != [0]),
        8 => Value::Text(text(from)?),
        9 => match (u32_of(from)?, length(from)?) {
            (TEXTS, count) => Value::Texts((0..count).map(|_| text(from)).collect::<Result<_>>()?),
            (I32S, count) => {
                let number = |_| Ok(i32::from_le_bytes(bytes(from)?));
                Value::I32s((0..count).map(number).collect::<Result<_>>()?)
            }
            (other, _) => bail!("lists of the type {other} are not made here"),
        },
        other => bail!("values of the type {other} are not made here"),
    })
}
