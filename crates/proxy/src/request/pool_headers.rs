//! Headers of a request that say how it is to be picked for.

use http::{HeaderMap, HeaderValue};
use pailou_picker::{OBJECTIVE_HEADERS, Objective, TPOT_HEADERS, TTFT_HEADERS};

/// Values of these headers, the newer name of each first.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PoolHeaders<'a> {
    objective: [Option<&'a str>; 2],
    ttft: [Option<&'a str>; 2],
    tpot: [Option<&'a str>; 2],
}

impl<'a> PoolHeaders<'a> {
    /// Reads them in one pass: few requests have any, and most names differ from these in their length.
    pub(super) fn read(headers: &'a HeaderMap) -> Self {
        let mut read = Self::default();
        for (name, value) in headers {
            read.note(name.as_str(), value);
        }
        read
    }

    fn note(&mut self, name: &str, value: &'a HeaderValue) {
        for (names, values) in
            [(&OBJECTIVE_HEADERS, &mut self.objective), (&TTFT_HEADERS, &mut self.ttft), (&TPOT_HEADERS, &mut self.tpot)]
        {
            for (known, found) in names.iter().zip(values) {
                if name == *known && found.is_none() {
                    *found = value.to_str().ok();
                }
            }
        }
    }

    /// Name of the InferenceObjective.
    pub(super) fn inference_objective(&self) -> Option<&'a str> {
        self.objective[0].or(self.objective[1])
    }

    /// Times that the client wants kept.
    pub(super) fn objective(&self) -> Objective {
        Objective::new(self.ttft[0].or(self.ttft[1]), self.tpot[0].or(self.tpot[1]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newer_names_come_before_older_ones() {
        let mut headers = HeaderMap::new();
        for (name, value) in [
            ("x-gateway-inference-objective", "old"),
            ("x-slo-ttft-ms", "300"),
            ("x-llm-d-slo-ttft-ms", "200"),
            ("x-slo-tpot-ms", "10"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let read = PoolHeaders::read(&headers);
        assert_eq!(read.inference_objective(), Some("old"));
        assert_eq!(read.objective(), Objective::new(Some("200"), Some("10")));
        headers.insert("x-llm-d-inference-objective", HeaderValue::from_static("new"));
        assert_eq!(PoolHeaders::read(&headers).inference_objective(), Some("new"));
    }
}
