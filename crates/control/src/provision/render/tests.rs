use std::collections::{BTreeMap, BTreeSet};

use pailou_config::snapshot::Name;

use super::*;
use crate::provision::plan::Transport;

#[test]
fn a_data_plane_is_rendered() {
    let text = |it: &str| it.to_owned();
    let plan = Plan {
        gateway: Name::new("models", "inference-gateway"),
        uid: text("6ee2e0a7-0000-4000-8000-000000000001"),
        labels: BTreeMap::from([(text("team"), text("inference")), (text("app.kubernetes.io/managed-by"), text("somebody"))]),
        annotations: BTreeMap::from([(text("note"), text("kept"))]),
        ports: BTreeSet::from([(80, Transport::Tcp), (53, Transport::Udp), (443, Transport::Tcp)]),
        addresses: vec![text("192.0.2.1"), text("192.0.2.2")],
        controllers: vec![text("pailou.dev/gateway-controller")],
    };
    let options = Options {
        image: text("pailou.dev/pailou:v1"),
        image_pull_policy: None,
        image_pull_secrets: Vec::new(),
        feed_url: text("https://pailou-controller.pailou-system.svc:15010"),
        namespace: text("pailou-system"),
        drain_seconds: 30,
        log: None,
    };
    let objects: Vec<_> = render(&plan, &options, "-----BEGIN CERTIFICATE-----\n").into_iter().map(|it| it.object).collect();
    insta::assert_yaml_snapshot!(objects);
}
