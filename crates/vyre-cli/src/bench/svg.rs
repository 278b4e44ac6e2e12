//! Plots as inline SVG. Colours and widths are those of the page's style sheet, by class.

use maud::{Markup, html};

use super::report::{Axis, Curve, Plot, Span, Timeline, Track};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 380.0;
/// Where the axes stand, in the units of the view box.
const LEFT: f64 = 64.0;
const RIGHT: f64 = WIDTH - 20.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = HEIGHT - BELOW;
/// Room below an axis for its labels.
const BELOW: f64 = 52.0;

/// Colours of the style sheet; a dash goes with each, by another period, so that no two curves differ in colour alone.
const COLOURS: usize = 7;
const DASHES: usize = 4;

/// Points of a curve up to which each gets a mark: these were measured one by one.
const MARKED: usize = 16;

/// Ticks of an axis, about.
const TICKS: f64 = 7.0;

/// Values of an axis and where they stand.
struct Scale {
    log: bool,
    low: f64,
    high: f64,
    start: f64,
    end: f64,
}

impl Scale {
    /// Encloses the values between round numbers; a linear axis starts at zero. None without a value.
    fn new(log: bool, values: impl Iterator<Item = f64>, start: f64, end: f64) -> Option<Scale> {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)));
        if low > high {
            return None;
        }
        if log {
            let (low, high) = (round_down(low), round_up(high));
            let high = if low < high { high } else { low * 10.0 };
            return Some(Scale { log, low, high, start, end });
        }
        let (low, high) = (low.min(0.0), high.max(0.0));
        let high = if low < high { high } else { 1.0 };
        let step = linear_step(high - low);
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Some(Scale { log, low, high, start, end })
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.log {
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        self.start + share * (self.end - self.start)
    }

    /// Round values: on a logarithmic axis powers of ten, with 2 and 5 between them where there is room.
    fn ticks(&self) -> Vec<f64> {
        if !self.log {
            let step = linear_step(self.high - self.low);
            let (first, last) = ((self.low / step).round() as i64, (self.high / step).round() as i64);
            return (first..=last).map(|tick| tick as f64 * step).collect();
        }
        let decades = (self.high / self.low).log10();
        let stride = (decades / TICKS).ceil().max(1.0) as i32;
        let digits: &[f64] = if decades * 3.0 <= TICKS + 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let exponents = self.low.log10().floor() as i32..=self.high.log10().ceil() as i32;
        let ticks = exponents.filter(|e| e % stride == 0).flat_map(|e| digits.iter().map(move |d| times_ten_to(*d, e)));
        // A hair more on both sides, for what rounding does to the ends.
        ticks.filter(|tick| (self.low * 0.999..=self.high * 1.001).contains(tick)).collect()
    }
}

/// `digit` x 10^`exponent`, as near as a float gets.
fn times_ten_to(digit: f64, exponent: i32) -> f64 {
    if exponent < 0 { digit / 10f64.powi(-exponent) } else { digit * 10f64.powi(exponent) }
}

/// The next number below of the form 1, 2 or 5 times a power of ten.
fn round_down(value: f64) -> f64 {
    let exponent = value.log10().floor() as i32;
    let digits = [5.0, 2.0, 1.0].map(|digit| times_ten_to(digit, exponent));
    digits.into_iter().find(|round| *round <= value * 1.000_001).unwrap_or(value)
}

/// The next number above of that form.
fn round_up(value: f64) -> f64 {
    let exponent = value.log10().floor() as i32;
    let digits = [1.0, 2.0, 5.0, 10.0].map(|digit| times_ten_to(digit, exponent));
    digits.into_iter().find(|round| *round >= value * 0.999_999).unwrap_or(value)
}

fn linear_step(range: f64) -> f64 {
    round_up(range / TICKS)
}

/// A tick's value in few characters.
fn label(value: f64) -> String {
    let suffixes = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (unit, suffix) = suffixes.into_iter().find(|(unit, _)| value.abs() >= *unit).unwrap_or((1.0, ""));
    // Six digits are more than a tick needs, and hide what is no exact decimal fraction.
    let digits = format!("{:.6}", value / unit);
    format!("{}{suffix}", digits.trim_end_matches('0').trim_end_matches('.'))
}

/// What can be drawn on these axes.
fn drawable(plot: &Plot, (x, y): (f64, f64)) -> bool {
    let fits = |axis: &Axis, value: f64| value.is_finite() && (!axis.log || value > 0.0);
    fits(&plot.x, x) && fits(&plot.y, y)
}

/// Title, legend and drawing.
pub(crate) fn figure(plot: &Plot) -> Markup {
    let points = || plot.curves.iter().flat_map(|curve| &curve.points).filter(|point| drawable(plot, **point));
    let x = Scale::new(plot.x.log, points().map(|point| point.0), LEFT, RIGHT);
    let y = Scale::new(plot.y.log, points().map(|point| point.1), BOTTOM, TOP);
    html! {
        figure {
            figcaption { (plot.title) }
            @if let (Some(x), Some(y)) = (x, y) {
                // The title says what a single curve is.
                @if plot.curves.len() > 1 {
                    ul.legend {
                        @for (place, curve) in plot.curves.iter().enumerate() {
                            li { (sample(place)) (curve.name) }
                        }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(plot.title) {
                    g.axis {
                        (x_axis(&x, plot.x.label, BOTTOM))
                        (y_axis(&y, plot.y.label))
                        path.frame d={ "M" (LEFT) " " (TOP) "V" (BOTTOM) "H" (RIGHT) } {}
                    }
                    @for (place, curve) in plot.curves.iter().enumerate() {
                        (line(plot, curve, place, &x, &y))
                    }
                }
            } @else {
                p { "Nothing was measured that could be drawn." }
            }
        }
    }
}

/// Class of the curve at this place.
fn style(place: usize) -> String {
    format!("curve c{} d{}", place % COLOURS, place % DASHES)
}

/// A curve's line in the legend.
fn sample(place: usize) -> Markup {
    html! { svg.sample viewBox="0 0 28 10" aria-hidden="true" { path class=(style(place)) d="M1 5H27" {} } }
}

fn x_axis(scale: &Scale, name: &str, bottom: f64) -> Markup {
    html! {
        @for (at, tick) in scale.ticks().into_iter().map(|tick| (round(scale.place(tick)), tick)) {
            path d={ "M" (at) " " (TOP) "V" (bottom) } {}
            text x=(at) y=(bottom + 18.0) text-anchor="middle" { (label(tick)) }
        }
        text x=((scale.start + scale.end) / 2.0) y=(bottom + BELOW - 10.0) text-anchor="middle" { (name) }
    }
}

fn y_axis(scale: &Scale, name: &str) -> Markup {
    html! {
        @for (at, tick) in scale.ticks().into_iter().map(|tick| (round(scale.place(tick)), tick)) {
            path d={ "M" (LEFT) " " (at) "H" (RIGHT) } {}
            text x=(LEFT - 8.0) y=(at + 4.0) text-anchor="end" { (label(tick)) }
        }
        text transform={ "translate(14 " ((TOP + BOTTOM) / 2.0) ") rotate(-90)" } text-anchor="middle" { (name) }
    }
}

fn line(plot: &Plot, curve: &Curve, place: usize, x: &Scale, y: &Scale) -> Markup {
    let points: Vec<_> = curve.points.iter().filter(|point| drawable(plot, **point)).collect();
    let placed = points.iter().map(|point| (round(x.place(point.0)), round(y.place(point.1))));
    let steps: Vec<_> = placed.clone().map(|(x, y)| format!("{x} {y}")).collect();
    html! {
        g {
            title { (curve.name) }
            @if !steps.is_empty() {
                path class=(style(place)) d={ "M" (steps.join("L")) } {}
            }
            @if points.len() <= MARKED {
                @for ((at_x, at_y), (x, y)) in placed.zip(&points) {
                    circle class={ "mark c" (place % COLOURS) } cx=(at_x) cy=(at_y) r="3.5" {
                        title { (curve.name) ": " (super::report::figure(*y)) " at " (super::report::figure(*x)) }
                    }
                }
            }
        }
    }
}

/// Where the axis of a timeline begins, behind the names of its tracks; and from one track to the next.
const TRACK_LEFT: f64 = 92.0;
const TRACK: f64 = 22.0;

/// Height of a span by its kind, as a share of [`TRACK`]; no two kinds differ in colour alone.
const SPAN_HEIGHTS: [f64; 4] = [0.84, 0.16, 0.6, 0.32];

/// Least width of a span, so that the shortest is still seen.
const LEAST_WIDTH: f64 = 0.8;

/// Title, legend and drawing: a row for each track.
pub(crate) fn timeline(timeline: &Timeline) -> Markup {
    let Timeline { title, kinds, tracks } = timeline;
    let ends = tracks.iter().flat_map(|track| &track.spans).map(|span| span.end).filter(|end| end.is_finite());
    let bottom = TOP + TRACK * tracks.len() as f64;
    html! {
        figure {
            figcaption { (title) }
            @if let Some(x) = Scale::new(false, ends, TRACK_LEFT, RIGHT) {
                ul.legend {
                    @for (kind, name) in kinds.iter().enumerate() {
                        li { svg.sample viewBox="0 0 28 22" aria-hidden="true" { path class=(span_style(kind)) d=(bar(kind, 4.0, 20.0, 0.0)) {} } (name) }
                    }
                }
                svg viewBox={ "0 0 " (WIDTH) " " (bottom + BELOW) } role="img" aria-label=(title) {
                    g.axis {
                        (x_axis(&x, "microseconds", bottom))
                        path.frame d={ "M" (TRACK_LEFT) " " (TOP) "V" (bottom) "H" (RIGHT) } {}
                    }
                    @for (place, one) in tracks.iter().enumerate() {
                        (track(one, kinds, &x, TOP + TRACK * place as f64))
                    }
                }
            } @else {
                p { "Nothing was traced that could be drawn." }
            }
        }
    }
}

/// Class of spans of this kind.
fn span_style(kind: usize) -> String {
    format!("span k{}", kind % SPAN_HEIGHTS.len())
}

/// A span's outline, in the middle of a track that begins at `top`.
fn bar(kind: usize, left: f64, width: f64, top: f64) -> String {
    let height = TRACK * SPAN_HEIGHTS[kind % SPAN_HEIGHTS.len()];
    let (left, top) = (round(left), round(top + (TRACK - height) / 2.0));
    format!("M{left} {top}h{}v{}H{left}z", round(width.max(LEAST_WIDTH)), round(height))
}

/// A row: the spans of each kind are one path.
fn track(Track { name, spans }: &Track, kinds: &[String], x: &Scale, top: f64) -> Markup {
    let drawable = |span: &&Span| span.start.is_finite() && span.end.is_finite();
    let of = |kind| spans.iter().filter(drawable).filter(move |span| span.kind == kind);
    let outline = |span: &Span| bar(span.kind, x.place(span.start), x.place(span.end) - x.place(span.start), top);
    html! {
        text.track x=(TRACK_LEFT - 8.0) y=(top + TRACK / 2.0 + 4.0) text-anchor="end" { (name) }
        @for (kind, what) in kinds.iter().enumerate() {
            @let steps: String = of(kind).map(outline).collect();
            @if !steps.is_empty() {
                path class=(span_style(kind)) d=(steps) {
                    @let time = of(kind).map(|span| span.end - span.start).sum();
                    title { (name) ": " (what) ", " (of(kind).count()) " times, " (super::report::figure(time)) " us together" }
                }
            }
        }
    }
}

/// To a tenth of a unit: finer than any screen shows it.
fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(log: bool, values: &[f64]) -> Vec<String> {
        let scale = Scale::new(log, values.iter().copied(), 0.0, 100.0).unwrap();
        let places: Vec<_> = values.iter().map(|value| scale.place(*value)).collect();
        assert!(places.iter().all(|place| (-0.1..=100.1).contains(place)), "{places:?}");
        scale.ticks().into_iter().map(label).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        assert_eq!(ticks(true, &[2.67, 8024.0]), ["10", "100", "1k", "10k"]);
        assert_eq!(ticks(true, &[1.1, 80.0]), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(ticks(true, &[0.000_05, 1.0]), ["0.0001", "0.001", "0.01", "0.1", "1"]);
        assert_eq!(ticks(true, &[1e-3, 1e9]), ["0.01", "1", "100", "10k", "1M", "100M"]);
        assert_eq!(ticks(false, &[3.0, 0.61]), ["0", "0.5", "1", "1.5", "2", "2.5", "3"]);
        assert_eq!(ticks(false, &[389_210.0]), ["0", "100k", "200k", "300k", "400k"]);
        assert_eq!(ticks(false, &[-1.0, 1.0]), ["-1", "-0.5", "0", "0.5", "1"]);
    }

    #[test]
    fn one_value_or_none_is_no_trouble() {
        assert_eq!(ticks(true, &[1.0]), ["1", "2", "5", "10"]);
        assert_eq!(ticks(false, &[0.0]).first().unwrap(), "0");
        assert!(Scale::new(true, std::iter::empty(), 0.0, 1.0).is_none());
    }
}
