//! The proxy's side of the protocol, in `FULL_DUPLEX_STREAMED` mode.
//!
//! An [`EndpointRequest`] becomes the request that begins a conversation, with all of the body behind it, and a
//! [`PendingRequest`]. The response to that request makes it a [`Conversation`], which comes to a [`Verdict`]: a [`Choice`] of
//! endpoints, or an answer to the client. A [`Listener`] goes on after a choice, and a response passes through it as a
//! [`Processed`].
//!
//! Pickers differ, and these all work: the answer to the headers held back until the body has ended; all headers echoed,
//! pseudo-headers among them; pieces of a body answered one by one without a word about them; a body that is streamed back,
//! changed or not; a stream closed early, which lets things go on as they are.

mod conversation;
mod echo;
mod failure;
pub(crate) mod framing;
pub(crate) mod outbox;
mod processed;
mod request;

pub use conversation::{Choice, Conversation, Listener, Verdict};
pub use failure::Failure;
pub use outbox::{Outbox, SharedOutbox};
pub use processed::{Backend, NextFrame, Processed, ProcessedError};
pub use request::{EndpointRequest, PendingRequest};
