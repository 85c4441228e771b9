//! A node with `privacy.lock`: local-only whatever anybody sets, and it says so.

use proto::admin::{GetModeRequest, HealthRequest, SetModeRequest};
use tests::process::{Child, binary};

use crate::lab::{Lab, SOON, Setup, until};

const LOCK: &str = "[privacy]\nlock = true\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_node_refuses_another_mode_and_does_not_follow_the_cluster_s() {
    let mut lab = Lab::cluster().await;
    lab.node(Setup::new("locked").more(LOCK)).await;
    lab.node(Setup::new("open")).await;
    until("they see each other", SOON, async || {
        let seen = async |at: usize| {
            lab.nodes[at]
                .nodes()
                .await
                .is_ok_and(|nodes| nodes.iter().filter(|node| node.state == "alive").count() == 2)
        };
        seen(0).await && seen(1).await
    })
    .await;
    let locked = &lab.nodes[0];
    let refused = locked.set_mode("hybrid").await.unwrap_err();
    let status = refused.downcast_ref::<tonic::Status>().unwrap();
    assert_eq!(status.code(), tonic::Code::PermissionDenied);
    let fault = proto::from_status(status);
    assert!(fault.hint.as_ref().is_some_and(|hint| hint.contains("privacy.lock = false")), "{fault:?}");
    assert_eq!(lab.nodes[1].mode().await.unwrap(), "local-only", "nothing was written down for the others");

    let request = SetModeRequest { mode: "hybrid".to_owned(), ..SetModeRequest::default() };
    let set = lab.nodes[1].admin().set_mode(request).await.unwrap().into_inner();
    assert_eq!((set.locked_nodes, set.unreached_nodes), (vec!["locked".to_owned()], vec![]));
    assert_eq!(lab.nodes[1].mode().await.unwrap(), "hybrid");
    let is_true_to_itself = async |lab: &Lab| {
        let node = &lab.nodes[0];
        let mode = node.admin().get_mode(GetModeRequest {}).await.unwrap().into_inner();
        let health = node.admin().health(HealthRequest {}).await.unwrap().into_inner();
        assert!(mode.is_locked && mode.mode == "local-only", "{mode:?}");
        mode.not_followed == "hybrid" && health.reasons.iter().any(|reason| reason.contains("stays local-only"))
    };
    assert!(is_true_to_itself(&lab).await);
    // The mode comes out of the store now.
    lab.nodes[0].child.kill().await.unwrap();
    lab.nodes[0].again().await;
    until("it knows what it does not follow", SOON, async || is_true_to_itself(&lab).await).await;
    lab.nodes[1].set_mode("local-only").await.unwrap();
    until("they agree", SOON, async || {
        let mode = lab.nodes[0].admin().get_mode(GetModeRequest {}).await.unwrap().into_inner();
        let health = lab.nodes[0].admin().health(HealthRequest {}).await.unwrap().into_inner();
        mode.not_followed.is_empty() && !health.reasons.iter().any(|reason| reason.contains("stays local-only"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configuration_that_opens_a_locked_node_is_refused_before_anything_starts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("tmd.toml");
    std::fs::write(&config, format!("{LOCK}mode = \"hybrid\"\n")).unwrap();
    let arguments = ["check".as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut child = Child::start("tmd", binary("tmd").unwrap(), &arguments).unwrap();
    assert_eq!(child.wait(SOON).await.unwrap().code(), Some(2));
    let said = child.stderr();
    assert!(said.contains("privacy.mode") && said.contains("hint: a locked node is local-only"), "{said}");
}
