//! Traces and metrics for collectors by OpenTelemetry's variables of the environment.
//!
//! Traces are on where a variable names a collector, or `OTEL_TRACES_EXPORTER` is `otlp`; metrics where a variable names a collector of metrics,
//! or `OTEL_METRICS_EXPORTER` is `otlp`. As the specification has it, a value that is not
//! known is reported and passed over; one without which no collector can be reached is an error.

mod endpoint;
mod metrics;
mod model_spans;
mod resource;

pub(crate) use metrics::read as read_metrics;
pub(crate) use model_spans::read as read_model_spans;

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use http::{HeaderName, HeaderValue};
use pailou_snapshot::{Batching, Collector, CollectorTarget, OtlpProtocol, Tracing};
use pailou_telemetry::{
    export::Signal,
    propagators::Propagators,
    sampling::{Sampler, SamplerError},
};

use crate::exit::Error;

/// Reader of a variable by its name.
pub(crate) type Variables<'v> = dyn Fn(&str) -> Option<String> + 'v;

/// Settings of traces; `None` where there are to be none.
///
/// # Errors
/// No collector could be reached with what a variable says.
pub(crate) fn read(variables: &Variables<'_>) -> Result<Option<Tracing>, Error> {
    let variables = Reader { variables, signal: Signal::Traces };
    if variables.is_disabled() || !is_wanted(&variables) {
        return Ok(None);
    }
    let defaults = Batching::default();
    let milliseconds = |name, default: Duration| variables.number(name).map_or(default, Duration::from_millis);
    let count = |name, default| variables.number(name).filter(|&number: &usize| number > 0).unwrap_or(default);
    let max_queue_size = count("OTEL_BSP_MAX_QUEUE_SIZE", defaults.max_queue_size);
    Ok(Some(Tracing {
        sampler: sampler(&variables),
        propagators: propagators(&variables),
        resource: resource::read(&variables),
        collector: collector(&variables)?,
        custom: None,
        batching: Batching {
            schedule_delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", defaults.schedule_delay),
            max_queue_size,
            max_batch_size: count("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", defaults.max_batch_size).min(max_queue_size),
            export_timeout: variables.timeout("OTEL_BSP_EXPORT_TIMEOUT").unwrap_or(defaults.export_timeout),
        },
    }))
}

/// The collector of a signal.
fn collector(variables: &Reader<'_>) -> Result<Collector, Error> {
    let protocol = protocol(variables);
    Ok(Collector {
        target: CollectorTarget::Url(endpoint::read(variables, protocol)?.into()),
        protocol,
        headers: headers(variables)?,
        timeout: variables.of_signal_timeout("TIMEOUT").unwrap_or(Duration::from_secs(10)),
        is_compressed: is_compressed(variables),
    })
}

/// Whether there is a collector of spans to send to.
fn is_wanted(variables: &Reader<'_>) -> bool {
    match variables.text("OTEL_TRACES_EXPORTER").as_deref() {
        Some("otlp") => true,
        Some("none") => false,
        Some(other) => {
            tracing::warn!("OTEL_TRACES_EXPORTER: {other:?}: expected otlp or none; there are no traces");
            false
        }
        None => variables.of_signal("ENDPOINT").is_some(),
    }
}

fn sampler(variables: &Reader<'_>) -> Sampler {
    let Some(name) = variables.text("OTEL_TRACES_SAMPLER") else { return Sampler::default() };
    let argument = variables.text("OTEL_TRACES_SAMPLER_ARG");
    match Sampler::parse(&name, argument.as_deref()) {
        Err(error @ SamplerError::Argument(_)) => {
            tracing::warn!("{error}; the ratio is 1.0");
            Sampler::parse(&name, None).unwrap_or_default()
        }
        read => read.unwrap_or_else(|error| passed_over(&error)),
    }
}

/// The propagators that are known; the default where none is.
fn propagators(variables: &Reader<'_>) -> Propagators {
    let Some(list) = variables.text("OTEL_PROPAGATORS") else { return Propagators::default() };
    let is_known = |name: &&str| match Propagators::parse(name) {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!("{error}; it is passed over");
            false
        }
    };
    let known: Vec<&str> = list.split(',').filter(|name| !name.trim().is_empty()).filter(is_known).collect();
    if known.is_empty() { Propagators::default() } else { Propagators::parse(&known.join(",")).unwrap_or_default() }
}

fn protocol(variables: &Reader<'_>) -> OtlpProtocol {
    match variables.of_signal("PROTOCOL").as_ref().map(|(name, text)| (name, text.as_str())) {
        Some((_, "grpc")) => OtlpProtocol::Grpc,
        None | Some((_, "http/protobuf")) => OtlpProtocol::HttpProtobuf,
        Some((name, other)) => {
            tracing::warn!("{name}: {other:?}: expected grpc or http/protobuf; http/protobuf is in force");
            OtlpProtocol::HttpProtobuf
        }
    }
}

fn is_compressed(variables: &Reader<'_>) -> bool {
    match variables.of_signal("COMPRESSION").as_ref().map(|(name, text)| (name, text.as_str())) {
        Some((_, "gzip")) => true,
        None | Some((_, "none")) => false,
        Some((name, other)) => {
            tracing::warn!("{name}: {other:?}: expected gzip or none; nothing is compressed");
            false
        }
    }
}

/// Headers of requests to the collector. An error does not repeat them, since credentials are among them.
fn headers(variables: &Reader<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Error> {
    let Some((variable, list)) = variables.of_signal("HEADERS") else { return Ok(Vec::new()) };
    let pairs = pairs(&list).ok_or_else(|| Error::TelemetryVariable {
        variable: variable.clone(),
        problem: "expected name=value pairs with commas between them, and values percent-encoded".to_owned(),
    })?;
    let header = |(place, (name, value)): (usize, (String, String))| {
        // Neither part is repeated: where `:` stands for `=`, what is taken for the name has the credential.
        let problem = format!("pair {} makes no header; expected name=value", place + 1);
        let error = || Error::TelemetryVariable { variable: variable.clone(), problem: problem.clone() };
        let mut value = HeaderValue::try_from(value).map_err(|_| error())?;
        value.set_sensitive(true);
        Ok((name.to_ascii_lowercase(), (HeaderName::try_from(name).map_err(|_| error())?, value)))
    };
    let headers: BTreeMap<_, _> = pairs.into_iter().enumerate().map(header).collect::<Result<_, Error>>()?;
    Ok(headers.into_values().collect())
}

/// Pairs of W3C's baggage: `name=value`, with commas between them, values percent-encoded. `None` where it is none.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let pair = |text: &str| {
        let (name, value) = text.split_once('=')?;
        let value = percent_encoding::percent_decode_str(value.trim()).decode_utf8().ok()?;
        Some((name.trim().to_owned(), value.into_owned())).filter(|(name, _)| !name.is_empty())
    };
    list.split(',').map(str::trim).filter(|text| !text.is_empty()).map(pair).collect()
}

/// Reports a value that is not known; gives the default.
fn passed_over<T: Default>(error: &dyn fmt::Display) -> T {
    tracing::warn!("{error}; the default is in force");
    T::default()
}

/// Variables of the environment. One that is empty counts as not set.
struct Reader<'v> {
    variables: &'v Variables<'v>,
    signal: Signal,
}

impl Reader<'_> {
    fn text(&self, name: &str) -> Option<String> {
        let text = (self.variables)(name)?;
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn number<T: FromStr>(&self, name: &str) -> Option<T> {
        let text = self.text(name)?;
        let number = text.parse().ok();
        if number.is_none() {
            tracing::warn!("{name}: {text:?}: expected a whole number from 0; the default is in force");
        }
        number
    }

    /// A time in milliseconds within which something has to be done; none would have it fail always.
    fn timeout(&self, name: &str) -> Option<Duration> {
        let milliseconds: u64 = self.number(name)?;
        if milliseconds == 0 {
            tracing::warn!("{name}: 0: expected 1 or more; the default is in force");
        }
        Some(Duration::from_millis(milliseconds)).filter(|timeout| !timeout.is_zero())
    }

    /// Whether there is no telemetry at all.
    fn is_disabled(&self) -> bool {
        self.text("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true"))
    }

    /// The signal's part of names.
    fn signal_name(&self) -> &'static str {
        match self.signal {
            Signal::Traces => "TRACES",
            Signal::Logs => "LOGS",
            Signal::Metrics => "METRICS",
        }
    }

    /// A variable of the exporter: for the signal, else for all. With its name.
    fn of_signal(&self, end: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_{}_{end}", self.signal_name()), format!("OTEL_EXPORTER_OTLP_{end}")];
        names.into_iter().find_map(|name| self.text(&name).map(|text| (name, text)))
    }

    fn of_signal_timeout(&self, end: &str) -> Option<Duration> {
        self.of_signal(end).and_then(|(name, _)| self.timeout(&name))
    }
}

#[cfg(test)]
mod tests;
