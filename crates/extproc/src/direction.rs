//! Direction of a message's part.

/// Direction in which a head, a piece of a body or trailers travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From client to backend.
    Request,
    /// From backend to client.
    Response,
}
