//! Targets of whole connections, and of clients' datagrams.

use std::{sync::Arc, time::Duration};

use super::{AuthorizationFilter, Backends, CircuitBreaker, Failure, RouteName};

/// The rule of a TLSRoute, TCPRoute or UDPRoute, with every policy that applies to it resolved.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Identity of the rule.
    pub route: RouteName,
    /// Backends of connections, in proportion to weights; or why there is none, and connections are closed.
    pub backends: Result<Backends, Failure>,
    /// Rules over the addresses of clients; `None` admits all.
    pub authorization: Option<Arc<AuthorizationFilter>>,
    /// To open a connection to an endpoint. Default: 10 s.
    pub connect: Duration,
    /// Limits of the backends' breakers, of which those of connections hold; `None` sets none.
    pub breaker: Option<CircuitBreaker>,
}
