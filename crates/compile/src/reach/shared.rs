//! Lookups that all Gateways and routes share.

use crate::{
    Settings, class,
    gateway::Gateways,
    ids::{ById, GatewayId},
    index::Index,
    status::Statuses,
};
use pailou_api::refs::FromNamespaces;

use super::{models::Models, policies::Policies};

/// An index, and what a walk along references needs to have at hand.
pub(super) struct Shared<'a> {
    pub(super) settings: &'a Settings,
    pub(super) gateways: Gateways<'a>,
    /// By Gateway: whether a listener of it chooses routes by the labels of their namespaces.
    pub(super) by_labels: ById<GatewayId, bool>,
    pub(super) policies: Policies<'a>,
    pub(super) models: Models<'a>,
}

impl<'a> Shared<'a> {
    pub(super) fn new(index: &Index<'a>, settings: &'a Settings) -> Self {
        let mut undecodable = Statuses::default();
        let classes = class::classes(index, settings, &mut undecodable);
        let gateways = Gateways::new(index, &classes, settings, &mut undecodable);
        let by_labels = gateways.list.iter().map(|(_, state)| {
            let mut listeners = state.listeners.iter();
            listeners.any(|it| it.spec.allowed_routes.namespaces.from == FromNamespaces::Selector)
        });
        let by_labels = by_labels.collect();
        Self { settings, by_labels, gateways, policies: Policies::new(index), models: Models::new(index) }
    }
}
