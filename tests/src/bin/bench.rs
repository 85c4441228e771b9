//! `bench`: what the gateway costs and how it behaves, next to nginx in the same run; see `tests::bench`.

#[cfg(target_os = "linux")]
fn main() -> anyhow::Result<()> {
    tests::bench::run(&clap::Parser::parse())
}

#[cfg(not(target_os = "linux"))]
fn main() -> anyhow::Result<()> {
    anyhow::bail!("the bench reads /proc and pins cores: run it on Linux")
}
