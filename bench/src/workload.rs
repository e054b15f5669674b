//! Workloads: kinds of requests, their pace, and the gateway's setup.

use std::time::Duration;

use clap::ValueEnum;
use serde::{Serialize, Serializer};

/// Server-sent events in one streamed answer, the last one being `[DONE]`.
pub(crate) const CHUNKS: u32 = 200;

/// A kind of load, by the name it has on the command line and in results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Prompts of 200 bytes, 32 connections.
    #[value(name = "200b")]
    Small,
    /// As 200b, of a gateway with two threads on two cores.
    #[value(name = "2-cores")]
    TwoCores,
    /// As 200b, of a caller with an API key, three limits on its requests and a budget of tokens.
    #[value(name = "limits")]
    Limits,
    /// As 200b, of a caller whose JSON Web Token was seen before.
    #[value(name = "jwt")]
    Jwt,
    /// As 200b, of callers with so many JSON Web Tokens that each is new.
    #[value(name = "jwt-new")]
    NewJwt,
    /// As 200b, with spans, metrics and receipts of a hundredth of the requests.
    #[value(name = "telemetry-1")]
    SomeTelemetry,
    /// As 200b, with spans, metrics and receipts of every request.
    #[value(name = "telemetry-100")]
    AllTelemetry,
    /// Prompts of 32 KiB, 32 connections.
    #[value(name = "32k")]
    Medium,
    /// Prompts of 1 MiB, 32 connections.
    #[value(name = "1m")]
    Large,
    /// 16 streams of 200 server-sent events.
    #[value(name = "sse-16")]
    FewStreams,
    /// 256 streams of 200 server-sent events.
    #[value(name = "sse-256")]
    ManyStreams,
    /// Memory of 1,000 streams in which nothing happens.
    #[value(name = "idle-1000")]
    IdleThousand,
    /// Memory of 10,000 streams in which nothing happens.
    #[value(name = "idle-10000")]
    IdleTenThousand,
    /// Time from the start of the process to its first answer, and its memory then.
    Start,
    /// Requests that are for no model, without a body.
    Plain,
    /// 32 KiB that are for no model.
    #[value(name = "plain-32k")]
    PlainBody,
    /// Prompts of 200 bytes by 10 routes on 2 host names.
    #[value(name = "routes-10")]
    FewRoutes,
    /// Prompts of 200 bytes by 5,000 routes on 1,000 host names.
    #[value(name = "routes-5000")]
    ManyRoutes,
    /// As 200b, with TLS on both sides.
    Tls,
    /// As 200b, with HTTP/2 without TLS on both sides, 4 connections of 8 streams.
    H2,
    /// Controller and proxy in a cluster, in which routes come one by one.
    Cluster,
}

/// Properties of a workload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// As it is called in tables.
    pub(crate) title: &'static str,
    pub(crate) kind: Kind,
    pub(crate) setup: Setup,
    /// Whether requests are for a model.
    pub(crate) model: bool,
    /// Bytes of a request's body.
    pub(crate) body: usize,
    /// Requests at a time.
    pub(crate) connections: u32,
    /// Threads and cores of the gateway.
    pub(crate) threads: u8,
}

/// Figure to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Whole answers; the paced phase has so many requests in a second.
    Requests(u32),
    /// Streams with this time between two chunks.
    Streams(Duration),
    /// So many streams that stay open and silent.
    Idle(u32),
    /// Starts of the process.
    Start,
    /// Routes that come, in a cluster.
    Cluster,
}

/// Setup of a gateway, by its name in configuration files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setup {
    /// HTTP/1.1 without TLS.
    Clear,
    /// HTTP/1.1 over TLS to and from it.
    Tls,
    /// HTTP/2 without TLS to and from it.
    H2,
    /// As `Clear`, with five routes on each of so many host names.
    Routes(u32),
    /// As `Clear`, with an API key, limits and a budget.
    Limits,
    /// As `Clear`, with so many JSON Web Tokens in turn.
    Jwt(u32),
    /// As `Clear`, with a collector for spans and metrics, and receipts; spans and receipts are of this share of the requests.
    Telemetry(Sampled),
}

/// Share of requests that have spans and receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sampled {
    Hundredth,
    All,
}

/// Tokens of callers whose token is new: several times as many as a gateway remembers.
const NEW_TOKENS: u32 = 16_384;

const MODEL: Shape =
    Shape { title: "", kind: Kind::Requests(8000), setup: Setup::Clear, model: true, body: 200, connections: 32, threads: 1 };
const STREAMS: Shape = Shape { kind: Kind::Streams(Duration::from_millis(5)), connections: 16, ..MODEL };
const PLAIN: Shape = Shape { model: false, body: 0, ..MODEL };
const ROUTES: Shape = Shape { kind: Kind::Requests(6000), ..MODEL };

impl Workload {
    /// All workloads in the order of the results. The comparison of a workload comes right before it.
    pub(crate) fn groups() -> &'static [&'static [Self]] {
        &[
            &[Self::Small, Self::TwoCores, Self::Limits, Self::Jwt, Self::NewJwt, Self::SomeTelemetry, Self::AllTelemetry],
            &[Self::Medium],
            &[Self::Large],
            &[Self::FewStreams],
            &[Self::ManyStreams],
            &[Self::IdleThousand],
            &[Self::IdleTenThousand],
            &[Self::Start],
            &[Self::Plain],
            &[Self::PlainBody],
            &[Self::FewRoutes, Self::ManyRoutes],
            &[Self::Tls],
            &[Self::H2],
            &[Self::Cluster],
        ]
    }

    /// Its properties.
    pub(crate) fn shape(self) -> Shape {
        let every = |millis| Kind::Streams(Duration::from_millis(millis));
        match self {
            Self::Small => Shape { title: "200 B prompts, 32 connections", ..MODEL },
            Self::TwoCores => Shape { title: "200 B prompts, a gateway with two cores", threads: 2, ..MODEL },
            Self::Limits => {
                Shape { title: "200 B prompts, an API key, three limits, a token budget", setup: Setup::Limits, ..MODEL }
            }
            Self::Jwt => Shape { title: "200 B prompts, a token seen before", setup: Setup::Jwt(1), ..MODEL },
            Self::NewJwt => Shape { title: "200 B prompts, a new token each", setup: Setup::Jwt(NEW_TOKENS), ..MODEL },
            Self::SomeTelemetry => Shape {
                title: "200 B prompts, spans and receipts of 1 %, metrics",
                setup: Setup::Telemetry(Sampled::Hundredth),
                ..MODEL
            },
            Self::AllTelemetry => {
                Shape { title: "200 B prompts, spans and receipts of all, metrics", setup: Setup::Telemetry(Sampled::All), ..MODEL }
            }
            Self::Medium => Shape { title: "32 KiB prompts, 32 connections", kind: Kind::Requests(4000), body: 32 << 10, ..MODEL },
            Self::Large => Shape { title: "1 MiB prompts, 32 connections", kind: Kind::Requests(200), body: 1 << 20, ..MODEL },
            Self::FewStreams => Shape { title: "SSE, 200 chunks, 16 streams", ..STREAMS },
            Self::ManyStreams => Shape { title: "SSE, 200 chunks, 256 streams", kind: every(10), connections: 256, ..STREAMS },
            Self::IdleThousand => Shape { title: "1,000 idle streams", kind: Kind::Idle(1000), ..MODEL },
            Self::IdleTenThousand => Shape { title: "10,000 idle streams", kind: Kind::Idle(10_000), ..MODEL },
            Self::Start => Shape { title: "Start to first response", kind: Kind::Start, ..MODEL },
            Self::Plain => Shape { title: "No model: GET, 32 connections", ..PLAIN },
            Self::PlainBody => {
                Shape { title: "No model: POST of 32 KiB, 32 connections", kind: Kind::Requests(4000), body: 32 << 10, ..PLAIN }
            }
            Self::FewRoutes => Shape { title: "200 B prompts, 10 routes on 2 host names", setup: Setup::Routes(2), ..ROUTES },
            Self::ManyRoutes => {
                Shape { title: "200 B prompts, 5,000 routes on 1,000 host names", setup: Setup::Routes(1000), ..ROUTES }
            }
            Self::Tls => {
                Shape { title: "200 B prompts, TLS on both sides", kind: Kind::Requests(4000), setup: Setup::Tls, ..MODEL }
            }
            Self::H2 => {
                Shape { title: "200 B prompts, HTTP/2 on both sides", kind: Kind::Requests(4000), setup: Setup::H2, ..MODEL }
            }
            Self::Cluster => {
                Shape { title: "Controller and proxy, 1,000 routes, then 200 one by one", kind: Kind::Cluster, ..PLAIN }
            }
        }
    }

    /// The workload whose cost this one's is compared with, of the same gateway.
    pub(crate) fn base(self) -> Option<Self> {
        match self {
            Self::TwoCores | Self::Limits | Self::Jwt | Self::NewJwt | Self::SomeTelemetry | Self::AllTelemetry => {
                Some(Self::Small)
            }
            Self::ManyRoutes => Some(Self::FewRoutes),
            _ => None,
        }
    }

    /// As it is called on the command line.
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it measures what only this gateway is configured for here.
    pub(crate) fn is_of_policies(self) -> bool {
        matches!(self.shape().setup, Setup::Limits | Setup::Jwt(_) | Setup::Telemetry(_))
    }

    /// Whether answers are streams.
    pub(crate) fn streams(self) -> bool {
        matches!(self.shape().kind, Kind::Streams(_))
    }
}

impl Setup {
    /// As configuration files call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Clear => "clear",
            Self::Tls => "tls",
            Self::H2 => "h2",
            Self::Routes(_) => "routes",
            Self::Limits => "limits",
            Self::Jwt(_) => "jwt",
            Self::Telemetry(Sampled::Hundredth) => "telemetry1",
            Self::Telemetry(Sampled::All) => "telemetry100",
        }
    }

    /// Host names that have routes of their own.
    pub(crate) fn hosts(self) -> u32 {
        if let Self::Routes(hosts) = self { hosts } else { 0 }
    }

    /// JSON Web Tokens of its callers.
    pub(crate) fn tokens(self) -> u32 {
        if let Self::Jwt(tokens) = self { tokens } else { 0 }
    }
}

impl Serialize for Workload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_in_one_group_after_what_it_is_compared_with() {
        let listed: Vec<Workload> = Workload::groups().concat();
        assert_eq!(listed, Workload::value_variants());
        for group in Workload::groups() {
            for (place, workload) in group.iter().enumerate() {
                assert!(workload.base().is_none_or(|base| group[..place].contains(&base)), "{workload:?}");
            }
        }
    }
}
