//! Terms of one request from a pool's InferenceModels, rewrites and objectives.

use std::{sync::Arc, time::Duration};

use pailou_snapshot::{Criticality, Pool, PoolModel, at_point};

/// Headers that name the InferenceObjective of a request, the newer name first.
pub const OBJECTIVE_HEADERS: [&str; 2] = ["x-llm-d-inference-objective", "x-gateway-inference-objective"];

/// Header with a request's fairness id: requests of different ones take turns while they wait.
pub const FAIRNESS_HEADER: &str = "x-llm-d-inference-fairness-id";
/// Header that says how long a request may wait for an endpoint with room.
pub const TIMEOUT_HEADER: &str = "x-llm-d-inference-ttl";

/// One of a model's target names, by weight; `None` leaves the client's.
pub fn target_name(model: &PoolModel) -> Option<Arc<str>> {
    let total: u64 = model.targets.iter().map(|target| u64::from(target.weight)).sum();
    if total == 0 {
        return None;
    }
    let target = at_point(&model.targets, |target| target.weight, fastrand::u64(..total))?;
    Some(target.name.clone())
}

/// A request's priority: by the objective that it names (see [`OBJECTIVE_HEADERS`]) where the pool has one of that name, and else as the
/// model is configured: critical 1, standard 0, sheddable -1.
pub fn priority(pool: &Pool, model: Option<&PoolModel>, objective: Option<&str>) -> i32 {
    let of_model = || match model.map(|model| model.criticality).unwrap_or_default() {
        Criticality::Critical => 1,
        Criticality::Standard => 0,
        Criticality::Sheddable => -1,
    };
    objective.and_then(|name| pool.objectives.get(name).copied()).unwrap_or_else(of_model)
}

/// How important a request of this priority is.
pub fn criticality(priority: i32) -> Criticality {
    match priority {
        ..0 => Criticality::Sheddable,
        0 => Criticality::Standard,
        1.. => Criticality::Critical,
    }
}

/// How long a client lets its request wait, by the value of [`TIMEOUT_HEADER`]: whole milliseconds, or a number with the unit `ms`, `s`,
/// `m` or `h`. `None` where it is neither.
pub fn queue_timeout(value: &str) -> Option<Duration> {
    let value = value.trim();
    let digits = value.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = value.split_at(digits);
    let millis = match unit {
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    Some(Duration::from_millis(number.parse::<u64>().ok()?.saturating_mul(millis)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clients_timeout_is_milliseconds_or_has_a_unit() {
        let cases = [("250", 250), ("0", 0), (" 30s ", 30_000), ("5ms", 5), ("2m", 120_000), ("1h", 3_600_000)];
        for (text, millis) in cases {
            assert_eq!(queue_timeout(text), Some(Duration::from_millis(millis)), "{text:?}");
        }
        for text in ["", "s", "-1", "1.5s", "1d", "1 s", "99999999999999999999"] {
            assert_eq!(queue_timeout(text), None, "{text:?}");
        }
        assert!(queue_timeout("18446744073709551615h").is_some());
    }
}
