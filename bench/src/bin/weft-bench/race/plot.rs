//! How do the ratios look side by side?
//!
//! Draws them as SVG by hand: a block for each rival and underlay, in it one row each with a dot at
//! the ratio, a bar for its interval, and a line where both sides are equal; on a logarithmic scale,
//! since half is as far from one as double is. Reads on light and dark ground.

use std::fmt::Write as _;

use super::pairs::Comparison;

const ROW: f64 = 22.0;
/// Above a block's first row: its name.
const HEAD: f64 = 34.0;
const TOP: f64 = 78.0;
const LEFT: f64 = 190.0;
const WIDTH: f64 = 480.0;
const RIGHT: f64 = 70.0;
/// Ratios from a 32nd to 32 fit.
const DOUBLINGS: i32 = 5;
/// Text is dark on light ground and light on dark.
const STYLE: &str = "<style>text{fill:#24292f}.faint{fill:#57606a}.line{stroke:#8c959f}\
     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.faint{fill:#9ea7b3}}</style>";

/// Where a ratio lies.
fn x(ratio: f64) -> f64 {
    let most = f64::from(DOUBLINGS);
    let log = ratio.log2().clamp(-most, most);
    LEFT + WIDTH * (log + most) / (2.0 * most)
}

/// The picture, a whole file. Where less is better the ratio is drawn the other way round, so that
/// right of the middle is always weft's.
pub(super) fn draw(found: &[Comparison]) -> String {
    let block = |a: &&Comparison, b: &&Comparison| same_block(a, b);
    let all: Vec<&Comparison> = found.iter().collect();
    let blocks = all.chunk_by(block);
    let height = TOP + ROW * found.len() as f64 + HEAD * blocks.clone().count() as f64 + 14.0;
    let mut svg = head(height);
    let mut y = TOP;
    for rows in blocks {
        y += HEAD;
        if let Some(first) = rows.first() {
            let _ = writeln!(
                svg,
                "<text x=\"10\" y=\"{:.1}\" font-weight=\"bold\">weft against {}, underlay \
                 {}</text>",
                y - 10.0,
                first.peer,
                first.underlay
            );
        }
        for one in rows {
            svg += &row(one, y + ROW / 2.0);
            y += ROW;
        }
    }
    svg + "</svg>\n"
}

fn same_block(a: &Comparison, b: &Comparison) -> bool {
    (a.peer, a.underlay) == (b.peer, b.underlay)
}

/// The title and the scale.
fn head(height: f64) -> String {
    let (total, bottom, title) = (LEFT + WIDTH + RIGHT, height - 10.0, "weft and its rivals");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {total} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" role=\"img\" aria-label=\"{title}\">\n\
         <title>{title}</title>{STYLE}\n\
         <text x=\"10\" y=\"22\" font-size=\"16\" font-weight=\"bold\">{title}: how many times as \
         good</text>\n\
         <text x=\"10\" y=\"42\" class=\"faint\">Medians of pairs of runs with their 95 % intervals. \
         Right of 1 weft is ahead; where less is better the ratio is turned over.</text>\n"
    );
    for doubling in -DOUBLINGS..=DOUBLINGS {
        let ratio = f64::from(doubling).exp2();
        let (at, width) = (x(ratio), if doubling == 0 { 1.5 } else { 0.5 });
        let name = match doubling {
            ..0 => format!("1/{}", f64::from(-doubling).exp2()),
            _ => ratio.to_string(),
        };
        let _ = writeln!(
            svg,
            "<line class=\"line\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{bottom}\" \
             stroke-width=\"{width}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\" class=\"faint\">{name}</text>",
            TOP - 8.0
        );
    }
    svg
}

/// One comparison, around a height.
fn row(one: &Comparison, y: f64) -> String {
    let turn = |ratio: f64| match one.lower_is_better {
        true => 1.0 / ratio,
        false => ratio,
    };
    let (ratio, low, high) = (turn(one.ratio), turn(one.ratio_low), turn(one.ratio_high));
    let (from, to) = (x(low.min(high)), x(low.max(high)));
    let colour = if ratio >= 1.0 { "#2a9d5c" } else { "#c8553d" };
    format!(
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
         <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"{colour}\" \
         stroke-width=\"5\" opacity=\"0.45\"/>\
         <circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"4\" fill=\"{colour}\"/>\
         <text x=\"{:.1}\" y=\"{:.1}\">{ratio:.2}</text>\n",
        LEFT - 10.0,
        y + 4.0,
        one.title(),
        x(ratio),
        LEFT + WIDTH + 12.0,
        y + 4.0
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_is_in_the_middle_and_extremes_stay_inside() {
        assert_eq!(x(1.0), LEFT + WIDTH / 2.0);
        assert_eq!(x(1000.0), LEFT + WIDTH);
        assert_eq!(x(0.0), LEFT);
        assert!((x(2.0) - x(1.0) - (x(1.0) - x(0.5))).abs() < 1e-9);
    }
}
