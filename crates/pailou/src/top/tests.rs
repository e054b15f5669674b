//! Lines that a terminal shows of a gateway.

use serde_json::json;

use super::*;
use super::{
    screen::Contents,
    view::{Display, Overlay, View},
};

fn sample(uptime: f64, requests: u64) -> Overview {
    let engine = |name: &str, state: &str, requests: u64| {
        json!({"name": name, "address": format!("{name}:8000"), "state": state, "waiting": 2.0, "running": 5.0, "kv": 0.42, "inFlight": 7,
            "requests": requests, "predictedTokens": 800, "cachedTokens": 790, "problem": null})
    };
    let sample = json!({
        "schema": "pailou.overview/v1", "name": "host", "kind": "gateway", "ready": true, "version": "1.0.0", "uptimeSeconds": uptime,
        "requests": {"active": 1, "total": requests, "byFault": {"client": 0, "backend": requests / 2}, "unrouted": 0},
        "latency": {"ttft": {"bounds": [0.1, 0.2], "counts": [0, requests, requests], "sum": 0.15 * requests as f64, "count": requests}},
        "tokens": {"input": 10 * requests, "output": requests, "cached": 0, "reasoning": 0},
        "models": [{"model": "qwen", "sent": "qwen", "requests": requests, "errors": 1}],
        "pools": [{"name": "default/qwen", "endpoints": [engine("a", "ready", 3 * requests), engine("b\u{1b}[2J", "ejected", requests)]}],
        "problems": 1,
    });
    serde_json::from_value(sample).unwrap()
}

#[test]
fn a_report_has_rates_of_the_time_between() {
    let report = report(&sample(10.0, 100), &sample(12.0, 120)).join("\n");
    for expected in [
        "gateway host  ready  up 12s  version 1.0.0  1 object with problems",
        "requests  10.0/s  1 active  120 since the start, 0 unrouted",
        "errors    backend 5.0/s (60)\n",
        "ttft      p50 150 ms  p95 195 ms  p99 199 ms  mean 150 ms",
        "tokens    100 in/s  10 out/s",
        "default/qwen  a           ready      30.0       75",
        "default/qwen  b\\u{1b}[2J  ejected    10.0       25",
        "qwen                10.0        120",
    ] {
        assert!(report.contains(expected), "{expected}\n{report}");
    }
    assert!(!report.contains('\u{1b}'));
}

fn drawn(display: &Display, size: (usize, usize), has_colour: bool) -> Vec<String> {
    let (before, now) = (sample(10.0, 100), sample(12.0, 120));
    let rates = Rates::between(&before, &now);
    let grid = views::pools(&now, &rates);
    let summary = summary::summary(&now, &rates);
    let contents = Contents { display, summary: &summary, grid: &grid, receipt: Vec::new(), problem: None, has_colour };
    screen::draw(&contents, size).0
}

#[test]
fn a_screen_is_as_large_as_the_terminal() {
    let mut display = Display::new();
    display.view = View::Pools;
    for size in [(200, 50), (80, 24), (20, 6), (3, 2), (1, 1)] {
        for overlay in [Overlay::None, Overlay::Help] {
            display.overlay = overlay;
            let lines = drawn(&display, size, false);
            assert_eq!(lines.len(), size.1.max(1), "{size:?}");
            let visible = |line: &String| line.replace("\x1b[7m", "").replace("\x1b[1m", "").replace("\x1b[0m", "").chars().count();
            assert!(lines.iter().all(|line| visible(line) <= size.0), "{size:?}: {lines:?}");
        }
    }
}

#[test]
fn the_foot_shows_a_text_and_lets_it_do_nothing() {
    let mut display = Display::new();
    display.view = View::Pools;
    for key in "/模\u{9b}2J".chars() {
        display.press(keys::Key::Character(key), 2, 2, 2);
    }
    let foot = drawn(&display, (80, 10), false).pop().unwrap();
    assert!(foot.contains(r"/模\u{9b}2J_"), "{foot:?}");
}

#[test]
fn colour_goes_with_words_and_can_be_left_out() {
    let mut display = Display::new();
    display.view = View::Pools;
    let has = |has_colour: bool| drawn(&display, (120, 20), has_colour).iter().any(|line| line.contains("\x1b[31mejected"));
    assert!(has(true) && !has(false));
}

#[test]
fn rows_of_other_documents_are_read_without_what_they_lack() {
    let routes = documents::routes(&json!({"routes": [
        {"kind": "HTTPRoute", "name": "a/b", "severity": "error", "rules": [], "conditions": [{"severity": "error", "message": "gone"}]},
        {"kind": "HTTPRoute", "name": "a/c", "severity": "note", "rules": [{"name": "a/c/0", "matches": ["path /*"], "backends": ["x", "y"],
            "requests": 3, "errors": 0, "clientErrors": 1, "ttft": {"sum": 0.3, "count": 3}}]},
    ]}));
    let lines = routes.plain();
    assert!(lines[1].contains("HTTPRoute a/b") && lines[1].contains("error") && lines[1].contains("gone"), "{lines:?}");
    assert!(lines[2].contains("ok") && lines[2].contains("100  ") && lines[2].contains("x; y"), "{lines:?}");
    let requests = documents::requests(&json!({"receipts": [{"request_id": "one", "time": "2026-01-01T10:00:00Z"}, {}]}));
    assert!(requests.plain()[1].starts_with("10:00:00Z") && requests.rows.len() == 2);
    let limits = documents::limits(&json!({"counters": [{"client": "", "spent": 8, "limit": 10, "rule": "r"}]}));
    assert!(limits.plain()[1].contains("80  "), "{:?}", limits.plain());
    assert!(documents::limits(&serde_json::Value::Null).rows.is_empty());
}
