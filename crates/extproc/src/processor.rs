//! The proxy's side of external processing: a server sees the parts of a request and of its response, and may change them or answer
//! the client itself. Rules are those of Envoy's filter `envoy.filters.http.ext_proc`.
//!
//! A [`Session`] is one stream to a server, for one request. Its [`Lane`]s, one a direction, send [messages](message) and await
//! the answers. [`passage`] takes a body past the server piece by piece; a [`DrivenBody`] is what comes out of it. An [`Observer`] gets
//! copies, and nothing waits for it.

pub mod change;
mod driven;
mod lane;
pub mod message;
mod modes;
mod observed;
pub mod passage;
mod session;

pub use driven::{DrivenBody, Sink};
pub use lane::{Answer, Lane, Reply};
pub use modes::{BodyMode, DirectionModes, Modes};
pub use observed::Observer;
pub use session::{Ending, Limits, Refusal, Session};
