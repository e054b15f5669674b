//! Port numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A TCP or UDP port, 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "u16")]
pub struct PortNumber(u16);

/// A number outside 1 to 65535.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a port: use a number from 1 to 65535")]
pub struct InvalidPort(i64);

impl PortNumber {
    /// The number.
    pub fn get(self) -> u16 {
        self.0
    }
}

impl TryFrom<i64> for PortNumber {
    type Error = InvalidPort;
    fn try_from(number: i64) -> Result<PortNumber, InvalidPort> {
        match u16::try_from(number) {
            Ok(port) if port > 0 => Ok(PortNumber(port)),
            _ => Err(InvalidPort(number)),
        }
    }
}

impl From<PortNumber> for u16 {
    fn from(port: PortNumber) -> u16 {
        port.0
    }
}

impl fmt::Display for PortNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_run_from_1_to_65535() {
        assert_eq!(PortNumber::try_from(65_535).map(PortNumber::get), Ok(65_535));
        for bad in [0, -1, 65_536] {
            assert_eq!(PortNumber::try_from(bad), Err(InvalidPort(bad)));
        }
    }
}
