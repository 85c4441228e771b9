//! `tiny-model`: writes a small GGUF model for tests of engines; see `tests::gguf`.

use std::fs::File;
use std::io::{BufReader, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use tests::gguf::{self, Header, Kind, Preset, Quant, Recipe, Style};

/// Writes a small GGUF model. The same arguments give the same bytes.
#[derive(Parser)]
struct Options {
    /// What the model is for.
    #[arg(long, value_enum)]
    kind: Kind,
    /// What a chat model writes.
    #[arg(long, value_enum, default_value = "words")]
    style: Style,
    /// How large a chat model is.
    #[arg(long, value_enum, default_value = "tiny")]
    preset: Preset,
    /// How its matrices are stored.
    #[arg(long, value_enum, ignore_case = true, default_value = "F16")]
    quant: Quant,
    /// The model that an adapter must fit.
    #[arg(long = "for", value_name = "FILE")]
    fits: Option<PathBuf>,
    /// The file to write.
    #[arg(short = 'o', long = "out", value_name = "FILE")]
    out: PathBuf,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let recipe = Recipe { kind: options.kind, style: options.style, preset: options.preset, quant: options.quant };
    let model = match &options.fits {
        Some(base) if options.kind == Kind::Lora => {
            let file = File::open(base).with_context(|| format!("could not open {}", base.display()))?;
            let header = Header::read(&mut BufReader::new(file))
                .with_context(|| format!("could not read {}", base.display()))?;
            gguf::adapter(header.dimensions("output.weight").unwrap_or_default())?
        }
        _ => recipe.model()?,
    };
    gguf::write(&model, &options.out)?;
    let weights: usize = model.tensors.iter().map(gguf::Tensor::len).sum();
    writeln!(std::io::stderr(), "{}: {} tensors, {weights} weights", options.out.display(), model.tensors.len())?;
    Ok(())
}
