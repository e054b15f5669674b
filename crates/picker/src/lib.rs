//! Picks the replica of a self-hosted model that serves a request best.
//!
//! A [`PoolState`] holds what is known of one InferencePool's endpoints. [`PoolState::pick`] orders them for a request and reserves
//! a place at the best; the [`Picked`] it returns is that reservation, moves to the next best when an endpoint fails, and ends
//! when it is dropped. In reading order:
//!
//! - `pick`: one request, from eligible endpoints to a reservation;
//! - `load`: what an endpoint has to do now, from its last scrape and what was sent and ended since;
//! - `score`: load against prefix and adapter affinity;
//! - `prefix`: which prompts' beginnings are probably in which endpoint's cache;
//! - `scrape`, `metrics`: engines' own figures, in the few names that are needed;
//! - `receipt`: why an endpoint was chosen;
//! - `terms`: what a pool's objects say of a request: its priority, and the model's name for the engine.

mod endpoint;
mod failures;
mod load;
mod metrics;
mod pick;
mod picked;
mod prefix;
mod receipt;
mod score;
mod scrape;
mod state;
mod terms;
#[cfg(test)]
mod testing;

pub use self::pick::{PickError, PickRequest};
pub use self::picked::Picked;
pub use self::receipt::{Receipt, Scored};
pub use self::state::{EndpointReport, PoolState};
pub use self::terms::{OBJECTIVE_HEADERS, criticality, target_name};
