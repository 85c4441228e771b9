//! Reports round-trip whatever is in them, and hostile ones are refused by field.

use proptest::collection::vec;
use proptest::option::of;
use proptest::prelude::*;

use super::*;

fn amounts() -> impl Strategy<Value = f64> {
    0.0..1e12f64
}

fn names() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9:._é-]{1,40}"
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    proptest::sample::select(all)
}

fn gpus() -> impl Strategy<Value = Gpu> {
    let processes = vec(any::<(u32, u64)>().prop_map(|(pid, memory_bytes)| GpuProcess { pid, memory_bytes }), 0..3);
    let numbers = (any::<u64>(), any::<u64>(), amounts(), of(amounts()), of(amounts()));
    (names(), names(), numbers, of(".{0,60}"), processes).prop_map(|(uuid, name, numbers, fault, processes)| {
        let (memory_bytes, memory_used_bytes, used, power_w, temperature_c) = numbers;
        Gpu { uuid, name, memory_bytes, memory_used_bytes, used, power_w, temperature_c, fault, processes }
    })
}

fn machines() -> impl Strategy<Value = Machine> {
    (any::<u64>(), any::<u64>(), amounts(), any::<u64>(), vec(gpus(), 0..3)).prop_map(
        |(memory_bytes, memory_free_bytes, cpu_used, disk_free_bytes, gpus)| Machine {
            memory_bytes,
            memory_free_bytes,
            cpu_used,
            disk_free_bytes,
            gpus,
        },
    )
}

fn models() -> impl Strategy<Value = ModelReport> {
    let sizes = (any::<bool>(), any::<u64>(), any::<u64>(), any::<u32>(), of(any::<u64>()));
    let rates = (of(amounts()), of(amounts()), of(amounts()), of(amounts()));
    (names(), names(), names(), sizes, vec(one_of(Capability::ALL), 0..4), rates).prop_map(
        |(name, engine_name, id, sizes, capabilities, (prefill_tok_s, decode_tok_s, load_s, output_tokens))| {
            let (is_loaded, size_bytes, memory_bytes, context_tokens, quarantined_s) = sizes;
            ModelReport {
                name,
                engine_name,
                id: ModelId::new(id),
                is_loaded,
                size_bytes,
                memory_bytes,
                context_tokens,
                capabilities,
                prefill_tok_s,
                decode_tok_s,
                load_s,
                output_tokens,
                quarantined_s,
            }
        },
    )
}

fn workers() -> impl Strategy<Value = WorkerReport> {
    let words = (one_of(Backend::ALL), one_of(WorkerState::ALL), ".{0,60}");
    let counts = any::<(u32, u32, u32, u64, u64, u64)>();
    (names(), words, counts, vec(models(), 0..3), vec(any::<u64>(), 0..5)).prop_map(
        |(name, (backend, state, reason), counts, models, prefixes)| {
            let (slots, busy, queued, queued_prompt_tokens, queued_output_tokens, memory_bytes) = counts;
            WorkerReport {
                id: WorkerId::of(&NodeId::from("grey-area"), &name),
                backend,
                state,
                reason,
                slots,
                busy,
                queued,
                queued_prompt_tokens,
                queued_output_tokens,
                memory_bytes,
                models,
                prefixes,
            }
        },
    )
}

fn reports() -> impl Strategy<Value = NodeReport> {
    let flags = (any::<u64>(), any::<u64>(), any::<bool>(), of(any::<u64>()));
    (flags, (names(), names(), names(), names()), machines(), vec(workers(), 0..4)).prop_map(
        |((incarnation, sequence, is_draining, leads), addresses, machine, workers)| {
            let (peer_address, actors_address, grpc_address, version) = addresses;
            NodeReport {
                node: NodeId::from("grey-area"),
                incarnation: Incarnation(incarnation),
                sequence,
                peer_address,
                actors_address,
                grpc_address,
                is_draining,
                leads: leads.map(Epoch),
                version,
                machine,
                workers,
                research: Some(base::report::ResearchReport {
                    documents: 3,
                    chunks: 9,
                    embedded: 4,
                    bytes: 5,
                    waiting: 1,
                    seen_records: true,
                }),
                features: vec!["reload".to_owned()],
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_report_reads_back(report in reports()) {
        prop_assert_eq!(NodeReport::try_from(node::NodeReport::from(&report)).unwrap(), report);
    }
}

fn model() -> node::ModelReport {
    node::ModelReport { name: "m".into(), engine_name: "m".into(), id: "sha256:0".into(), ..Default::default() }
}

fn worker() -> node::WorkerReport {
    node::WorkerReport {
        id: "grey-area/ollama".into(),
        backend: "ollama".into(),
        state: "ready".into(),
        models: vec![model()],
        ..Default::default()
    }
}

fn report() -> node::NodeReport {
    node::NodeReport {
        node: "grey-area".into(),
        machine: Some(node::Machine { gpus: vec![node::Gpu::default()], ..Default::default() }),
        workers: vec![worker()],
        research: None,
        ..Default::default()
    }
}

#[test]
fn hostile_reports_are_refused_by_field() {
    type Spoil = fn(&mut node::NodeReport);
    let cases: [(&str, Spoil); 22] = [
        ("node", |wire| wire.node.clear()),
        ("node", |wire| wire.node = "n".repeat(257)),
        ("peer_address", |wire| wire.peer_address = "a".repeat(300)),
        ("version", |wire| wire.version = "1".repeat(10_000)),
        ("machine", |wire| wire.machine = None),
        ("machine.cpu_used", |wire| wire.machine.as_mut().unwrap().cpu_used = f64::NAN),
        ("machine.gpus", |wire| wire.machine.as_mut().unwrap().gpus = vec![node::Gpu::default(); MAX_GPUS + 1]),
        ("gpus.power_w", |wire| wire.machine.as_mut().unwrap().gpus[0].power_w = Some(-1.0)),
        ("gpus.fault", |wire| wire.machine.as_mut().unwrap().gpus[0].fault = Some("f".repeat(10_000))),
        ("workers", |wire| wire.workers = vec![worker(); MAX_WORKERS + 1]),
        ("workers.id", |wire| wire.workers[0].id = "sleeper-service/ollama".into()),
        ("workers.id", |wire| wire.workers[0].id = "grey-area".into()),
        ("workers.backend", |wire| wire.workers[0].backend.clear()),
        ("workers.backend", |wire| wire.workers[0].backend = "b".repeat(1000)),
        ("workers.state", |wire| wire.workers[0].state.clear()),
        ("workers.models", |wire| wire.workers[0].models = vec![model(); MAX_MODELS + 1]),
        ("workers.prefixes", |wire| wire.workers[0].prefixes = vec![0; MAX_PREFIXES + 1]),
        ("models.name", |wire| wire.workers[0].models[0].name.clear()),
        ("models.decode_tok_s", |wire| wire.workers[0].models[0].decode_tok_s = Some(f64::INFINITY)),
        ("models.capabilities", |wire| {
            wire.workers[0].models[0].capabilities = vec!["a".into(); MAX_CAPABILITIES + 1];
        }),
        ("features", |wire| wire.features = vec!["a".into(); MAX_FEATURES + 1]),
        ("features", |wire| wire.features = vec![String::new()]),
    ];
    NodeReport::try_from(report()).expect("the report that each case spoils is good");
    for (field, spoil) in cases {
        let mut wire = report();
        spoil(&mut wire);
        let fault = NodeReport::try_from(wire).unwrap_err();
        assert!(fault.message.contains(&format!("`{field}`")), "{field}: {fault:?}");
        assert!(fault.hint.is_some());
    }
}

#[test]
fn what_only_a_newer_release_knows_spoils_nothing_else() {
    let mut wire = report();
    wire.features = vec!["reload".into(), "telepathy".into()];
    wire.workers[0].models[0].capabilities = vec!["tools".into(), "telepathy".into()];
    wire.workers.push(node::WorkerReport { id: "grey-area/new".into(), backend: "abacus".into(), ..worker() });
    wire.workers.push(node::WorkerReport { id: "grey-area/odd".into(), state: "dreaming".into(), ..worker() });
    let got = NodeReport::try_from(wire).unwrap();
    assert_eq!(got.workers[0].state, WorkerState::Ready);
    assert_eq!(got.workers[0].models[0].capabilities, [Capability::Tools]);
    for (worker, word) in got.workers[1..].iter().zip(["abacus", "dreaming"]) {
        assert!(worker.state == WorkerState::Down && worker.reason.contains(word), "{worker:?}");
    }
    assert_eq!(got.features.len(), 2, "they are known by their names alone");
}

#[test]
fn what_a_node_writes_a_peer_accepts() {
    let mut report = NodeReport::try_from(report()).unwrap();
    report.machine.gpus[0].fault = Some("x".repeat(5000));
    report.machine.gpus[0].power_w = Some(f64::NAN);
    let worker = &mut report.workers[0];
    worker.reason = "é".repeat(5000);
    worker.prefixes = (0..=MAX_PREFIXES as u64).collect();
    let odd = ModelReport { name: "n".repeat(300), ..worker.models[0].clone() };
    worker.models[0].decode_tok_s = Some(f64::INFINITY);
    worker.models.push(odd);

    let got = NodeReport::try_from(node::NodeReport::from(&report)).unwrap();
    let worker = &got.workers[0];
    assert_eq!((worker.reason.len(), worker.models.len(), worker.models[0].decode_tok_s), (MAX_TEXT_BYTES, 1, None));
    assert_eq!((worker.prefixes.first(), worker.prefixes.last()), (Some(&1), Some(&(MAX_PREFIXES as u64))));
    assert_eq!(got.machine.gpus[0].power_w, None);
}
