//! The promises on routing, on small traces that are drawn here: lengths follow the quantiles of a recorded chat service,
//! popularity that of a recorded service with many models (the first has 30.7 % of the asks, the first five 70.5 %).

use std::io::Write;

use super::*;

/// Quantiles of recorded lengths: share of asks, prompt tokens, answer tokens.
const LENGTHS: [(f64, f64, f64); 6] = [
    (0.0, 10.0, 5.0),
    (0.25, 500.0, 80.0),
    (0.5, 1020.0, 129.0),
    (0.9, 2734.0, 424.0),
    (0.99, 4142.0, 601.0),
    (1.0, 7000.0, 1000.0),
];

fn length(random: &mut fastrand::Rng, of: impl Fn(&(f64, f64, f64)) -> f64) -> u32 {
    let share = random.f64();
    let above = LENGTHS.iter().position(|point| point.0 > share).unwrap();
    let (low, high) = (&LENGTHS[above - 1], &LENGTHS[above]);
    (of(low) + (of(high) - of(low)) * (share - low.0) / (high.0 - low.0)) as u32
}

/// `count` asks with exponential gaps over about `span_s` seconds, for models by `popularity`.
fn trace(count: usize, span_s: f64, popularity: &[f64], seed: u64) -> Trace {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at_s = 0.0;
    let mut draw = || {
        at_s -= (1.0 - random.f64()).ln() * span_s / count as f64;
        let share = random.f64() * popularity.iter().sum::<f64>();
        let mut below = 0.0;
        let model = popularity.iter().position(|part| {
            below += part;
            share < below
        });
        Arrival {
            at: std::time::Duration::from_secs_f64(at_s),
            prompt_tokens: length(&mut random, |point| point.1),
            output_tokens: length(&mut random, |point| point.2),
            model: model.unwrap_or(0),
            client: 0,
            blocks: Vec::new(),
        }
    };
    let arrivals = (0..count).map(|_| draw()).collect();
    let models = (0..popularity.len()).map(|model| format!("m{model}")).collect();
    Trace { arrivals, models, clients: vec![String::new()] }
}

/// The first five as recorded, the rest falling off as 1/rank.
fn popularity(models: usize) -> Vec<f64> {
    let mut shares = vec![0.307, 0.15, 0.10, 0.08, 0.068];
    let rest: Vec<f64> = (1..=models - shares.len()).map(|rank| 1.0 / rank as f64).collect();
    let scale = 0.295 / rest.iter().sum::<f64>();
    shares.extend(rest.iter().map(|share| share * scale));
    shares
}

const UNEQUAL: &str = r#"
    node = [
      { name = "fast", prefill_tok_s = 3000, decode_tok_s = 60, slots = 4 },
      { name = "middle", prefill_tok_s = 1000, decode_tok_s = 30, slots = 2 },
      { name = "slow", prefill_tok_s = 150, decode_tok_s = 8, slots = 1 },
    ]"#;

/// Three nodes with every model, room for `resident` of them, 22.7 s per load.
fn switching(models: usize, resident: u32) -> Nodes {
    let model = |index| NodeModel { name: format!("m{index}"), vram_gib: 20.0, load_s: 22.7 };
    let node = |index| NodeSpec {
        name: format!("n{index}"),
        prefill_tok_s: 1500.0,
        decode_tok_s: 40.0,
        slots: 1,
        vram_gib: 20.0 * f64::from(resident) + 4.0,
        models: (0..models).map(model).collect(),
    };
    Nodes { nodes: (0..3).map(node).collect() }
}

#[test]
fn unequal_nodes_are_used_nearly_as_well_as_by_one_who_knows_every_length() {
    let nodes = Nodes::parse(UNEQUAL).unwrap();
    for (span_s, seed) in [(1700.0, 1), (1700.0, 2), (1200.0, 3), (1200.0, 4)] {
        let trace = trace(900, span_s, &[1.0], seed);
        let outcome = compare(&trace, &nodes, &[Policy::Tm, Policy::Oracle, Policy::LeastConnections], seed).unwrap();
        let p95 = |policy| outcome.of(policy).unwrap().latency_s.p95;
        let (tm, oracle) = (p95(Policy::Tm), p95(Policy::Oracle));
        assert!(
            tm <= 1.1 * oracle,
            "span {span_s} seed {seed}: {tm:.2} s against {oracle:.2} s\n{}",
            outcome.to_json()
        );
        assert!(tm < p95(Policy::LeastConnections));
        assert_eq!(outcome.of(Policy::Tm).unwrap().refused, 0);
    }
}

#[test]
fn many_models_wait_no_longer_than_under_the_better_of_warm_first_and_cost() {
    let models = 40;
    for (span_s, resident, seed) in [(12_000.0, 1, 1), (12_000.0, 2, 2), (6_000.0, 1, 3), (6_000.0, 2, 4)] {
        let trace = trace(700, span_s, &popularity(models), seed);
        let policies = [Policy::Tm, Policy::WarmFirst, Policy::Cost];
        let outcome = compare(&trace, &switching(models, resident), &policies, seed).unwrap();
        let wait = |policy| outcome.of(policy).unwrap().wait_s;
        let (tm, warm, cost) = (wait(Policy::Tm), wait(Policy::WarmFirst), wait(Policy::Cost));
        let case = format!("span {span_s} resident {resident}\n{}", outcome.to_json());
        assert!(tm.mean <= 1.03 * warm.mean.min(cost.mean), "mean, {case}");
        assert!(tm.p95 <= 1.03 * warm.p95.min(cost.p95), "p95, {case}");
    }
}

#[test]
fn shared_prefixes_save_prompts() {
    let row = |at: usize, hashes: &str| {
        format!("{{\"timestamp\":{},\"input_length\":4096,\"output_length\":10,\"hash_ids\":{hashes}}}\n", at * 20_000)
    };
    let chats = ["[1,2,3,4,5,6,7,8]", "[11,12,13,14,15,16,17,18]", "[21,22,23,24,25,26,27,28]"];
    let text: String = (0..30).map(|at| row(at, chats[at % 3])).collect();
    let nodes = Nodes::parse(
        "node = [{ name = \"a\", prefill_tok_s = 1000, decode_tok_s = 50, slots = 1 },
                 { name = \"b\", prefill_tok_s = 1000, decode_tok_s = 50, slots = 1 }]",
    );
    let outcome =
        compare(&Trace::parse(&text).unwrap(), &nodes.unwrap(), &[Policy::Tm, Policy::RoundRobin], 1).unwrap();
    let ttft = |policy| outcome.of(policy).unwrap().ttft_s.mean;
    assert!(ttft(Policy::Tm) < 0.9 * ttft(Policy::RoundRobin), "{}", outcome.to_json());
}

#[test]
fn the_same_seed_gives_the_same_figures_and_files_are_read() {
    let folder = std::env::temp_dir().join(format!("routing-simulate-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    };
    let rows: String =
        (0..200).map(|at| format!("{},{},{},t{},m\n", at * 700, 100 + at, 20 + at % 90, at % 3)).collect();
    let options = Options {
        trace: write("trace.csv", &format!("t_ms,in_tokens,out_tokens,tenant,model_class\n{rows}")),
        nodes: write("nodes.toml", UNEQUAL),
        policies: Vec::new(),
        seed: 7,
        thin: 0.5,
        rate: 2.0,
    };
    let (one, two) = (run(&options).unwrap(), run(&options).unwrap());
    assert_eq!(one, two);
    let json = one.to_json();
    assert_eq!(json["policies"].as_object().unwrap().len(), Policy::ALL.len());
    for field in ["/n", "/refused", "/loads", "/latency_s/p95", "/wait_s/mean", "/ttft_s/p50"] {
        assert!(json["policies"]["tm"].pointer(field).unwrap().is_number(), "{field}");
    }
    let n = json["policies"]["tm"]["n"].as_u64().unwrap();
    assert!((60..140).contains(&n), "{n}");
    let missing = run(&Options { trace: folder.join("no.csv"), ..options.clone() }).unwrap_err();
    assert_eq!(missing.code, Code::NotFound);
    assert!(run(&Options { thin: 0.0, ..options }).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn wrong_files_are_refused_by_line_and_field() {
    for (text, named) in [
        ("a,b\n1,2\n", "`t_ms`"),
        ("t_ms,in_tokens,out_tokens\n1,2,x\n", "line 2: `out_tokens`"),
        ("t_ms,in_tokens,out_tokens\n-1,2,3\n", "line 2: `t_ms`"),
        ("t_ms,in_tokens,out_tokens\n", "no rows"),
        ("{\"timestamp\":0}\n", "line 1"),
    ] {
        let fault = Trace::parse(text).unwrap_err();
        assert!(fault.message.contains(named) && fault.hint.is_some(), "{fault:?}");
    }
    for (text, named) in [
        ("node = []", "no node"),
        ("[[node]]\nname = \"a\"", "could not read"),
        ("[[node]]\nname=\"a\"\nprefill_tok_s=0\ndecode_tok_s=1\nslots=1", "`prefill_tok_s`"),
        ("[[node]]\nname=\"a\"\nprefill_tok_s=1\ndecode_tok_s=1\nslots=0", "`slots`"),
    ] {
        let fault = Nodes::parse(text).unwrap_err();
        assert!(fault.message.contains(named) && fault.hint.is_some(), "{fault:?}");
    }
}

#[test]
fn a_model_that_no_node_has_is_refused() {
    let mut trace = trace(10, 100.0, &[1.0, 1.0], 1);
    trace.models[1] = "elsewhere".to_owned();
    let outcome = compare(&trace, &switching(1, 1), Policy::ALL, 1).unwrap();
    for (policy, figures) in &outcome.policies {
        assert_eq!(figures.n + figures.refused, 10, "{policy}");
        assert!(figures.refused > 0, "{policy}");
    }
}
