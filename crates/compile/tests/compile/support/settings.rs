//! Settings for a golden input, from its lines that begin with `#:`.

use pailou_compile::{CLUSTER, DataPlane, OlderPolicy, Settings, Unprotected, status::GatewayAddress};
use pailou_snapshot::Name;

/// Settings in the comments of an input:
/// - `#: cluster`: as a cluster's controller has them.
/// - `#: admin ADDRESS`: the process's admin endpoint.
/// - `#: plane NAMESPACE/NAME ready|starting ADDRESS…`: the Gateway's data plane.
/// - `#: bundle DEFINITION [VERSION]`: a CustomResourceDefinition of Gateway API.
/// - `#: within NAMESPACE/NAME ADDRESS…`: its ClusterIPs.
/// - `#: others NAMESPACE/NAME WHY…`: why the data plane has no other addresses.
/// - `#: refused NAMESPACE/NAME WHY…`: the API server's refusal of an object of the data plane.
/// - `#: unprotected NAMESPACE/NAME CODE absent|stands|unknown WHY…`: its refusal of the data plane's NetworkPolicy.
pub(crate) fn settings(yaml: &str) -> Settings {
    let mut settings = Settings::default();
    for line in yaml.lines().filter_map(|line| line.strip_prefix("#: ")) {
        let words: Vec<_> = line.split_whitespace().collect();
        match words.as_slice() {
            ["cluster"] => settings = Settings::cluster(),
            ["admin", address] => settings.admin = Some(address.parse().unwrap()),
            ["plane", name, state, addresses @ ..] => {
                let plane = plane(&mut settings, name);
                plane.ready = *state == "ready";
                plane.addresses = addresses.iter().map(|text| address(text)).collect();
            }
            ["within", name, addresses @ ..] => {
                let within = addresses.iter().map(|text| address(text).reached_from(CLUSTER));
                plane(&mut settings, name).within = within.collect();
            }
            ["others", name, why @ ..] => plane(&mut settings, name).others = why.join(" "),
            ["refused", name, why @ ..] => plane(&mut settings, name).refused = Some(why.join(" ")),
            ["unprotected", name, code, older, why @ ..] => {
                let older = match *older {
                    "absent" => OlderPolicy::Absent,
                    "stands" => OlderPolicy::Stands,
                    _ => OlderPolicy::Unknown,
                };
                let unprotected = Unprotected { why: why.join(" "), is_forbidden: *code == "403", older };
                plane(&mut settings, name).unprotected = Some(unprotected);
            }
            ["bundle", name] => drop(settings.bundles.insert((*name).to_owned(), None)),
            ["bundle", name, version] => drop(settings.bundles.insert((*name).to_owned(), Some((*version).to_owned()))),
            other => panic!("no such setting: {other:?}"),
        }
    }
    settings
}

fn plane<'s>(settings: &'s mut Settings, name: &str) -> &'s mut DataPlane {
    let (namespace, name) = name.split_once('/').unwrap();
    settings.data_planes.get_or_insert_default().entry(Name::new(namespace, name)).or_default()
}

fn address(text: &str) -> GatewayAddress {
    text.parse().map_or_else(|_| GatewayAddress::hostname(text), GatewayAddress::ip).reached_from("")
}
