//! Names of what is provisioned. A Gateway's may have 253 characters and dots; a Service's may not.

use xxhash_rust::xxh3::xxh3_64;

/// Longest name of a data plane, in bytes: a Deployment's pods add 17 and are host names, which have at most 63.
const MAX_NAME: usize = 46;
/// Longest value of a label, in bytes.
const MAX_LABEL: usize = 63;

/// The name of all objects of a Gateway's data plane, in its namespace: a DNS label that no other Gateway leads to.
pub(crate) fn data_plane(gateway: &str) -> String {
    let readable: String = gateway.chars().map(|it| if it == '.' { '-' } else { it }).collect();
    // A Service's name begins with a letter (RFC 1035).
    let prefix = if readable.starts_with(|first: char| first.is_ascii_alphabetic()) { "" } else { "gw-" };
    shortened(&format!("{prefix}{readable}"), MAX_NAME, gateway)
}

/// The value of the label that names a Gateway: its name, or where that is too long its beginning and a digest.
pub(crate) fn label(gateway: &str) -> String {
    if gateway.len() <= MAX_LABEL { gateway.to_owned() } else { shortened(gateway, MAX_LABEL, gateway) }
}

fn shortened(readable: &str, longest: usize, whole: &str) -> String {
    let digest = format!("{:010x}", xxh3_64(whole.as_bytes()) & 0xff_ffff_ffff);
    let room = longest - digest.len() - 1;
    let kept = readable.get(..room.min(readable.len())).unwrap_or_default().trim_end_matches(['-', '.']);
    format!("{kept}-{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dns_labels_however_long_the_gateway_is() {
        let long = format!("a{}.b", "0".repeat(250));
        for gateway in ["inference-gateway", "1-is-first", "a.b.c", &long, &"x.".repeat(60)] {
            let name = data_plane(gateway);
            assert!(name.len() <= MAX_NAME && name.starts_with(|it: char| it.is_ascii_lowercase()), "{name}");
            assert!(name.bytes().all(|it| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-'), "{name}");
            assert!(label(gateway).len() <= MAX_LABEL);
        }
        assert!(data_plane("inference-gateway").starts_with("inference-gateway-"));
    }

    #[test]
    fn names_that_look_alike_lead_to_different_ones() {
        let long = "g".repeat(100);
        assert_ne!(data_plane("a.b"), data_plane("a-b"));
        assert_ne!(data_plane(&long), data_plane(&format!("{long}g")));
        assert_ne!(label(&long), label(&format!("{long}g")));
        assert_eq!(label("short.name"), "short.name");
    }
}
