use super::*;

fn found(text: &str) -> Extracted {
    extract(&Prd::read(text.as_bytes()).unwrap())
}

fn texts(text: &str) -> Vec<String> {
    found(text).requirements.into_iter().map(|requirement| requirement.text).collect()
}

#[test]
fn show() {
    for file in ["greenhouse-telemetry.md", "hostile.md"] {
        let bytes = std::fs::read(format!("/work/shared/acceptance/prds/{file}")).unwrap();
        let began = std::time::Instant::now();
        let prd = Prd::read(&bytes).unwrap();
        let all = extract(&prd);
        println!("{:?} {}", began.elapsed(), all.language);
        for oddity in prd.oddities.iter().chain(&all.oddities) {
            println!("  {oddity}");
        }
        for r in &all.requirements {
            let text: String = r.text.chars().take(150).collect();
            println!(
                "{} {} {} {}-{} {text} | {:?} | {:?}",
                r.name, r.label, r.strength, r.first_line, r.last_line, r.acceptance, r.depends_on
            );
        }
        println!("{:?}", all.not_wanted);
    }
}
