//! Reports as one HTML page that needs nothing else: no script, no file beside it, light and dark, and fit to print.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::machine::Machine;
use super::report::{Broken, Ratio, Report, Run, Table, figure};
use super::svg;

const STYLE: &str = include_str!("page.css");

/// The page of a run.
pub(crate) fn page(run: &Run) -> String {
    let title = match run.reports.as_slice() {
        [report] if run.broken.is_empty() => format!("vyre bench {}", report.bench),
        _ => "vyre bench".into(),
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) ", " (run.machine.device) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { (title) }
                (facts(&run.machine))
                @if run.reports.len() + run.broken.len() > 1 { (overview(run)) }
                @for report in &run.reports { (section(report)) }
                @for broken in &run.broken { (broken_section(broken)) }
            }
        }
    };
    // Names come from drivers and arguments; a control character among them would make the page ill-formed.
    page.into_string().replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

fn facts(machine: &Machine) -> Markup {
    let Machine { device, driver, workers, processors, kernel, date, vyre, command } = machine;
    let workers = workers.to_string();
    let facts = [
        ("device", device),
        ("driver", driver),
        ("workers", &workers),
        ("processors", processors),
        ("kernel", kernel),
        ("vyre", vyre),
        ("date", date),
    ];
    html! {
        dl {
            @for (name, value) in facts.into_iter().filter(|(_, value)| !value.is_empty()) {
                dt { (name) } dd { (value) }
            }
            dt { "command" } dd { code { (command) } }
        }
    }
}

/// All ratios, with links to their sections.
fn overview(run: &Run) -> Markup {
    let with_goal =
        run.reports.iter().flat_map(|report| &report.ratios).filter_map(|ratio| Some((ratio.goal?, ratio.value)));
    let reached: Vec<_> = with_goal.map(|(goal, value)| goal.is_reached(value)).collect();
    html! {
        section {
            h2 { "Ratios" }
            p { (reached.iter().filter(|reached| **reached).count()) " of " (reached.len()) " goals reached." }
            @for broken in &run.broken {
                p.missed { "✗ " a href={ "#" (broken.bench) } { (broken.bench) } " failed" }
            }
            table {
                thead { tr { th scope="col" { "bench" } (ratio_heads()) } }
                @for report in &run.reports {
                    @for ratio in &report.ratios {
                        tr { td { a href={ "#" (report.bench) } { (report.bench) } } (ratio_cells(ratio)) }
                    }
                }
            }
        }
    }
}

fn section(report: &Report) -> Markup {
    html! {
        section id=(report.bench) {
            h2 { (report.bench) }
            p.engine { (report.engine) }
            @for table in &report.tables { (figures(table)) }
            @if !report.ratios.is_empty() {
                table {
                    caption { "ratios" }
                    thead { tr { (ratio_heads()) } }
                    @for ratio in &report.ratios { tr { (ratio_cells(ratio)) } }
                }
            }
            @for plot in &report.plots { (svg::figure(plot)) }
            @for timeline in &report.timelines { (svg::timeline(timeline)) }
            @if !report.notes.is_empty() {
                ul.notes { @for note in &report.notes { li { (note) } } }
            }
        }
    }
}

fn broken_section(broken: &Broken) -> Markup {
    html! {
        section id=(broken.bench) {
            h2 { (broken.bench) }
            p.missed { "✗ failed: " (broken.error) }
        }
    }
}

fn figures(table: &Table) -> Markup {
    html! {
        table {
            caption { (table.title) ", " (table.unit) }
            thead { tr {
                th scope="col" {}
                @for column in &table.columns { th.number scope="col" { (column) } }
            } }
            @for row in &table.rows {
                tr {
                    th scope="row" { (row.name) }
                    @for value in &row.values { td.number { (grouped(*value)) } }
                }
            }
        }
    }
}

fn ratio_heads() -> Markup {
    html! {
        th scope="col" { "what" }
        th.number scope="col" { "ratio" }
        th.number scope="col" { "of the rounds" }
        th scope="col" { "goal" }
        th scope="col" {}
    }
}

fn ratio_cells(ratio: &Ratio) -> Markup {
    let (low, high) = ratio.spread;
    html! {
        th scope="row" { (ratio.what) }
        td.number { (grouped(ratio.value)) }
        td.number { (grouped(low)) " to " (grouped(high)) }
        @if let Some(goal) = ratio.goal {
            td.goal { (goal) }
            @if goal.is_reached(ratio.value) { td.reached { "✓ reached" } } @else { td.missed { "✗ not reached" } }
        } @else {
            td {} td {}
        }
    }
}

/// A figure with its digits in groups of three.
fn grouped(value: f64) -> String {
    let text = figure(value);
    let digits = text.chars().take_while(|c| *c != '.').count();
    let gap = |place: usize| place > 0 && place < digits && (digits - place).is_multiple_of(3);
    let groups = text.chars().enumerate().flat_map(|(place, c)| [gap(place).then_some('\u{202f}'), Some(c)]);
    groups.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::super::report::{Axis, Curve, Goal, Plot, Row, Span, Timeline, Track};
    use super::*;

    const HOSTILE: &str = "</title><script>\"'&\u{1b}";

    fn report() -> Report {
        let curve = |name: &str, points: &[(f64, f64)]| Curve { name: name.into(), points: points.into() };
        Report {
            bench: "latency",
            engine: format!("a device {HOSTILE} with 2 workers"),
            workers: 2,
            tables: vec![Table {
                title: format!("rate {HOSTILE}"),
                unit: "1/s",
                columns: vec!["median".into(), HOSTILE.into()],
                rows: vec![Row { name: HOSTILE.into(), values: vec![1_234_567.0, 0.25] }],
            }],
            ratios: vec![
                Ratio { what: HOSTILE.into(), value: 50.0, spread: (40.0, 60.0), goal: Some(Goal::AtLeast(40.0)) },
                Ratio { what: "theirs".into(), value: 2.0, spread: (1.0, 3.0), goal: Some(Goal::AtMost(1.0)) },
                Ratio { what: "no goal".into(), value: 2.0, spread: (1.0, 3.0), goal: None },
            ],
            plots: vec![
                Plot {
                    title: HOSTILE.into(),
                    x: Axis { label: "microseconds", log: true },
                    y: Axis { label: "share of slots", log: true },
                    curves: vec![
                        curve(HOSTILE, &[(2.0, 1.0), (5.0, 0.1), (5000.0, 0.0001)]),
                        curve("zero and infinity have no place here", &[(0.0, 0.5), (f64::INFINITY, 0.5)]),
                    ],
                },
                Plot {
                    title: "nothing".into(),
                    x: Axis { label: "x", log: false },
                    y: Axis { label: "y", log: false },
                    curves: Vec::new(),
                },
            ],
            timelines: vec![Timeline {
                title: HOSTILE.into(),
                kinds: vec!["quantum".into(), HOSTILE.into()],
                tracks: vec![
                    Track {
                        name: HOSTILE.into(),
                        spans: vec![
                            Span { kind: 0, start: 0.0, end: 90.0 },
                            Span { kind: 1, start: 10.0, end: 10.0 },
                            Span { kind: 1, start: f64::NAN, end: 20.0 },
                        ],
                    },
                    Track { name: "worker 1".into(), spans: Vec::new() },
                ],
            }],
            notes: vec![HOSTILE.into()],
        }
    }

    fn run() -> Run {
        let machine = Machine {
            device: format!("a device {HOSTILE}"),
            driver: "a driver 1.0".into(),
            workers: 2,
            processors: "2 of a processor".into(),
            kernel: "linux 6.1".into(),
            date: "2026-11-25T10:00:00Z".into(),
            vyre: "0.1.0, release build".into(),
            command: format!("vyre bench latency --device '{HOSTILE}'"),
        };
        Run { machine, reports: vec![report()], broken: vec![Broken { bench: "throughput", error: HOSTILE.into() }] }
    }

    #[test]
    fn page_is_as_before() {
        insta::assert_snapshot!(page(&run()).replace(STYLE, "STYLE").replace("><", ">\n<"));
    }

    #[test]
    fn nothing_on_the_page_is_taken_for_markup_and_nothing_is_loaded() {
        let page = page(&run());
        assert!(!page.contains("<script") && !page.contains('\u{1b}'));
        assert!(["http", "src=", "@import", "url("].iter().all(|other| !page.contains(other)));
        assert_eq!(page.matches("</title>").count(), page.matches("<title>").count());
    }

    #[test]
    fn drawings_are_well_formed() {
        let page = page(&run());
        let drawings: Vec<_> = page.split_inclusive("</svg>").filter_map(|part| part.split_once("<svg")).collect();
        // Two in the legend and the plot; two in the legend and the timeline.
        assert_eq!(drawings.len(), 6);
        for (_, drawing) in drawings {
            let text = format!("<svg{drawing}");
            let document = roxmltree::Document::parse(&text).unwrap();
            let paths = document.descendants().filter(|node| node.has_tag_name("path"));
            let mut steps = paths.map(|path| path.attribute("d").unwrap());
            assert!(steps.all(|steps| steps.starts_with('M') && !steps.contains("NaN") && !steps.contains("inf")));
        }
    }

    #[test]
    fn digits_come_in_groups_of_three() {
        let plain = |value| grouped(value).replace('\u{202f}', "_");
        assert_eq!([0.25, 999.0, 1000.0, 1_234_567.0].map(plain), ["0.25", "999", "1_000", "1_234_567"]);
    }
}
