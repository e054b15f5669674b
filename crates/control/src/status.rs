//! The one writer of statuses.
//!
//! It merges an object's compiled status into the one that the API server has (`merge`): our conditions, our entries of
//! `parents` and `ancestors`, and nothing else. If the result differs, it writes the whole once, under the version that it read
//! (`write`). Only the leader writes (`writer`).
//!
//! The writer removes those of our conditions and entries that the compiler no longer makes. Conditions of other types, other
//! controllers' entries and fields that we do not know stay as they are, where they are.

mod conditions;
mod entries;
mod merge;
mod ours;
mod write;
pub(crate) mod writer;
