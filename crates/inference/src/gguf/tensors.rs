//! The list of tensors: each must have a type, a shape and a place of its own inside the file.

use std::collections::HashSet;
use std::io::{Read, Seek};

use super::GgufError;
use super::source::Source;

/// Models with hundreds of experts, each a tensor of its own, have tens of thousands.
const MOST_TENSORS: u64 = 65_536;
const MOST_NAME_BYTES: u64 = 256;
const MOST_DIMENSIONS: u32 = 4;
/// So that sums over all tensors stay far from the end of the numbers.
const MOST_ELEMENTS: u64 = 1 << 44;

/// A type of numbers: its name, how many make a block, and what a block takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NumberType {
    pub name: &'static str,
    pub block: u64,
    pub block_bytes: u64,
}

/// By the number that stands in files; types that were given up are not known.
pub(super) const fn number_type(id: u32) -> Option<NumberType> {
    let (name, block, block_bytes) = match id {
        0 => ("F32", 1, 4),
        1 => ("F16", 1, 2),
        2 => ("Q4_0", 32, 18),
        3 => ("Q4_1", 32, 20),
        6 => ("Q5_0", 32, 22),
        7 => ("Q5_1", 32, 24),
        8 => ("Q8_0", 32, 34),
        9 => ("Q8_1", 32, 36),
        10 => ("Q2_K", 256, 84),
        11 => ("Q3_K", 256, 110),
        12 => ("Q4_K", 256, 144),
        13 => ("Q5_K", 256, 176),
        14 => ("Q6_K", 256, 210),
        15 => ("Q8_K", 256, 292),
        16 => ("IQ2_XXS", 256, 66),
        17 => ("IQ2_XS", 256, 74),
        18 => ("IQ3_XXS", 256, 98),
        19 => ("IQ1_S", 256, 50),
        20 => ("IQ4_NL", 32, 18),
        21 => ("IQ3_S", 256, 110),
        22 => ("IQ2_S", 256, 82),
        23 => ("IQ4_XS", 256, 136),
        24 => ("I8", 1, 1),
        25 => ("I16", 1, 2),
        26 => ("I32", 1, 4),
        27 => ("I64", 1, 8),
        28 => ("F64", 1, 8),
        29 => ("IQ1_M", 256, 56),
        30 => ("BF16", 1, 2),
        34 => ("TQ1_0", 256, 54),
        35 => ("TQ2_0", 256, 66),
        39 => ("MXFP4", 32, 17),
        40 => ("NVFP4", 64, 36),
        41 => ("Q1_0", 128, 18),
        42 => ("Q2_0", 64, 18),
        _ => return None,
    };
    Some(NumberType { name, block, block_bytes })
}

/// What all tensors are together.
#[derive(Debug, Default)]
pub(super) struct Tensors {
    list: Vec<Tensor>,
    /// Numbers in all of them.
    pub parameters: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Rows of the table of tokens; 0 where there is none.
    pub token_rows: u64,
    /// The type that most of the bytes have.
    pub main_type: &'static str,
}

#[derive(Debug)]
struct Tensor {
    name: String,
    /// Counted from the begin of the data.
    offset: u64,
    bytes: u64,
}

/// How many tensors there are, as the begin of the file says.
pub(super) fn count<R: Read + Seek>(source: &mut Source<'_, R>) -> Result<u64, GgufError> {
    source.count("a number of tensors", MOST_TENSORS)
}

impl Tensors {
    pub fn read<R: Read + Seek>(source: &mut Source<'_, R>, count: u64) -> Result<Self, GgufError> {
        let mut tensors = Self::default();
        let mut bytes_by_type: [(u64, &'static str); 64] = [(0, ""); 64];
        for _ in 0..count {
            let name = source.text("the name of a tensor", MOST_NAME_BYTES)?;
            let (elements, last) = shape(source, &name)?;
            let found = source.u32("the type of a tensor")?;
            let offset = source.u64("the place of a tensor")?;
            let Some(number_type) = number_type(found) else {
                return Err(GgufError::TensorType { tensor: name, found });
            };
            let bytes = bytes_of(&name, elements, number_type)?;
            if let Some(sum) = bytes_by_type.get_mut(found as usize) {
                *sum = (sum.0 + bytes, number_type.name);
            }
            if name == "token_embd.weight" {
                tensors.token_rows = last;
            }
            tensors.parameters += elements.total;
            tensors.bytes += bytes;
            tensors.list.push(Tensor { name, offset, bytes });
        }
        tensors.main_type = bytes_by_type.iter().max_by_key(|(bytes, _)| *bytes).map_or("", |(_, name)| name);
        tensors.refuse_twins(source.at())?;
        Ok(tensors)
    }

    fn refuse_twins(&self, at: u64) -> Result<(), GgufError> {
        let mut names = HashSet::with_capacity(self.list.len());
        match self.list.iter().find(|tensor| !names.insert(tensor.name.as_str())) {
            Some(twin) => Err(GgufError::DuplicateTensor { tensor: twin.name.clone(), at }),
            None => Ok(()),
        }
    }

    /// Every tensor lies on a step, inside the file, and apart from the others.
    pub fn check_places(&mut self, data_begin: u64, alignment: u64, file_bytes: u64) -> Result<(), GgufError> {
        self.list.sort_by_key(|tensor| tensor.offset);
        let mut before: Option<&Tensor> = None;
        for tensor in &self.list {
            if !tensor.offset.is_multiple_of(alignment) {
                let (tensor, offset) = (tensor.name.clone(), tensor.offset);
                return Err(GgufError::Misaligned { tensor, offset, alignment });
            }
            let end = data_begin.saturating_add(tensor.offset).saturating_add(tensor.bytes);
            if end > file_bytes {
                return Err(GgufError::Truncated { what: format!("the tensor `{}`", tensor.name), end, file_bytes });
            }
            if let Some(before) = before.filter(|before| before.offset + before.bytes > tensor.offset) {
                return Err(GgufError::Overlap { tensor: before.name.clone(), other: tensor.name.clone() });
            }
            before = Some(tensor);
        }
        Ok(())
    }
}

/// How many numbers a tensor has.
#[derive(Clone, Copy)]
struct Elements {
    total: u64,
    row: u64,
}

/// The number of elements, and the last dimension.
fn shape<R: Read + Seek>(source: &mut Source<'_, R>, tensor: &str) -> Result<(Elements, u64), GgufError> {
    let impossible = |problem: String| GgufError::TensorShape { tensor: tensor.to_owned(), problem };
    let dimensions = source.u32("the shape of a tensor")?;
    if dimensions > MOST_DIMENSIONS {
        return Err(impossible(format!("{dimensions} dimensions, and the most is {MOST_DIMENSIONS}")));
    }
    let (mut elements, mut last) = (Elements { total: 1, row: 1 }, 1);
    for dimension in 0..dimensions {
        last = source.u64("the shape of a tensor")?;
        if last == 0 {
            return Err(impossible(format!("dimension {} is 0", dimension + 1)));
        }
        let total = elements.total.checked_mul(last).filter(|total| *total <= MOST_ELEMENTS);
        elements.total = total.ok_or_else(|| impossible("it has more numbers than any file".to_owned()))?;
        if dimension == 0 {
            elements.row = last;
        }
    }
    Ok((elements, last))
}

fn bytes_of(tensor: &str, elements: Elements, number_type: NumberType) -> Result<u64, GgufError> {
    let NumberType { name, block, block_bytes } = number_type;
    if !elements.row.is_multiple_of(block) {
        let problem = format!("rows of {} numbers are not whole blocks of {block} in {name}", elements.row);
        return Err(GgufError::TensorShape { tensor: tensor.to_owned(), problem });
    }
    // At most 2^44 numbers of at most 8 bytes each.
    Ok(elements.total / block * block_bytes)
}
