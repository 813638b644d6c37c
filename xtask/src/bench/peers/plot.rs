//! Bars as SVG: small, of text that can be read, on light and on dark.

use std::fmt::Write as _;

/// One bar.
#[derive(Debug, Clone)]
pub(crate) struct Bar {
    pub(crate) name: String,
    pub(crate) value: f64,
    /// Half of the measurements are between these.
    pub(crate) spread: Option<(f64, f64)>,
    /// What is written behind it.
    pub(crate) note: String,
    /// Whether it is the one that the page is about.
    pub(crate) own: bool,
}

/// Bars under one heading.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) title: String,
    pub(crate) bars: Vec<Bar>,
}

/// Pixels.
const WIDTH: f64 = 760.0;
const LEFT: f64 = 96.0;
const RIGHT: f64 = 230.0;
const LINE: f64 = 20.0;
const HEAD: f64 = 26.0;

const STYLE: &str = "text{font:12px sans-serif;fill:#24292f}.t{font-weight:bold}.n{fill:#57606a}\
    .o{fill:#0969da}.p{fill:#afb8c1}.l{stroke:#57606a;stroke-width:1}.g{stroke:#d0d7de;stroke-dasharray:3 3}\
    @media(prefers-color-scheme:dark){text{fill:#e6edf3}.n{fill:#9198a1}.o{fill:#4493f8}.p{fill:#59636e}\
    .l{stroke:#9198a1}.g{stroke:#3d444d}}";

/// Draws them; `mark` is a value with a line of its own.
pub(crate) fn draw(title: &str, groups: &[Group], mark: Option<f64>) -> String {
    let bars = groups.iter().flat_map(|group| &group.bars);
    let most = bars.map(|bar| bar.spread.map_or(bar.value, |(_, high)| high.max(bar.value)));
    let most = most.chain(mark).filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let scale = (WIDTH - LEFT - RIGHT) / most;
    let mut body = format!("<text class=\"t\" x=\"8\" y=\"18\">{}</text>", escaped(title));
    let mut y = HEAD;
    for group in groups {
        let _ =
            write!(body, "<text class=\"n\" x=\"8\" y=\"{:.0}\">{}</text>", y + 14.0, escaped(&group.title));
        y += LINE;
        for bar in &group.bars {
            body += &one(bar, y, scale);
            y += LINE;
        }
        y += 6.0;
    }
    if let Some(mark) = mark {
        let x = LEFT + mark * scale;
        let _ = write!(body, "<line class=\"g\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{HEAD}\" y2=\"{y:.0}\"/>");
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y:.0}\" viewBox=\"0 0 {WIDTH} {y:.0}\" \
         role=\"img\" aria-label=\"{}\"><style>{STYLE}</style>{body}</svg>\n",
        escaped(title)
    )
}

fn one(bar: &Bar, y: f64, scale: f64) -> String {
    let middle = y + LINE / 2.0;
    let text = y + 14.0;
    let mut svg = format!(
        "<text x=\"{:.0}\" y=\"{text:.0}\" text-anchor=\"end\">{}</text>",
        LEFT - 6.0,
        escaped(&bar.name)
    );
    let length = if bar.value.is_finite() { bar.value.max(0.0) * scale } else { 0.0 };
    let class = if bar.own { "o" } else { "p" };
    let _ = write!(
        svg,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{:.0}\" width=\"{length:.1}\" height=\"{:.0}\" rx=\"2\"/>",
        y + 3.0,
        LINE - 6.0
    );
    let mut end = LEFT + length;
    if let Some((low, high)) = bar.spread.filter(|(low, high)| low.is_finite() && high.is_finite()) {
        let (from, to) = (LEFT + low * scale, LEFT + high * scale);
        let _ = write!(
            svg,
            "<line class=\"l\" x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>"
        );
        end = end.max(to);
    }
    let _ =
        write!(svg, "<text class=\"n\" x=\"{:.1}\" y=\"{text:.0}\">{}</text>", end + 6.0, escaped(&bar.note));
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bar(name: &str, value: f64) -> Bar {
        Bar {
            name: name.to_owned(),
            value,
            spread: Some((value, value * 1.1)),
            note: "a<b".to_owned(),
            own: false,
        }
    }

    #[test]
    fn the_longest_bar_leaves_room_for_its_note() {
        let groups = [Group { title: "g".to_owned(), bars: vec![bar("one", 1.0), bar("two", 2.0)] }];
        let svg = draw("t & u", &groups, Some(1.0));
        assert!(svg.contains("width=\"394.5\""), "{svg}");
        assert!(svg.contains("a&lt;b") && svg.contains("t &amp; u"));
        assert_eq!(svg.matches("<rect").count(), 2);
    }

    #[test]
    fn what_is_no_number_is_no_length() {
        let groups =
            [Group { title: String::new(), bars: vec![Bar { spread: None, ..bar("one", f64::NAN) }] }];
        let svg = draw("", &groups, None);
        assert!(!svg.contains("NaN") && svg.contains("width=\"0.0\""));
    }
}
