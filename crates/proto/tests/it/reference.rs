//! The reference in `deploy/api.md` is what the protos say now.

use std::path::Path;

use crate::{now, protos};

#[path = "../../examples/reference.rs"]
#[expect(dead_code, reason = "its own main is that of the command")]
mod command;

#[test]
fn the_reference_is_current_and_holds_every_call_and_message_of_clients() {
    let made = command::text(&protos()).unwrap();
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/api.md");
    let kept = std::fs::read_to_string(kept).unwrap();
    assert!(made == kept, "deploy/api.md is not what the protos say: run `make reference`");
    let pool = now();
    let is_client_s = |package: &str| !["taskmaster.node.v1", "taskmaster.engine.v1"].contains(&package);
    let services = pool.services().filter(|service| is_client_s(service.package_name()));
    let methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    assert!(methods.len() > 60, "{}", methods.len());
    for method in methods {
        assert!(kept.contains(&format!("- **{}** (", method.name())), "{} is not there", method.full_name());
    }
    for message in pool.all_messages().filter(|message| is_client_s(message.package_name()) && !message.is_map_entry())
    {
        let name = message.full_name().trim_start_matches("taskmaster.").replace(".v1.", ".");
        assert!(kept.contains(&format!("### {name}\n")), "{name} is not there");
    }
}
