//! Values of policies that cannot be had.

use http::StatusCode;
use pailou_snapshot::normal_pattern;

use crate::status::Problem;

/// A value that cannot be had.
pub(crate) fn invalid(message: &str) -> Problem {
    Problem::accepted("Invalid", format!("spec.{message}"))
}

/// A path that requests' paths are compared with, in the normal form that those have.
pub(crate) fn path(field: &str, path: &str) -> Result<Box<str>, Problem> {
    let normal = normal_pattern(path).ok_or_else(|| {
        invalid(&format!("{field}: {path:?} matches no request: paths are compared without dot segments and null bytes"))
    })?;
    Ok(normal.into())
}

/// Statuses as numbers, checked.
pub(crate) fn statuses(numbers: &[u16]) -> Result<Vec<StatusCode>, Problem> {
    let read = |number: &u16| StatusCode::from_u16(*number).map_err(|_| invalid(&format!("{number} is no HTTP status")));
    numbers.iter().map(read).collect()
}
