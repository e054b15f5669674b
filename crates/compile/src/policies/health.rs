//! Health checks of BackendTrafficPolicy.

use http::{Method, StatusCode};

use crate::status::Problem;
use pailou_api::envoy::health_check::{ActiveHealthCheck, ActiveHealthCheckType, PassiveHealthCheck};
use pailou_snapshot::{ActiveCheck, HealthProbe, PassiveCheck};

use super::values::{invalid, statuses};

/// Envoy's panic threshold, percent.
pub(crate) const PANIC_THRESHOLD: u8 = 50;

pub(crate) fn active(spec: &ActiveHealthCheck) -> Result<ActiveCheck, Problem> {
    Ok(ActiveCheck {
        timeout: spec.timeout.as_std(),
        interval: spec.interval.as_std(),
        unhealthy_threshold: spec.unhealthy_threshold,
        healthy_threshold: spec.healthy_threshold,
        probe: probe(spec)?,
    })
}

fn probe(spec: &ActiveHealthCheck) -> Result<HealthProbe, Problem> {
    match spec.kind {
        ActiveHealthCheckType::Tcp => Ok(HealthProbe::Tcp),
        ActiveHealthCheckType::Grpc => {
            let service = spec.grpc.as_ref().and_then(|it| it.service.as_deref()).unwrap_or_default();
            Ok(HealthProbe::Grpc { service: service.into() })
        }
        ActiveHealthCheckType::Http => {
            let http = spec.http.as_ref().ok_or_else(|| invalid("healthCheck.active.http: is required with type HTTP"))?;
            let method = http.method.as_deref().unwrap_or("GET");
            let method = Method::from_bytes(method.as_bytes())
                .map_err(|_| invalid(&format!("healthCheck.active.http.method: {method} is no method")))?;
            let expected = statuses(&http.expected_statuses)?;
            Ok(HealthProbe::Http {
                hostname: http.hostname.as_deref().map(Into::into),
                path: http.path.as_str().into(),
                method,
                statuses: if expected.is_empty() { vec![StatusCode::OK] } else { expected },
            })
        }
    }
}

pub(crate) fn passive(spec: &PassiveHealthCheck) -> PassiveCheck {
    let count = |count: u32| (count > 0).then_some(count);
    PassiveCheck {
        interval: spec.interval.as_std(),
        consecutive_5xx: count(spec.consecutive_5xx_errors),
        consecutive_gateway_errors: spec.consecutive_gateway_errors.and_then(count),
        base_ejection: spec.base_ejection_time.as_std(),
        max_ejection_percent: percent(spec.max_ejection_percent),
    }
}

/// A percentage, at most 100.
pub(crate) fn percent(number: u32) -> u8 {
    u8::try_from(number.min(100)).unwrap_or(100)
}
