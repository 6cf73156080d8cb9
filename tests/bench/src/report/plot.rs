//! A picture of curves, as SVG.

use std::fmt::Write;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 440.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 40.0;
/// For the names of curves.
const RIGHT: f64 = 150.0;
const BOTTOM: f64 = 50.0;
/// Told apart by those, too, who don't see all colours.
const COLOURS: [&str; 9] =
    ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999", "#882255"];

/// A named curve.
#[derive(Debug)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws curves over a logarithmic x.
pub(super) fn draw(
    title: &str,
    x_name: &str,
    y_name: &str,
    curves: &[Curve],
) -> Result<String, std::fmt::Error> {
    let points = || curves.iter().flat_map(|curve| curve.points.iter().copied());
    let (first, last) =
        points().fold((f64::MAX, 1.0_f64), |(least, most), (x, _)| (least.min(x), most.max(x)));
    let top = round_up(points().map(|(_, y)| y).fold(1.0, f64::max));
    let x = |value: f64| LEFT + (value / first).ln() / (last / first).ln().max(0.1) * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{x_name}</text>\n\
         <text x=\"18\" y=\"{}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {})\">{y_name}</text>\n",
        (LEFT + WIDTH - RIGHT) / 2.0,
        HEIGHT - 12.0,
        HEIGHT / 2.0,
        HEIGHT / 2.0,
    );
    for step in 0..=5 {
        let value = top * f64::from(step) / 5.0;
        writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2}\" y=\"{3:.1}\" text-anchor=\"end\">{value:.0}</text>",
            y(value),
            WIDTH - RIGHT,
            LEFT - 6.0,
            y(value) + 4.0
        )?;
    }
    let mut ticks: Vec<_> = points().map(|(x, _)| x).collect();
    ticks.sort_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{tick}</text>",
            x(tick),
            HEIGHT - BOTTOM + 18.0
        )?;
    }
    // Names stand at the ends of their curves, and above each other.
    let mut ends: Vec<_> = curves.iter().zip(COLOURS.iter().cycle()).collect();
    ends.sort_by(|(one, _), (other, _)| end(other).total_cmp(&end(one)));
    let mut free = TOP;
    for (curve, colour) in ends {
        let path: Vec<_> = curve.points.iter().map(|(a, b)| format!("{:.1} {:.1}", x(*a), y(*b))).collect();
        let place = (y(end(curve)) + 4.0).max(free);
        free = place + 14.0;
        writeln!(
            svg,
            "<path d=\"M{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{}\" y=\"{place:.1}\" fill=\"{colour}\">{}</text>",
            path.join("L"),
            WIDTH - RIGHT + 8.0,
            curve.name
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

fn end(curve: &Curve) -> f64 {
    curve.points.last().map_or(0.0, |(_, y)| *y)
}

/// To a number that divides well by five.
fn round_up(most: f64) -> f64 {
    let unit = 10_f64.powf(most.log10().floor()) / 2.0;
    (most / unit).ceil() * unit
}
