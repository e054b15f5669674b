//! The one writer of statuses.
//!
//! What the compiler says of an object is merged into the status that the API server has (`merge`): our conditions, our entries of
//! `parents` and `ancestors`, and nothing else. Where the two are equal, nothing is written; where they are not, the whole is written
//! once, under the version that was read (`write`). Only the leader writes (`writer`).
//!
//! Conditions that we no longer have anything to say with are taken away again, and so are entries of objects that are not ours any
//! more. Conditions of other types, other controllers' entries and fields that we do not know stay as they are, where they are.

mod conditions;
mod entries;
mod merge;
mod ours;
mod write;
pub(crate) mod writer;
