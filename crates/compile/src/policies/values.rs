//! Values of policies that cannot be had.

use http::StatusCode;

use crate::status::Problem;

/// A value that cannot be had.
pub(crate) fn invalid(message: &str) -> Problem {
    Problem::accepted("Invalid", format!("spec.{message}"))
}

/// Statuses as numbers, checked.
pub(crate) fn statuses(numbers: &[u16]) -> Result<Vec<StatusCode>, Problem> {
    let read = |number: &u16| StatusCode::from_u16(*number).map_err(|_| invalid(&format!("{number} is no HTTP status")));
    numbers.iter().map(read).collect()
}
