//! Tests of the planner: fit, protection of what is busy, and that a plan carried out leaves nothing to do.

use base::config::Model;
use proptest::prelude::*;

use super::*;
use crate::testing::{GIB, catalogue, model, node};

fn declared(name: &str, replicas: u32) -> Model {
    Model { name: name.to_owned(), replicas, ..Model::default() }
}

fn cold(name: &str, gib: u64) -> ModelReport {
    ModelReport { is_loaded: false, memory_bytes: gib * GIB, ..model(name) }
}

fn plan_for(nodes: &[NodeReport], declared: &[Model], demand: &HashMap<ModelId, Demand>) -> Plan {
    let catalogue = catalogue(nodes, declared, &[]);
    let alive: Vec<_> = nodes.iter().map(|node| (NodeState::Alive, node)).collect();
    plan(&alive, &catalogue, demand, &HashMap::new(), &Settings::default())
}

/// The nodes once a plan is carried out.
fn after(mut nodes: Vec<NodeReport>, plan: &Plan) -> Vec<NodeReport> {
    for step in &plan.moves {
        for worker in nodes.iter_mut().flat_map(|node| &mut node.workers).filter(|worker| worker.id == step.worker) {
            for model in worker.models.iter_mut().filter(|model| model.id == step.model) {
                model.is_loaded = step.action == Action::Load;
            }
        }
    }
    nodes
}

fn steps(plan: &Plan) -> Vec<(Action, &str, &str)> {
    plan.moves.iter().map(|step| (step.action, step.worker.as_str(), step.engine_name.as_str())).collect()
}

fn waiting(name: &str) -> HashMap<ModelId, Demand> {
    HashMap::from([(model(name).id, Demand { running: 0, waiting: 3 })])
}

#[test]
fn declared_replicas_are_loaded_on_different_workers() {
    let nodes = [node("a", vec![cold("m", 5)]), node("b", vec![cold("m", 5)]), node("c", vec![cold("m", 5)])];
    let plan = plan_for(&nodes, &[declared("m", 2)], &HashMap::new());
    assert_eq!(steps(&plan), [(Action::Load, "a/engine", "m"), (Action::Load, "b/engine", "m")]);
    assert!(plan.unplaced.is_empty());
}

#[test]
fn models_of_a_lost_node_are_placed_elsewhere() {
    let nodes = [node("a", vec![model("m")]), node("b", vec![cold("m", 5)])];
    let catalogue = catalogue(&nodes, &[declared("m", 1)], &[]);
    let states = [(NodeState::Lost, &nodes[0]), (NodeState::Alive, &nodes[1])];
    let plan = plan(&states, &catalogue, &HashMap::new(), &HashMap::new(), &Settings::default());
    assert_eq!(steps(&plan), [(Action::Load, "b/engine", "m")]);
}

#[test]
fn what_does_not_fit_is_named_with_its_numbers() {
    let plan = plan_for(&[node("a", vec![cold("m", 13)])], &[declared("m", 1)], &HashMap::new());
    assert!(plan.moves.is_empty());
    assert_eq!(plan.unplaced[0].reason, "`a/engine` has 11.2 GiB usable, it needs 13 GiB");
}

#[test]
fn an_idle_model_makes_room_and_a_busy_worker_is_left_alone() {
    let mut nodes = vec![node("a", vec![model("x"), cold("m", 8)])];
    let plan = plan_for(&nodes, &[], &waiting("m"));
    assert_eq!(steps(&plan), [(Action::Unload, "a/engine", "x"), (Action::Load, "a/engine", "m")]);
    nodes[0].workers[0].busy = 1;
    let plan = plan_for(&nodes, &[], &waiting("m"));
    assert!(plan.moves.is_empty());
    assert!(plan.unplaced[0].reason.contains("beside what is in use"), "{plan:?}");
}

#[test]
fn quarantine_and_the_bound_on_swaps_hold() {
    let sick = ModelReport { quarantined_s: Some(30), ..cold("m", 5) };
    let plan_sick = plan_for(&[node("a", vec![sick])], &[declared("m", 1)], &HashMap::new());
    assert!(plan_sick.unplaced[0].reason.contains("quarantine"));
    let nodes = [node("a", vec![model("x"), cold("m", 8)])];
    let swapped = HashMap::from([(WorkerId::from("a/engine"), Settings::default().swaps_per_minute)]);
    let catalogue = catalogue(&nodes, &[], &[]);
    let plan = plan(&[(NodeState::Alive, &nodes[0])], &catalogue, &waiting("m"), &swapped, &Settings::default());
    assert!(plan.moves.is_empty() && plan.unplaced[0].reason.contains("too often"), "{plan:?}");
}

prop_compose! {
    fn any_node(index: usize)(
        sizes in proptest::collection::vec((1u64..12, any::<bool>()), 4), memory in 0u64..32, busy in 0u32..2,
    ) -> NodeReport {
        let of = |(at, (gib, is_loaded)): (usize, (u64, bool))| ModelReport { is_loaded, ..cold(&format!("m{at}"), gib) };
        let mut node = node(&format!("n{index}"), sizes.into_iter().enumerate().map(of).collect());
        (node.workers[0].memory_bytes, node.workers[0].busy) = (memory * GIB, busy);
        node
    }
}

proptest! {
    #[test]
    fn a_plan_carried_out_leaves_nothing_to_do_and_fits(
        one in any_node(0), two in any_node(1), three in any_node(2), replicas in proptest::collection::vec(1u32..4, 2),
        waits in 0usize..4,
    ) {
        let nodes = vec![one, two, three];
        let declared: Vec<Model> = replicas.iter().enumerate().map(|(at, &count)| declared(&format!("m{at}"), count)).collect();
        let demand = waiting(&format!("m{waits}"));
        let first = plan_for(&nodes, &declared, &demand);
        for step in first.moves.iter().filter(|step| step.action == Action::Unload) {
            let worker = nodes.iter().flat_map(|node| &node.workers).find(|worker| worker.id == step.worker).unwrap();
            prop_assert_eq!(worker.busy, 0);
            prop_assert!(!demand.contains_key(&step.model));
        }
        let planned = after(nodes, &first);
        for step in first.moves.iter().filter(|step| step.action == Action::Load) {
            let worker = planned.iter().flat_map(|node| &node.workers).find(|worker| worker.id == step.worker).unwrap();
            let used: u64 = worker.models.iter().filter(|model| model.is_loaded).map(memory_bytes).sum();
            prop_assert!(worker.memory_bytes == 0 || used as f64 <= worker.memory_bytes as f64 * 0.8);
        }
        let second = plan_for(&planned, &declared, &demand);
        prop_assert_eq!(second.moves, Vec::new());
    }
}
