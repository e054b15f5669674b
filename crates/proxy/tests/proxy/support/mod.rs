//! Proxies, backends, clients and pickers that the tests share.

pub(crate) mod by_hand;
pub(crate) mod objects;
pub(crate) mod picked;
pub(crate) mod picker;
pub(crate) mod pki;
pub(crate) mod secured;
