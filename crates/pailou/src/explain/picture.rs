//! Receipts and explanations as text.

use serde_json::Value;

/// Width of an attempt's time line, in characters.
const TIMELINE: usize = 40;
/// Width of the first column.
const LABEL: usize = 10;

/// A receipt.
pub(super) fn receipt(receipt: &Value) -> Vec<String> {
    let timing = &receipt["timing"];
    let mut lines = vec![format!(
        "{}  {} {}{}  {}  {} ms  ({})",
        text(&receipt["request_id"]),
        text(&receipt["method"]),
        text(&receipt["host"]),
        text(&receipt["path"]),
        receipt["status"].as_u64().map_or("no status".to_owned(), |status| status.to_string()),
        millis(&timing["total"]),
        text(&receipt["kept"]),
    )];
    add(&mut lines, "time", &receipt["time"]);
    let why = [&receipt["flag"], &receipt["detail"]].map(text).join(" ");
    add_text(&mut lines, "failed", why.trim());
    add(&mut lines, "proxy", &receipt["proxy"]);
    add(&mut lines, "listener", &receipt["listener"]);
    rule(&mut lines, receipt);
    let model = &receipt["model"];
    let sent = model["sent"].as_str().map_or(String::new(), |sent| format!(", sent as {sent}"));
    add_text(&mut lines, "model", &format!("{}{sent}", text(&model["asked"])));
    pick(&mut lines, &receipt["pick"]);
    attempts(&mut lines, receipt);
    let cache = &receipt["cache"];
    let cached = [("predicted", &cache["predicted"]), ("counted", &cache["actual"])];
    let cached = cached.map(|(name, tokens)| tokens.as_u64().map(|tokens| format!("{name} {tokens}")));
    add_text(&mut lines, "cached", &cached.into_iter().flatten().collect::<Vec<_>>().join(", "));
    if let Some(usage) = receipt["usage"].as_object() {
        let cost = receipt["cost_usd"].as_f64().map_or(String::new(), |cost| format!(", {cost} USD"));
        add_text(&mut lines, "tokens", &format!("{} in, {} out{cost}", usage["input"], usage["output"]));
    }
    let times = ["wait", "overhead", "head", "ttft", "total"];
    let times = times.into_iter().filter(|name| timing[*name].is_number()).map(|name| format!("{name} {}", millis(&timing[name])));
    add_text(&mut lines, "times", &format!("{} ms", times.collect::<Vec<_>>().join(", ")));
    if receipt["truncated"] == true {
        lines.push("something was left out or cut, so that the receipt stays short".to_owned());
    }
    lines
}

/// An explanation.
pub(super) fn explanation(explanation: &Value) -> Vec<String> {
    let request = &explanation["request"];
    let (method, host, path) = (text(&request["method"]), text(&request["host"]), text(&request["path"]));
    let mut lines = vec![format!("{method} {host}:{}{path}", request["port"])];
    add(&mut lines, "proxy", &explanation["proxy"]);
    add(&mut lines, "model", &request["model"]);
    let listener = &explanation["listener"];
    if listener.is_object() {
        let (name, protocol, address) = (text(&listener["name"]), text(&listener["protocol"]), text(&listener["address"]));
        add_text(&mut lines, "listener", &format!("{name}  {protocol} {address}"));
        add_text(&mut lines, "before", &list(&listener["filters"]));
    }
    rule(&mut lines, explanation);
    add(&mut lines, "answer", &explanation["answer"]);
    for backend in explanation["backends"].as_array().into_iter().flatten() {
        let share = backend["share"].as_f64().unwrap_or_default() * 100.0;
        let fallback = if backend["fallback"] == true { ", fallback" } else { "" };
        let endpoints = backend["endpoints"].as_u64().unwrap_or_default();
        let name = text(&backend["backend"]);
        add_text(
            &mut lines,
            "backend",
            &format!("{name}  {share:.1} %{fallback}, {endpoints} endpoints: {}", list(&backend["names"])),
        );
        add_text(&mut lines, "  filters", &list(&backend["filters"]));
        add_text(&mut lines, "  sent as", &list(&backend["sent_models"]));
        add(&mut lines, "  problem", &backend["problem"]);
        add(&mut lines, "  note", &backend["note"]);
        pick(&mut lines, &backend["pick"]);
    }
    add(&mut lines, "problem", &explanation["problem"]);
    lines
}

fn rule(lines: &mut Vec<String>, document: &Value) {
    let rule = &document["rule"];
    if !rule.is_object() {
        return;
    }
    add_text(lines, "rule", &format!("{}  {}", rule["matched"].as_str().unwrap_or("none"), text(&rule["by"])));
    for beaten in rule["beaten"].as_array().into_iter().flatten() {
        let (name, by, why) = (text(&beaten["rule"]), text(&beaten["match"]), text(&beaten["why"]));
        add_text(lines, "  not", &format!("{name}  {by}: {why}"));
    }
    if let Some(others) = rule["others"].as_u64().filter(|others| *others > 0) {
        add_text(lines, "  not", &format!("{others} further matches"));
    }
    add(lines, "  note", &rule["note"]);
    add_text(lines, "filters", &list(&document["filters"]));
    add_text(lines, "policies", &list(&document["policies"]));
}

fn pick(lines: &mut Vec<String>, pick: &Value) {
    if !pick.is_object() {
        return;
    }
    let (pool, strategy, why) = (text(&pick["pool"]), text(&pick["strategy"]), text(&pick["why"]));
    let judged = format!("{pool} by {strategy}, saturation {}, {} judged", pick["saturation"], pick["judged"]);
    add_text(lines, "pool", &judged);
    add_text(lines, "  chosen", &format!("{}: {why}", text(&pick["chosen"])));
    let tokens = &pick["tokens"];
    if tokens.is_object() {
        let itself = tokens["in_process"].as_str().map_or(String::new(), |reason| format!(", not in process: {reason}"));
        add_text(lines, "  tokens", &format!("by {} ({}{itself})", text(&tokens["by"]), text(&tokens["result"])));
    }
    let candidates: Vec<_> = pick["candidates"].as_array().into_iter().flatten().collect();
    let width = candidates.iter().map(|it| text(&it["endpoint"]).chars().count()).max().unwrap_or(0).max("ENDPOINT".len());
    if !candidates.is_empty() {
        lines.push(format!("    {:width$}   SCORE  QUEUE  RUNNING    KV  PREFIX  TOKENS", "ENDPOINT"));
    }
    for candidate in candidates {
        let mark = if candidate["endpoint"] == pick["chosen"] { '*' } else { ' ' };
        let figure = |name: &str| candidate[name].as_f64().unwrap_or_default();
        let mut line = format!(
            "  {mark} {:width$}  {:6.2}  {:5.1}  {:7.1}",
            text(&candidate["endpoint"]),
            figure("score"),
            figure("queue"),
            figure("running")
        );
        line.push_str(&format!(
            "  {:4.2}    {:4.2}  {:6}",
            figure("kv"),
            figure("prefix"),
            candidate["overlap_tokens"].as_u64().unwrap_or_default()
        ));
        if candidate["fresh"] == false {
            line.push_str("  no recent metrics");
        }
        if let Some(excluded) = candidate["excluded"].as_str() {
            line.push_str(&format!("  {excluded}"));
        }
        lines.push(line);
    }
}

/// The attempts, each with its time line: `-` until the head, `=` until the first content, `#` until the end.
fn attempts(lines: &mut Vec<String>, receipt: &Value) {
    let all: Vec<_> = receipt["attempts"].as_array().into_iter().flatten().collect();
    let width = all.iter().map(|it| text(&it["endpoint"]).chars().count()).max().unwrap_or(0);
    let total = receipt["timing"]["total"].as_f64().unwrap_or_default().max(0.001);
    for (at, attempt) in all.into_iter().enumerate() {
        let column = |name: &str| attempt[name].as_f64().map(|time| ((time / total) * TIMELINE as f64) as usize);
        let (start, end) = (column("start").unwrap_or(0), column("end").unwrap_or(TIMELINE));
        let (head, content) = (column("head").unwrap_or(usize::MAX), column("first_content").unwrap_or(usize::MAX));
        let mark = |place: usize| match place {
            _ if place < start || place > end => ' ',
            _ if place < head => '-',
            _ if place < content => '=',
            _ => '#',
        };
        let timeline: String = (0..TIMELINE).map(mark).collect();
        let result = match &attempt["result"] {
            Value::String(word) => word.clone(),
            status => status.to_string(),
        };
        let (from, to) = (millis(&attempt["start"]), millis(&attempt["end"]));
        let label = format!("attempt {}", at + 1);
        let flag = text(&attempt["flag"]);
        add_text(
            lines,
            &label,
            &format!("{:width$}  |{timeline}|  {from} to {to} ms  {result} {flag}", text(&attempt["endpoint"])),
        );
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn list(value: &Value) -> String {
    value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ")
}

fn millis(value: &Value) -> String {
    format!("{:.1}", value.as_f64().unwrap_or_default())
}

fn add(lines: &mut Vec<String>, label: &str, value: &Value) {
    add_text(lines, label, text(value));
}

/// Adds a line, unless there is nothing to say.
fn add_text(lines: &mut Vec<String>, label: &str, text: &str) {
    if !text.is_empty() {
        lines.push(format!("{label:LABEL$}{text}"));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_receipt_is_a_picture() {
        let lines = receipt(&json!({
            "request_id": "a", "method": "POST", "host": "h", "path": "/v1", "status": 200, "kept": "retried",
            "rule": {"matched": "HTTPRoute d/r/0", "by": "path /*", "beaten": [{"rule": "HTTPRoute d/s/0", "match": "path /*", "why": "because"}]},
            "pick": {"pool": "d/p", "strategy": "load", "saturation": 0.5, "judged": 1, "chosen": "e1", "why": "those before it failed",
                "candidates": [{"endpoint": "e0", "score": -1.5, "overlap_tokens": 3}, {"endpoint": "e1", "score": -2.0}]},
            "attempts": [
                {"endpoint": "e0", "start": 0.0, "end": 25.0, "result": "no response", "flag": "UC"},
                {"endpoint": "e1", "start": 25.0, "head": 50.0, "first_content": 75.0, "end": 100.0, "result": 200},
            ],
            "timing": {"total": 100.0, "ttft": 75.0},
        }));
        let all = lines.join("\n");
        assert!(lines[0].starts_with("a  POST h/v1  200  100.0 ms  (retried)"), "{all}");
        assert!(all.contains("  not     HTTPRoute d/s/0  path /*: because"), "{all}");
        assert!(all.contains("attempt 1 e0  |-----------"), "{all}");
        assert!(all.contains("no response UC") && all.contains("----------==========##########|  25.0 to 100.0 ms  200"), "{all}");
        assert!(all.contains("  * e1"), "{all}");
    }
}
