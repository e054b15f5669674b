//! Surroundings of a request that passes filters, and the outcome.

use std::{net::IpAddr, sync::Arc};

use http::Response;
use pailou_limits::LlmCosts;
use pailou_snapshot::{GeoSources, ListenerName, RouteMatch, RouteName, RouteTable, Rule};
use tokio::time::Instant;

use super::client_place::ClientPlace;
use crate::{
    request_input::{Bounds, RequestInput},
    response_body::ResponseBody,
    runtime::Runtime,
    shared_limits::StoreBudget,
    worker::Connection,
};

/// Surroundings of a request that passes filters.
pub(crate) struct Stage<'a> {
    pub(crate) runtime: &'a Arc<Runtime>,
    pub(crate) connection: &'a Arc<Connection>,
    /// The client's address, as the listener finds it.
    pub(crate) client: IpAddr,
    /// Scheme that the client came by, as the listener finds it.
    pub(crate) scheme: &'static str,
    /// The listener.
    pub(crate) listener: &'a ListenerName,
    /// The entry that the request matched, once it is chosen.
    pub(crate) matched: Option<Matched<'a>>,
    /// When the request came.
    pub(crate) started: Instant,
    /// When all of the request must be through, as far as is known.
    pub(crate) deadline: Option<Instant>,
    /// Limits of a body that a filter reads.
    pub(crate) bounds: Bounds,
    /// Responses say what limits leave, unless a rule says otherwise.
    pub(crate) rate_limit_headers: bool,
    /// Costs of models' responses, and prices.
    pub(crate) costs: Option<&'a LlmCosts>,
    /// Databases of the places of addresses.
    pub(crate) geo: Option<&'a GeoSources>,
    /// Place of the client's address, once a rule has looked at it.
    pub(crate) place: &'a ClientPlace,
    /// Time that the store of shared limits has.
    pub(crate) store_budget: &'a StoreBudget,
}

impl<'a> Stage<'a> {
    /// The rule, once it is chosen.
    pub(super) fn rule(&self) -> Option<&'a Rule> {
        self.matched.map(|matched| &*matched.entry.rule)
    }

    /// Name of the rule's route, once it is chosen.
    pub(super) fn route(&self) -> Option<&'a RouteName> {
        self.rule().map(|rule| &rule.route)
    }
}

/// An entry of a listener's table.
#[derive(Clone, Copy)]
pub(crate) struct Matched<'a> {
    pub(crate) routes: &'a RouteTable,
    pub(crate) entry: &'a RouteMatch,
}

/// Outcome of the request halves.
pub(crate) enum Passage<T> {
    /// The request goes on, its body read where a filter needed it.
    Continue(T),
    /// The route is to be chosen again, with what a filter made of the request; then it passes the rest of the filters of whichever rule
    /// takes it. Listeners' filters never say so.
    Rematch(RequestInput),
    /// A filter answered.
    Reply(Box<Response<ResponseBody>>),
}
