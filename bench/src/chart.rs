//! Bar charts as plain SVG, which follows the reader's colour scheme.

use std::fmt::Write as _;

use crate::{
    stats::Spread,
    summary::{DIRECT, FootprintSummary, REFERENCE, Summary},
    workload::Workload,
};

const WIDTH: f64 = 860.0;
/// Ends of bars; labels stand before, figures after them.
const LEFT: f64 = 150.0;
const RIGHT: f64 = 720.0;
const BAR: f64 = 14.0;
const ROW: f64 = 20.0;
const GROUP: f64 = 30.0;
const TOP: f64 = 60.0;
/// Steps between lines of the scale.
pub(crate) const TICKS: [f64; 25] = [
    0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5,
    5e5, 1e6,
];
/// Colours, by the reader's colour scheme.
pub(crate) const STYLE: &str = "<style>
text { font: 12px system-ui, sans-serif; fill: #24292f } .title { font-size: 15px; font-weight: 600 } .group { font-weight: 600 }
.scale { fill: #57606a; font-size: 11px } .bar { fill: #9aa7b4 } .own { fill: #2f6fdb } .spread { stroke: #24292f } .line { stroke: #d0d7de }
.one { stroke: #cf222e; stroke-dasharray: 4 3 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .scale { fill: #9198a1 } .bar { fill: #656d76 } .own { fill: #58a0ff } .spread { stroke: #e6edf3 } .line { stroke: #3d444d }
.one { stroke: #ff7b72 }
}</style>";

/// A chart: bars in groups on one logarithmic scale.
struct Chart {
    title: &'static str,
    unit: &'static str,
    /// Figure of the line that marks the comparison.
    mark: Option<f64>,
    groups: Vec<Group>,
}

struct Group {
    title: &'static str,
    bars: Vec<(String, Spread)>,
}

/// All charts that there are figures for, each with its file's name.
pub(crate) fn all(summaries: &[Summary], footprints: &[FootprintSummary]) -> Vec<(&'static str, String)> {
    let of_load = |figure: &dyn Fn(&Summary) -> Option<Spread>| {
        groups(summaries.iter().filter_map(|summary| Some((summary.workload, &*summary.subject, figure(summary)?))))
    };
    let of_footprint = |figure: &dyn Fn(&FootprintSummary) -> Option<Spread>| {
        groups(footprints.iter().filter_map(|summary| Some((summary.workload, &*summary.subject, figure(summary)?))))
    };
    let start = |summary: &FootprintSummary| summary.start_ms.filter(|_| summary.workload == Workload::Start);
    let idle = |summary: &FootprintSummary| {
        summary.idle_bytes.filter(|_| summary.workload == Workload::Start).map(|bytes| bytes.over(1e6))
    };
    let ratio = |summary: &Summary| summary.cpu_ratio.filter(|_| summary.subject != REFERENCE);
    let added = |summary: &Summary| summary.added_p50_us.filter(|_| summary.subject != DIRECT);
    let per_stream = |summary: &FootprintSummary| summary.bytes_per_stream.map(|bytes| bytes.over(1e3));
    let charts = [
        ("cpu.svg", "Processor time per request or chunk", "× haproxy", Some(1.0), of_load(&ratio)),
        ("added.svg", "Added time, p50: to the answer, or to a stream's first chunk", "µs", None, of_load(&added)),
        ("streams.svg", "Memory per idle stream", "KB", None, of_footprint(&per_stream)),
        ("memory.svg", "Memory of a gateway with nothing to do", "MB", None, of_footprint(&idle)),
        ("start.svg", "From start to the first response", "ms", None, of_footprint(&start)),
    ];
    charts
        .into_iter()
        .filter(|(.., groups)| !groups.is_empty())
        .map(|(file, title, unit, mark, groups)| (file, Chart { title, unit, mark, groups }.svg()))
        .collect()
}

/// Figures by workload, in order. Only those above 0 have a place on the scale.
fn groups<'a>(figures: impl Iterator<Item = (Workload, &'a str, Spread)>) -> Vec<Group> {
    let mut groups: Vec<(Workload, Group)> = Vec::new();
    for (workload, subject, spread) in figures.filter(|(.., spread)| spread.median > 0.0) {
        if groups.last().is_none_or(|(last, _)| *last != workload) {
            groups.push((workload, Group { title: workload.shape().title, bars: Vec::new() }));
        }
        if let Some((_, group)) = groups.last_mut() {
            group.bars.push((subject.to_owned(), spread));
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

impl Chart {
    fn svg(&self) -> String {
        let rows: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let bottom = TOP + GROUP * self.groups.len() as f64 + ROW * rows as f64;
        let height = bottom + 16.0;
        let mut svg =
            format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">\n{STYLE}\n");
        let (title, unit) = (escaped(self.title), escaped(self.unit));
        // Writing to a string cannot fail.
        let _ = writeln!(svg, "<title>{title}</title><text class=\"title\" x=\"8\" y=\"22\">{title}, {unit}</text>");
        let (low, high) = self.range();
        let place = |figure: f64| LEFT + (figure.clamp(low, high) / low).ln() / (high / low).ln() * (RIGHT - LEFT);
        for tick in TICKS.into_iter().filter(|tick| (low..=high).contains(tick)) {
            let (x, class) = (place(tick), if self.mark == Some(tick) { "one" } else { "line" });
            let _ = writeln!(svg, "<line class=\"{class}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"46\" y2=\"{bottom}\"/>");
            let _ = writeln!(svg, "<text class=\"scale\" x=\"{x:.1}\" y=\"42\" text-anchor=\"middle\">{tick}</text>");
        }
        let mut y = TOP;
        for group in &self.groups {
            let _ = writeln!(svg, "<text class=\"group\" x=\"8\" y=\"{:.1}\">{}</text>", y + 14.0, escaped(group.title));
            y += GROUP - 6.0;
            for (label, spread) in &group.bars {
                svg.push_str(&bar(label, *spread, y, &place));
                y += ROW;
            }
            y += 6.0;
        }
        svg + "</svg>\n"
    }

    /// The ends of the scale: lines of it around all figures, at least ten apart.
    fn range(&self) -> (f64, f64) {
        let figures = || self.groups.iter().flat_map(|group| &group.bars).map(|(_, spread)| spread.median).chain(self.mark);
        let lowest = figures().fold(f64::INFINITY, f64::min) * 0.9;
        let highest = figures().fold(0.0, f64::max);
        let low = TICKS.into_iter().rfind(|&tick| tick <= lowest).unwrap_or(TICKS[0]);
        let high = TICKS.into_iter().find(|&tick| tick >= highest && tick >= low * 10.0).unwrap_or(highest);
        (low, high)
    }
}

fn bar(label: &str, spread: Spread, y: f64, place: &dyn Fn(f64) -> f64) -> String {
    let Spread { median, low, high } = spread;
    let class = if label.starts_with("pailou") { "own" } else { "bar" };
    let (middle, text, end) = (y + BAR / 2.0, y + 11.0, place(median));
    let digits = if median < 10.0 { 2 } else { 0 };
    format!(
        "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text><rect class=\"{class}\" x=\"{LEFT}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{BAR}\"/>\
         <line class=\"spread\" x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/><text x=\"{:.1}\" y=\"{text:.1}\">{median:.digits$} \
         <tspan class=\"scale\">({low:.digits$}–{high:.digits$})</tspan></text>\n",
        LEFT - 8.0,
        escaped(label),
        (end - LEFT).max(1.0),
        place(low),
        place(high),
        end.max(place(high)) + 6.0,
    )
}

/// Text for XML.
pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spread(median: f64) -> Spread {
        Spread { median, low: median / 2.0, high: median * 2.0 }
    }

    #[test]
    fn the_scale_is_around_all_figures() {
        let chart = |figures: &[f64]| Chart {
            title: "a < b",
            unit: "s",
            mark: Some(1.0),
            groups: groups(figures.iter().map(|&figure| (Workload::Small, "x", spread(figure)))),
        };
        assert_eq!(chart(&[1.5, 3.0]).range(), (0.5, 5.0));
        assert_eq!(chart(&[40.0, 300.0]).range(), (0.5, 500.0));
        let svg = chart(&[2.0, -3.0]).svg();
        assert!(svg.contains("a &lt; b") && svg.contains("class=\"one\""), "{svg}");
        assert_eq!(svg.matches("<rect").count(), 1, "what is below zero has no bar: {svg}");
    }
}
