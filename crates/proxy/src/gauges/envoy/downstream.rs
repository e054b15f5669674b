//! Clients' requests and connections, as `envoy_http_downstream_*`, `envoy_listener_*` and `envoy_tcp_downstream_*`.

use std::{collections::BTreeMap, fmt, net::SocketAddr, sync::atomic::Ordering::Relaxed};

use pailou_telemetry::metric_table::{counters, gauges, histograms};
use prometheus_client::encoding::DescriptorEncoder;

use super::Total;
use crate::{
    context::Context,
    gauges::certificates,
    metrics::envoy_series::CLASSES,
    runtime::Runtime,
    server::{PortProtocol, Ports},
};

const PREFIX: &str = "envoy_http_conn_manager_prefix";

/// Figures of a port for HTTP.
#[derive(Default)]
struct Http {
    requests: Total,
    received: u64,
    sent: u64,
    connections: u64,
    open: u64,
}

pub(super) fn encode(encoder: &mut DescriptorEncoder<'_>, context: &Context, runtime: &Runtime, ports: &Ports) -> fmt::Result {
    let ports = ports.connections();
    let mut by_prefix = BTreeMap::<String, Http>::new();
    context.metrics.envoy.each_port(|key, series| {
        let prefix = key.map_or_else(|| "other".to_owned(), |key| prefix(key.is_tls, key.port));
        let http = by_prefix.entry(prefix).or_default();
        http.requests.add(&series.requests);
        http.received += series.request_bytes.load(Relaxed);
        http.sent += series.response_bytes.load(Relaxed);
    });
    for port in &ports {
        if port.protocol == PortProtocol::Other {
            continue;
        }
        let http = by_prefix.entry(prefix(port.protocol == PortProtocol::Tls, port.address.port())).or_default();
        http.connections += port.accepted;
        http.open += port.open;
    }
    let rows = by_prefix.iter().map(|(prefix, http)| ([(PREFIX, prefix.as_str())], http));
    encode_http(encoder, &rows.collect::<Vec<_>>())?;
    let open = ports.iter().map(|port| (listener_address(port.address), port.open as f64));
    let open: Vec<_> = open.collect();
    let rows = open.iter().map(|(address, open)| ([("envoy_listener_address", address.as_str())], *open));
    gauges(encoder, "envoy_listener_downstream_cx_active", "Connections of clients", rows)?;
    let certificates = certificates::all(runtime);
    let rows: Vec<_> = certificates.iter().map(|it| (listener_address(it.address), it)).collect();
    let rows = rows.iter().map(|(address, it)| {
        (
            [
                ("envoy_listener_address", address.as_str()),
                ("envoy_ssl_cert_name", it.listener.as_str()),
                ("certificate", &it.place),
            ],
            it.end,
        )
    });
    let name = "envoy_listener_ssl_certificate_expiration_unix_time_seconds";
    gauges(encoder, name, "End of the validity of a certificate", rows)?;
    tcp(encoder, context)
}

fn listener_address(address: SocketAddr) -> String {
    format!("{}_{}", address.ip(), address.port())
}

type Row<'a> = ([(&'static str, &'a str); 1], &'a Http);

fn encode_http(encoder: &mut DescriptorEncoder<'_>, all: &[Row<'_>]) -> fmt::Result {
    type Read = fn(&Http) -> u64;
    let totals: [(&str, &str, Read); 4] = [
        ("envoy_http_downstream_rq", "Requests that have ended", |http| http.requests.count()),
        ("envoy_http_downstream_cx", "Connections of clients, ever", |http| http.connections),
        ("envoy_http_downstream_cx_rx_bytes", "Bytes of request bodies", |http| http.received),
        ("envoy_http_downstream_cx_tx_bytes", "Bytes of response bodies", |http| http.sent),
    ];
    for (name, help, read) in totals {
        counters(encoder, name, help, all.iter().map(|(labels, http)| (*labels, read(http))))?;
    }
    let rows = all.iter().map(|(labels, http)| (*labels, http.open as f64));
    gauges(encoder, "envoy_http_downstream_cx_active", "Connections of clients", rows)?;
    let rows = all.iter().flat_map(|([prefix], http)| {
        let by_class = CLASSES.iter().zip(http.requests.by_class);
        by_class.map(|(class, count)| ([*prefix, ("envoy_response_code_class", *class)], count as f64))
    });
    // A counter's name would end in `_total`, and Envoy's does not.
    gauges(encoder, "envoy_http_downstream_rq_xx", "Responses by class of status", rows)?;
    let rows = all.iter().filter_map(|(labels, http)| Some((*labels, http.requests.in_milliseconds()?)));
    histograms(encoder, "envoy_http_downstream_rq_time", "Milliseconds from a request's head to its response's end", rows)
}

/// Forwarded connections, by route.
fn tcp(encoder: &mut DescriptorEncoder<'_>, context: &Context) -> fmt::Result {
    let all: Vec<_> = context.metrics.sessions.by_rule().into_iter().filter(|it| it.kind != "UDPRoute").collect();
    type Read = fn(&[u64; 3]) -> u64;
    let figures: [(&str, &str, Read); 3] = [
        ("envoy_tcp_downstream_cx", "Forwarded connections that have ended", |[count, ..]| *count),
        ("envoy_tcp_downstream_cx_rx_bytes", "Bytes that clients sent by them", |[_, from_client, _]| *from_client),
        ("envoy_tcp_downstream_cx_tx_bytes", "Bytes that clients got by them", |[.., to_client]| *to_client),
    ];
    for (name, help, read) in figures {
        counters(encoder, name, help, all.iter().map(|it| ([("envoy_tcp_prefix", it.route.as_str())], read(&it.counts))))?;
    }
    Ok(())
}

/// Envoy Gateway's prefix of a port's figures.
fn prefix(is_tls: bool, port: u16) -> String {
    format!("{}-{port}", if is_tls { "https" } else { "http" })
}
