//! Admission control of a BackendTrafficPolicy.

use std::time::Duration;

use http::StatusCode;

/// Refusal of requests, at random, while too few of those before them succeed (BackendTrafficPolicy `admissionControl`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdmissionControl {
    /// Time over which requests are counted, whole seconds, 1 s to 1 h. Default: 30 s.
    pub sampling_window: Duration,
    /// Share of successes from which on nothing is refused, percent, 1 to 100. Default: 95.
    pub min_success_rate: u32,
    /// How steeply refusals rise below that share, at least 1. Default: 1, linear.
    pub aggression: u32,
    /// Requests in a second below which nothing is refused. Default: 0.
    pub min_request_rate: u32,
    /// The largest share of requests that are refused, percent, 0 to 100. Default: 80.
    pub max_rejection_percent: u32,
    /// HTTP statuses of success; none means those below 500.
    pub http_success: Vec<StatusCode>,
    /// gRPC statuses of success: the bit of each is set.
    pub grpc_success: u32,
}

impl AdmissionControl {
    /// The longest window.
    pub const MAX_WINDOW: Duration = Duration::from_secs(3600);

    /// gRPC statuses that are successes by default, as in Envoy: all but DEADLINE_EXCEEDED, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE and
    /// DATA_LOSS.
    pub const GRPC_SUCCESS: u32 = !(1 << 4 | 1 << 8 | 1 << 13 | 1 << 14 | 1 << 15) & ((1 << 17) - 1);

    /// Whether an HTTP response with this status is a success.
    pub fn is_http_success(&self, status: StatusCode) -> bool {
        match &*self.http_success {
            [] => !status.is_server_error() && status.as_u16() < 600,
            listed => listed.contains(&status),
        }
    }

    /// Whether a gRPC response with this status is a success. A status that gRPC does not have is none.
    pub fn is_grpc_success(&self, status: u32) -> bool {
        status < u32::BITS && self.grpc_success >> status & 1 == 1
    }

    /// Share of requests to refuse, 0 to 1, after so many requests of which so many succeeded. Envoy's formula:
    /// `((requests − successes / minimum) / (requests + 1)) ^ (1 / aggression)`.
    pub fn rejection_probability(&self, requests: u64, successes: u64) -> f64 {
        let minimum = f64::from(self.min_success_rate) / 100.0;
        let missing = requests as f64 - successes as f64 / minimum;
        if missing <= 0.0 {
            return 0.0;
        }
        let probability = (missing / (requests as f64 + 1.0)).powf(1.0 / f64::from(self.aggression.max(1)));
        probability.min(f64::from(self.max_rejection_percent) / 100.0)
    }
}

impl Default for AdmissionControl {
    fn default() -> Self {
        Self {
            sampling_window: Duration::from_secs(30),
            min_success_rate: 95,
            aggression: 1,
            min_request_rate: 0,
            max_rejection_percent: 80,
            http_success: Vec::new(),
            grpc_success: Self::GRPC_SUCCESS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_of_refusals_follows_the_share_of_failures() {
        let control = AdmissionControl { max_rejection_percent: 100, ..AdmissionControl::default() };
        assert_eq!(control.rejection_probability(0, 0), 0.0);
        assert_eq!(control.rejection_probability(100, 95), 0.0, "as many succeed as have to");
        assert_eq!(control.rejection_probability(100, 100), 0.0);
        let half = control.rejection_probability(100, 50);
        assert!((half - (100.0 - 50.0 / 0.95) / 101.0).abs() < 1e-9, "{half}");
        let steep = AdmissionControl { aggression: 2, ..control.clone() };
        assert!((steep.rejection_probability(100, 50) - half.sqrt()).abs() < 1e-9);
        assert_eq!(AdmissionControl::default().rejection_probability(1000, 0), 0.8, "some requests find out whether it is over");
    }

    #[test]
    fn successes_are_those_listed_or_what_envoy_takes_for_one() {
        let control = AdmissionControl::default();
        assert!(control.is_http_success(StatusCode::NOT_FOUND) && !control.is_http_success(StatusCode::BAD_GATEWAY));
        let failures: Vec<u32> = (0..40).filter(|status| !control.is_grpc_success(*status)).collect();
        assert_eq!(failures, [vec![4, 8, 13, 14, 15], (17..40).collect()].concat());
        let listed = AdmissionControl { http_success: vec![StatusCode::OK], grpc_success: 1 << 14, ..control };
        assert!(!listed.is_http_success(StatusCode::CREATED) && listed.is_http_success(StatusCode::OK));
        assert!(listed.is_grpc_success(14) && !listed.is_grpc_success(0));
    }
}
