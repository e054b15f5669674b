//! Forms of trace context that a gateway reads and writes (`OTEL_PROPAGATORS`).

use std::fmt;

/// Forms of trace context. `baggage` is passed on whatever they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagators {
    /// W3C's `traceparent` and `tracestate`.
    pub has_trace_context: bool,
    /// The header `b3`.
    pub has_b3: bool,
    /// The headers `X-B3-…`.
    pub has_b3_multiple: bool,
}

/// Propagators that are not known, or cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPropagator(pub String);

impl fmt::Display for UnknownPropagator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OTEL_PROPAGATORS: {:?}: expected tracecontext, baggage, b3, b3multi or none", self.0)
    }
}

impl std::error::Error for UnknownPropagator {}

impl Default for Propagators {
    /// OpenTelemetry's: `tracecontext,baggage`.
    fn default() -> Self {
        Self { has_trace_context: true, has_b3: false, has_b3_multiple: false }
    }
}

impl Propagators {
    /// Nothing is read or written.
    pub const NONE: Self = Self { has_trace_context: false, has_b3: false, has_b3_multiple: false };

    /// Reads a list that commas divide.
    ///
    /// # Errors
    /// The first name that is not known.
    pub fn parse(list: &str) -> Result<Self, UnknownPropagator> {
        let mut found = Self::NONE;
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "tracecontext" => found.has_trace_context = true,
                "b3" => found.has_b3 = true,
                "b3multi" => found.has_b3_multiple = true,
                "baggage" => {}
                "none" => return Ok(Self::NONE),
                other => return Err(UnknownPropagator(other.to_owned())),
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_the_forms() {
        let parse = |list| Propagators::parse(list).unwrap();
        assert_eq!(parse("tracecontext,baggage"), Propagators::default());
        assert_eq!(parse(" b3 , b3multi"), Propagators { has_trace_context: false, has_b3: true, has_b3_multiple: true });
        assert_eq!(parse("b3,none"), Propagators::NONE);
        assert!(Propagators::parse("jaeger").unwrap_err().to_string().contains("b3multi"));
    }
}
