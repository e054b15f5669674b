//! Ports of an InferencePool's engines for KV cache events, from its annotations.

use pailou_api::InferencePool;
use pailou_snapshot::{KvEvents, PickerKind, RoutingStrategy};

use crate::annotation::number;

const PORT_ANNOTATION: &str = "pailou.dev/kv-events-port";
const REPLAY_PORT_ANNOTATION: &str = "pailou.dev/kv-events-replay-port";
const RANKS_ANNOTATION: &str = "pailou.dev/kv-events-data-parallel-size";
const MAX_BLOCKS_ANNOTATION: &str = "pailou.dev/kv-events-max-blocks";
/// All annotations that are read here.
pub(crate) const ANNOTATIONS: [&str; 4] = [PORT_ANNOTATION, REPLAY_PORT_ANNOTATION, RANKS_ANNOTATION, MAX_BLOCKS_ANNOTATION];

/// Most data-parallel ranks of an endpoint.
const MAX_RANKS: u32 = 64;
/// Blocks remembered without an annotation: some 160 MB at the most.
pub(crate) const DEFAULT_MAX_BLOCKS: u32 = 4_000_000;
/// Most blocks that an annotation may ask for: some 4 GB.
const MOST_MAX_BLOCKS: u32 = 100_000_000;

/// Sockets that a pool's annotations name; `None` without a port. A value that is none is ignored, with a warning, as are ports that
/// do not fit.
pub(crate) fn kv_events(pool: &InferencePool, warnings: &mut Vec<String>) -> Option<KvEvents> {
    let meta = &pool.meta;
    let mut read = |annotation, most| number(meta, annotation, most, warnings);
    let port = read(PORT_ANNOTATION, u32::from(u16::MAX));
    let replay_port = read(REPLAY_PORT_ANNOTATION, u32::from(u16::MAX));
    let ranks = read(RANKS_ANNOTATION, MAX_RANKS);
    let max_blocks = read(MAX_BLOCKS_ANNOTATION, MOST_MAX_BLOCKS);
    let Some(port) = port else {
        let others = [REPLAY_PORT_ANNOTATION, RANKS_ANNOTATION, MAX_BLOCKS_ANNOTATION];
        for other in
            others.into_iter().filter(|other| meta.annotation(other).is_some() && meta.annotation(PORT_ANNOTATION).is_none())
        {
            warnings.push(format!("annotation {other} has no effect without {PORT_ANNOTATION}"));
        }
        return None;
    };
    // Each of a pod's endpoints is a rank, with a publisher of its own.
    let ranks = match pool.spec.target_ports.len() as u32 {
        0 | 1 => ranks.unwrap_or(1),
        endpoints => endpoints,
    };
    if !fits(PORT_ANNOTATION, port, ranks, warnings) {
        return None;
    }
    let replay_port = replay_port.filter(|replay_port| {
        let is_apart = replay_port.abs_diff(port) >= ranks;
        if !is_apart {
            warnings.push(format!(
                "annotation {REPLAY_PORT_ANNOTATION}: {replay_port} is ignored; {ranks} ports from there on meet those from {port} on; they \
                 have to be {ranks} apart"
            ));
        }
        is_apart && fits(REPLAY_PORT_ANNOTATION, *replay_port, ranks, warnings)
    });
    Some(KvEvents {
        port: port as u16,
        replay_port: replay_port.map(|port| port as u16),
        ranks: ranks as u16,
        max_blocks: max_blocks.unwrap_or(DEFAULT_MAX_BLOCKS),
    })
}

/// Warns of events that have no effect, because another picks or nothing is estimated.
pub(crate) fn check_use(strategy: RoutingStrategy, picker: &PickerKind, warnings: &mut Vec<String>) {
    let reason = match (picker, strategy) {
        (PickerKind::BuiltIn, RoutingStrategy::PrefixCache) => return,
        (PickerKind::BuiltIn, RoutingStrategy::Load) => "with routing-strategy DEFAULT",
        (PickerKind::External { .. }, _) => "where endpointPickerRef's endpoint picker chooses",
    };
    warnings.push(format!("annotation {PORT_ANNOTATION} has no effect {reason}"));
}

/// Whether each rank has a port; warns if not.
fn fits(annotation: &str, port: u32, ranks: u32, warnings: &mut Vec<String>) -> bool {
    let most = u32::from(u16::MAX) + 1 - ranks;
    if port > most {
        warnings.push(format!("annotation {annotation}: {port} is ignored; for {ranks} ranks at most {most} is possible"));
    }
    port <= most
}
