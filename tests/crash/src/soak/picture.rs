//! A soak as a picture: curves below each other over the same time, and faults behind them.

use std::fmt::{self, Write};

use super::faults::{Fault, Kind};
use super::sample::Sample;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
/// Of the first panel: above are the title and the names of faults.
const TOP: f64 = 66.0;
const PANEL: f64 = 90.0;
const GAP: f64 = 30.0;
const BOTTOM: f64 = 36.0;
/// Told apart by those, too, who don't see all colours.
const COLOURS: [&str; 6] = ["#d55e00", "#e69f00", "#0072b2", "#56b4e9", "#cc79a7", "#009e73"];

/// One curve.
struct Panel {
    name: &'static str,
    /// None is a gap.
    of: fn(&Sample) -> Option<f64>,
}

#[expect(clippy::cast_precision_loss, reason = "for people to look at")]
const PANELS: [Panel; 8] = [
    Panel { name: "answers to callers, each second", of: |s| Some(s.answers as f64) },
    Panel { name: "half and confirmed messages in the store", of: |s| s.unfinished().map(|n| n as f64) },
    Panel { name: "messages waiting in RabbitMQ", of: |s| s.queued.map(f64::from) },
    Panel { name: "finished messages in the store", of: |s| s.kept().map(|n| n as f64) },
    Panel { name: "memory of the service, MiB", of: |s| Some(s.memory as f64 / 1024.0) },
    Panel { name: "its open files", of: |s| Some(s.files as f64) },
    Panel { name: "its connections to the database", of: |s| Some(s.connections as f64) },
    Panel { name: "its threads", of: |s| Some(s.threads as f64) },
];

pub(super) fn draw(title: &str, samples: &[Sample], faults: &[Fault]) -> Result<String, fmt::Error> {
    let bottom = PANELS.iter().fold(TOP, |y, _| y + PANEL + GAP);
    let end = samples.last().map_or(1.0, |sample| sample.at.as_secs_f64());
    let x = |seconds: f64| LEFT + seconds / end * (WIDTH - LEFT - RIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"{LEFT}\" y=\"22\" font-size=\"15\">{title}</text>\n",
        bottom + BOTTOM - GAP
    );
    draw_faults(&mut svg, faults, x, bottom - GAP)?;
    let mut top = TOP;
    for panel in &PANELS {
        draw_panel(&mut svg, panel, samples, x, top)?;
        top += PANEL + GAP;
    }
    for tick in 0..=6 {
        let seconds = end * f64::from(tick) / 6.0;
        let (x, y) = (x(seconds), bottom - GAP + 20.0);
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y}\" text-anchor=\"middle\">{:.1} min</text>",
            seconds / 60.0
        )?;
    }
    svg.push_str("</svg>\n");
    Ok(svg)
}

/// Stripes from their beginnings to their ends, and what the colours mean.
fn draw_faults(svg: &mut String, faults: &[Fault], x: impl Fn(f64) -> f64, bottom: f64) -> fmt::Result {
    let mut left = LEFT;
    for (kind, colour) in Kind::ALL.into_iter().zip(COLOURS) {
        let text = left + 14.0;
        writeln!(
            svg,
            "<rect x=\"{left}\" y=\"34\" width=\"10\" height=\"10\" fill=\"{colour}\"/>\
             <text x=\"{text}\" y=\"43\">{}</text>",
            kind.name()
        )?;
        left += 145.0;
        for fault in faults.iter().filter(|fault| fault.kind == kind) {
            let (from, to) = (x(fault.began.as_secs_f64()), x(fault.ended.as_secs_f64()));
            let (width, height) = ((to - from).max(1.5), bottom - TOP);
            writeln!(
                svg,
                "<rect x=\"{from:.1}\" y=\"{TOP}\" width=\"{width:.1}\" height=\"{height}\" \
                 fill=\"{colour}\" fill-opacity=\"0.3\"/>"
            )?;
        }
    }
    Ok(())
}

fn draw_panel(
    svg: &mut String,
    panel: &Panel,
    samples: &[Sample],
    x: impl Fn(f64) -> f64,
    top: f64,
) -> fmt::Result {
    let values = || samples.iter().filter_map(|sample| Some((sample.at.as_secs_f64(), (panel.of)(sample)?)));
    let most = values().map(|(_, value)| value).fold(1.0, f64::max);
    let y = |value: f64| top + PANEL - value / most * PANEL;
    let (bottom, right) = (top + PANEL, WIDTH - RIGHT);
    writeln!(svg, "<text x=\"{LEFT}\" y=\"{}\">{}</text>", top - 6.0, panel.name)?;
    for value in [0.0, most] {
        writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{right}\" stroke=\"#ccc\"/>\
             <text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{value:.0}</text>",
            y(value),
            LEFT - 6.0,
            y(value) + 4.0
        )?;
    }
    let points: Vec<_> = values().map(|(at, value)| format!("{:.1} {:.1}", x(at), y(value))).collect();
    writeln!(svg, "<path d=\"M{LEFT} {top}V{bottom}\" stroke=\"#ccc\"/>")?;
    writeln!(svg, "<path d=\"M{}\" fill=\"none\" stroke=\"#222\"/>", points.join("L"))
}
