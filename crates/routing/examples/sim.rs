//! scratch
use routing::simulate::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let o = Options {
        trace: a[1].clone().into(),
        nodes: a[2].clone().into(),
        policies: a.get(6).map(|p| p.split(',').map(|p| Policy::parse(p).unwrap()).collect()).unwrap_or_default(),
        seed: a[3].parse().unwrap(),
        thin: a[4].parse().unwrap(),
        rate: a[5].parse().unwrap(),
    };
    println!("{}", run(&o).unwrap().to_table());
}
