//! How do the ratios look side by side?
//!
//! Draws them as SVG by hand: one row each, a dot at the ratio, a bar for its interval, a line
//! where both sides are equal; on a logarithmic scale, since half is as far from one as double is.
//! Colours come from the reader's own, so that it reads on light and dark ground.

use std::fmt::Write as _;

use super::pairs::Comparison;

const ROW: f64 = 22.0;
const TOP: f64 = 46.0;
const LEFT: f64 = 330.0;
const WIDTH: f64 = 420.0;
const RIGHT: f64 = 90.0;
/// Ratios from a sixteenth to sixteen fit.
const DOUBLINGS: f64 = 4.0;

/// Where a ratio lies.
fn x(ratio: f64) -> f64 {
    let log = ratio.log2().clamp(-DOUBLINGS, DOUBLINGS);
    LEFT + WIDTH * (log + DOUBLINGS) / (2.0 * DOUBLINGS)
}

/// The picture, a whole file. Where less is better the ratio is drawn the other way round, so that
/// right of the middle is always weft's.
pub(super) fn draw(found: &[Comparison]) -> String {
    let height = TOP + ROW * found.len() as f64 + 14.0;
    let (total, bottom) = (LEFT + WIDTH + RIGHT, height - 10.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#777\" role=\"img\" \
         aria-label=\"weft compared with its rivals\">\n\
         <text x=\"{LEFT}\" y=\"16\">times as good as the rival: right of the middle weft is \
         ahead</text>\n"
    );
    for ratio in [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0] {
        let (at, width) = (x(ratio), if ratio == 1.0 { 1.5 } else { 0.5 });
        let _ = writeln!(
            svg,
            "<line x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" stroke=\"#777\" \
             stroke-width=\"{width}\" opacity=\"0.6\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{ratio}</text>",
            TOP - 6.0
        );
    }
    for (row, one) in found.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.6);
        let turn = |ratio: f64| {
            if one.lower_is_better {
                1.0 / ratio
            } else {
                ratio
            }
        };
        let (ratio, low, high) = (turn(one.ratio), turn(one.ratio_low), turn(one.ratio_high));
        let (from, to) = (x(low.min(high)), x(low.max(high)));
        let colour = if ratio >= 1.0 { "#2a9d5c" } else { "#c8553d" };
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} against {}, {}</text>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" \
             stroke=\"{colour}\" stroke-width=\"5\" opacity=\"0.45\"/>\
             <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>",
            LEFT - 10.0,
            y + 4.0,
            one.title(),
            one.peer,
            one.underlay,
            x(ratio),
            LEFT + WIDTH + 12.0,
            y + 4.0
        );
    }
    svg + "</svg>\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_in_the_middle_and_extremes_stay_inside() {
        assert_eq!(x(1.0), LEFT + WIDTH / 2.0);
        assert_eq!(x(1000.0), LEFT + WIDTH);
        assert_eq!(x(0.0), LEFT);
        assert!(x(2.0) - x(1.0) - (x(1.0) - x(0.5)) < 1e-9);
    }
}
