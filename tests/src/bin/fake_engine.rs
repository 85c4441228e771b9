//! `fake-engine`: a deterministic inference engine in every dialect; see `tests::fake`.

use clap::Parser;

fn main() -> anyhow::Result<()> {
    tests::fake::run(tests::fake::Options::parse())
}
