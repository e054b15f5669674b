//! Rows of the views that a sample has.

use super::{
    grid::{Cell, Column, Grid, Tone, number, text},
    rates::Rates,
};
use crate::overview::{EndpointRow, Overview};

const POOLS: &[Column] = &[
    text("POOL"),
    text("ENDPOINT"),
    text("STATE"),
    number("REQ/S"),
    number("SHARE%"),
    number("WAITING"),
    number("RUNNING"),
    number("KV%"),
    number("FLIGHT"),
    number("PREDICTED"),
    number("CACHED"),
    text("PROBLEM"),
];
const MODELS: &[Column] = &[
    text("MODEL"),
    text("SENT AS"),
    number("REQ/S"),
    number("REQUESTS"),
    number("4XX"),
    number("5XX"),
    number("TTFT MS"),
    number("TOKENS IN"),
    number("TOKENS OUT"),
];
const GATEWAYS: &[Column] = &[
    text("GATEWAY"),
    text("ACCEPTED"),
    text("PROGRAMMED"),
    number("LISTENERS"),
    number("ROUTES"),
    text("ADDRESSES"),
    text("PROBLEM"),
];

const PROXIES: &[Column] =
    &[text("PROXY"), text("GATEWAY"), text("STATE"), number("REQUESTS"), number("ACTIVE"), text("VERSION"), text("PROBLEM")];

/// An engine a row.
pub(super) fn pools(sample: &Overview, rates: &Rates) -> Grid {
    let mut rows = Vec::new();
    for pool in sample.pools.iter().flatten() {
        let all = rates.pool(&pool.name);
        for endpoint in &pool.endpoints {
            let rate = rates.endpoint(&pool.name, &endpoint.address);
            let share = rate.filter(|_| all > 0.0).map(|rate| rate * 100.0 / all);
            rows.push(vec![
                Cell::text(&pool.name),
                Cell::text(if endpoint.role.is_empty() {
                    endpoint.name.clone()
                } else {
                    format!("{} ({})", endpoint.name, endpoint.role)
                }),
                Cell::text(&endpoint.state).toned(state_tone(endpoint)),
                Cell::perhaps(rate, 1),
                Cell::perhaps(share, 0),
                Cell::number(endpoint.waiting.into(), 0),
                Cell::number(endpoint.running.into(), 0),
                Cell::number(f64::from(endpoint.kv) * 100.0, 0),
                Cell::count(endpoint.in_flight.into()),
                Cell::count(endpoint.predicted_tokens),
                Cell::count(endpoint.cached_tokens),
                Cell::text(endpoint.problem.clone().unwrap_or_default()),
            ]);
        }
        if pool.endpoints_omitted > 0 {
            let mut row = vec![Cell::default(); POOLS.len()];
            row[0] = Cell::text(&pool.name);
            row[1] = Cell::text(format!("and {} more", pool.endpoints_omitted));
            rows.push(row);
        }
    }
    Grid { columns: POOLS, rows }
}

fn state_tone(endpoint: &EndpointRow) -> Tone {
    match &*endpoint.state {
        "ready" => Tone::Good,
        "stale" => Tone::Warning,
        _ => Tone::Bad,
    }
}

/// A model a row.
pub(super) fn models(sample: &Overview, rates: &Rates) -> Grid {
    let rows = sample.models.iter().flatten().map(|model| {
        let ttft = (model.ttft.count > 0).then(|| model.ttft.sum / model.ttft.count as f64 * 1e3);
        vec![
            Cell::text(&model.model),
            Cell::text(if model.sent == model.model { "" } else { &model.sent }),
            Cell::perhaps(rates.model(model), 1),
            Cell::count(model.requests),
            Cell::count(model.client_errors),
            Cell::count(model.errors).toned(if model.errors > 0 { Tone::Bad } else { Tone::Plain }),
            Cell::perhaps(ttft, 0),
            Cell::count(model.input_tokens),
            Cell::count(model.output_tokens),
        ]
    });
    Grid { columns: MODELS, rows: rows.collect() }
}

/// A Gateway of a controller a row.
pub(super) fn gateways(sample: &Overview) -> Grid {
    let word = |word: &str| Cell::text(word).toned(if word == "True" { Tone::Good } else { Tone::Bad });
    let rows = sample.gateways.iter().flatten().map(|gateway| {
        vec![
            Cell::text(&gateway.name),
            word(&gateway.accepted),
            word(&gateway.programmed),
            Cell::count(gateway.listeners as u64),
            Cell::count(gateway.attached_routes.into()),
            Cell::text(gateway.addresses.join(", ")),
            Cell::text(gateway.problem.clone().unwrap_or_default()),
        ]
    });
    Grid { columns: GATEWAYS, rows: rows.collect() }
}

/// A proxy of a controller a row.
pub(super) fn proxies(sample: &Overview) -> Grid {
    let rows = sample.proxies.iter().flatten().map(|proxy| {
        let state = match (&proxy.away, proxy.ready) {
            (Some(_), _) => Cell::text("away").toned(Tone::Bad),
            (None, true) => Cell::text("ready").toned(Tone::Good),
            (None, false) => Cell::text("not ready").toned(Tone::Warning),
        };
        vec![
            Cell::text(&proxy.name),
            Cell::text(&proxy.gateway),
            state,
            Cell::count(proxy.requests),
            Cell::count(proxy.active),
            Cell::text(&proxy.version),
            Cell::text(proxy.away.clone().unwrap_or_default()),
        ]
    });
    Grid { columns: PROXIES, rows: rows.collect() }
}
