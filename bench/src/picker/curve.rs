//! A chart of lines over the load, as plain SVG, on a logarithmic scale.

use std::fmt::Write as _;

use crate::chart::{STYLE, TICKS, escaped};

const WIDTH: f64 = 860.0;
const LEFT: f64 = 60.0;
const RIGHT: f64 = 640.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 400.0;
/// Height of a title at a line's end.
const LABEL: f64 = 15.0;
/// Colours that light and dark backgrounds bear, told apart by those who see no red or green.
const COLOURS: [&str; 8] = ["#999999", "#b8860b", "#cc79a7", "#56b4e9", "#0072b2", "#e69f00", "#d55e00", "#009e73"];

/// The chart.
pub(super) struct Curve {
    pub(super) title: String,
    pub(super) unit: &'static str,
    pub(super) lines: Vec<Line>,
}

/// One picker's line.
pub(super) struct Line {
    pub(super) title: String,
    /// Load and figure.
    pub(super) points: Vec<(f64, f64)>,
}

impl Curve {
    pub(super) fn svg(&self) -> String {
        let mut svg =
            format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" role=\"img\">\n{STYLE}\n", BOTTOM + 40.0);
        let title = escaped(&self.title);
        // Writing to a string cannot fail.
        let _ =
            writeln!(svg, "<title>{title}</title><text class=\"title\" x=\"8\" y=\"22\">{title}, by {}</text>", escaped(self.unit));
        let points = || self.lines.iter().flat_map(|line| &line.points);
        let (least, most) = range(points().map(|(load, _)| *load));
        let (lowest, highest) = range(points().map(|(_, figure)| *figure).filter(|figure| *figure > 0.0));
        let low = TICKS.into_iter().rfind(|tick| *tick <= lowest).unwrap_or(lowest.min(TICKS[0]));
        let high = TICKS.into_iter().find(|tick| *tick >= highest && *tick > low).unwrap_or(highest);
        let x = |load: f64| LEFT + (load - least) / (most - least).max(f64::MIN_POSITIVE) * (RIGHT - LEFT);
        let y = |figure: f64| BOTTOM - (figure.clamp(low, high) / low).ln() / (high / low).ln() * (BOTTOM - TOP);
        for tick in TICKS.into_iter().filter(|tick| (low..=high).contains(tick)) {
            let y = y(tick);
            let _ = writeln!(svg, "<line class=\"line\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>");
            let _ = writeln!(
                svg,
                "<text class=\"scale\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                LEFT - 6.0,
                y + 4.0
            );
        }
        let mut labelled = f64::NEG_INFINITY;
        for (load, _) in self.lines.first().map_or(&[][..], |line| &line.points) {
            let at = x(*load);
            if at - labelled >= 22.0 {
                labelled = at;
                let _ = writeln!(
                    svg,
                    "<text class=\"scale\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{load}</text>",
                    BOTTOM + 18.0
                );
            }
        }
        self.draw(&mut svg, x, y);
        svg + "</svg>\n"
    }

    fn draw(&self, svg: &mut String, x: impl Fn(f64) -> f64, y: impl Fn(f64) -> f64) {
        let mut labels = Vec::new();
        for (line, colour) in self.lines.iter().zip(COLOURS.iter().cycle()) {
            let place = |(load, figure): &(f64, f64)| format!("{:.1},{:.1}", x(*load), y(*figure));
            let points: Vec<_> = line.points.iter().map(place).collect();
            let width = if line.title.starts_with("pailou") { 3.0 } else { 1.6 };
            let _ = writeln!(
                svg,
                "<polyline points=\"{}\" style=\"fill: none; stroke: {colour}; stroke-width: {width}\"/>",
                points.join(" ")
            );
            labels.extend(line.points.last().map(|(_, figure)| (y(*figure), line.title.as_str(), colour)));
        }
        labels.sort_by(|one, other| one.0.total_cmp(&other.0));
        let mut lowest = TOP - LABEL;
        for (at, title, colour) in labels {
            lowest = at.max(lowest + LABEL);
            let _ = writeln!(
                svg,
                "<text x=\"{:.1}\" y=\"{:.1}\"><tspan style=\"fill: {colour}\">■ </tspan>{}</text>",
                RIGHT + 8.0,
                lowest + 4.0,
                escaped(title)
            );
        }
    }
}

fn range(figures: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    (figures.clone().fold(f64::INFINITY, f64::min), figures.fold(0.0, f64::max))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_picker_has_a_line_and_a_title() {
        let line = |title: &str, figure| Line { title: title.to_owned(), points: vec![(3.0, figure), (60.0, figure * 2.0)] };
        let curve =
            Curve { title: "a < b".into(), unit: "requests/s", lines: vec![line("random", 0.02), line("pailou, load", 0.3)] };
        let svg = curve.svg();
        assert!(svg.contains("a &lt; b") && svg.contains("stroke-width: 3"), "{svg}");
        assert_eq!((svg.matches("<polyline").count(), svg.matches("■").count()), (2, 2));
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
